"""Real diffusion architectures with random weights, built on the device without a download.

Random weights keep the FLOPs, the memory and the kernel shapes of the real model, which is all
that a load test asks of it; the images are noise. Every module is laid out under the meta
device, given uninitialised memory on its device, and filled there from one fixed seed.
"""

# mypy: disallow-untyped-calls=False
# diffusers ships no types.

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from torch import nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from serve.models.components import Parts, byte_tokenizer, clip, t5, t5_tokenizer, vae
from serve.models.random_weights import materialize
from serve.models.tiny import tiny, tiny_flux, tiny_sd35, tiny_sdxl

Pipeline: TypeAlias = Any  # StableDiffusion{,XL,3}Pipeline | FluxPipeline

WEIGHTS_SEED = 0
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
VAE_CHANNELS = (128, 256, 512, 512)


def build_random(model: str, device: torch.device, dtype: torch.dtype) -> Pipeline:
    """The pipeline of a model of ARCHITECTURES with random weights, ready to denoise."""
    lay_out, assemble = ARCHITECTURES[model]
    with torch.device("meta"):
        parts = lay_out()
    generator = torch.Generator(device).manual_seed(WEIGHTS_SEED)
    for part in parts.values():
        materialize(part, device, dtype, generator)
    return assemble(parts)


def sd15() -> Parts:
    """Stable Diffusion 1.5."""
    return {
        "unet": UNet2DConditionModel(
            sample_size=64,
            cross_attention_dim=768,
            attention_head_dim=8,
            block_out_channels=(320, 640, 1280, 1280),
            down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
            up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        ),
        "vae": vae(VAE_CHANNELS, layers=2, groups=32, side=512),
        "text_encoder": _clip_l(CLIPTextModel),
    }


def sdxl() -> Parts:
    """Stable Diffusion XL."""
    return {
        "unet": UNet2DConditionModel(
            sample_size=128,
            cross_attention_dim=2048,
            attention_head_dim=(5, 10, 20),
            block_out_channels=(320, 640, 1280),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 10),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
        ),
        "vae": vae(VAE_CHANNELS, layers=2, groups=32, side=1024, scaling=0.13025),
        "text_encoder": _clip_l(CLIPTextModel),
        "text_encoder_2": _clip_big_g(),
    }


def sd35_medium() -> Parts:
    """Stable Diffusion 3.5 medium, an MMDiT whose first 13 layers of 24 attend twice."""
    return {
        "transformer": SD3Transformer2DModel(
            sample_size=128,
            patch_size=2,
            in_channels=16,
            num_layers=24,
            attention_head_dim=64,
            num_attention_heads=24,
            joint_attention_dim=4096,
            caption_projection_dim=1536,
            pooled_projection_dim=2048,
            out_channels=16,
            pos_embed_max_size=384,
            dual_attention_layers=tuple(range(13)),
            qk_norm="rms_norm",
        ),
        "vae": _vae16(scaling=1.5305, shift=0.0609),
        "text_encoder": _clip_l(CLIPTextModelWithProjection),
        "text_encoder_2": _clip_big_g(),
        "text_encoder_3": _t5_xxl(),
    }


def flux_schnell() -> Parts:
    """FLUX.1-schnell: 19 double and 38 single blocks; distilled, it takes no guidance."""
    return {
        "transformer": FluxTransformer2DModel(
            patch_size=1,
            in_channels=64,
            num_layers=19,
            num_single_layers=38,
            attention_head_dim=128,
            num_attention_heads=24,
            joint_attention_dim=4096,
            pooled_projection_dim=768,
            guidance_embeds=False,
        ),
        "vae": _vae16(scaling=0.3611, shift=0.1159),
        "text_encoder": _clip_l(CLIPTextModel),
        "text_encoder_2": _t5_xxl(),
    }


def _clip_l(encoder: Callable[..., nn.Module]) -> nn.Module:
    return clip(encoder, 768, layers=12, heads=12, act="quick_gelu")


def _clip_big_g() -> nn.Module:
    return clip(CLIPTextModelWithProjection, 1280, layers=32, heads=20, act="gelu")


def _t5_xxl() -> nn.Module:
    return t5(4096, layers=24, heads=64, head_width=64, feed_forward=10240)


def _vae16(*, scaling: float, shift: float) -> AutoencoderKL:
    return vae(
        VAE_CHANNELS, layers=2, groups=32, side=1024, latents=16, scaling=scaling, shift=shift
    )


def _stable_diffusion(parts: Parts) -> Pipeline:
    # SD1.5 ships PNDM, which calls the UNet 51 times for 50 steps; DDIM calls it once a step.
    ddim = DDIMScheduler(**BETAS, clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    return StableDiffusionPipeline(
        **parts,
        tokenizer=byte_tokenizer(),
        scheduler=ddim,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _stable_diffusion_xl(parts: Parts) -> Pipeline:
    return StableDiffusionXLPipeline(
        **parts,
        tokenizer=byte_tokenizer(),
        tokenizer_2=byte_tokenizer(),
        scheduler=EulerDiscreteScheduler(**BETAS, timestep_spacing="leading", steps_offset=1),
        add_watermarker=False,
    )


def _stable_diffusion_3(parts: Parts) -> Pipeline:
    return StableDiffusion3Pipeline(
        **parts,
        tokenizer=byte_tokenizer(),
        tokenizer_2=byte_tokenizer(),
        tokenizer_3=t5_tokenizer(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


def _flux(parts: Parts) -> Pipeline:
    return FluxPipeline(
        **parts,
        tokenizer=byte_tokenizer(),
        tokenizer_2=t5_tokenizer(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0, use_dynamic_shifting=False),
    )


ARCHITECTURES: dict[str, tuple[Callable[[], Parts], Callable[[Parts], Pipeline]]] = {
    "tiny": (tiny, _stable_diffusion),
    "tiny-sdxl": (tiny_sdxl, _stable_diffusion_xl),
    "tiny-sd35": (tiny_sd35, _stable_diffusion_3),
    "tiny-flux": (tiny_flux, _flux),
    "sd15": (sd15, _stable_diffusion),
    "sdxl": (sdxl, _stable_diffusion_xl),
    "sd35-medium": (sd35_medium, _stable_diffusion_3),
    "flux-schnell": (flux_schnell, _flux),
}
