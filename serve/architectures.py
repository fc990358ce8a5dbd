"""Real diffusion architectures with random weights, built on the device without a download.

Random weights keep the FLOPs, the memory and the kernel shapes of the real model, which is all
that a load test asks of it; the images are noise. Every module is laid out under the meta
device, given uninitialised memory on its device, and filled there from one fixed seed.
"""

# mypy: disallow-untyped-calls=False
# diffusers ships no types.

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

Pipeline: TypeAlias = Any  # StableDiffusionPipeline | StableDiffusionXLPipeline

WEIGHTS_SEED = 0
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def build_random(model: str, device: torch.device, dtype: torch.dtype) -> Pipeline:
    """The pipeline of `tiny`, `sd15` or `sdxl` with random weights, ready to denoise."""
    with torch.device("meta"):
        parts = {"tiny": _tiny, "sd15": _sd15, "sdxl": _sdxl}[model]()
    generator = torch.Generator(device).manual_seed(WEIGHTS_SEED)
    for part in parts.values():
        _materialize(part, device, dtype, generator)
    if model == "sdxl":
        tokenizers = {"tokenizer": byte_tokenizer(), "tokenizer_2": byte_tokenizer()}
        euler = EulerDiscreteScheduler(**BETAS, timestep_spacing="leading", steps_offset=1)
        return StableDiffusionXLPipeline(
            **parts, **tokenizers, scheduler=euler, add_watermarker=False
        )
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


def byte_tokenizer() -> CLIPTokenizer:
    """CLIP's tokenizer without its merges: one token a UTF-8 byte, 514 in all, no file needed.

    CLIP writes bytes as characters (GPT-2's `bytes_to_unicode`): printable Latin-1 stands for
    itself, the other bytes for the characters from 256 on. `</w>` marks a word's last byte.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    units = [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(others))]
    words = [*units, *(unit + "</w>" for unit in units), "<|startoftext|>", "<|endoftext|>"]
    vocab = {word: index for index, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocab, merges=[], model_max_length=77)


def _tiny() -> dict[str, Any]:
    return {
        "unet": UNet2DConditionModel(
            sample_size=8,
            layers_per_block=1,
            block_out_channels=(32, 64),
            norm_num_groups=8,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=32,
            attention_head_dim=8,
        ),
        "vae": _vae((8, 16, 16, 16), layers=1, groups=8, side=64),
        "text_encoder": _clip(CLIPTextModel, 32, layers=2, heads=4, act="quick_gelu"),
    }


def _sd15() -> dict[str, Any]:
    return {
        "unet": UNet2DConditionModel(
            sample_size=64,
            cross_attention_dim=768,
            attention_head_dim=8,
            block_out_channels=(320, 640, 1280, 1280),
            down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
            up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        ),
        "vae": _vae((128, 256, 512, 512), layers=2, groups=32, side=512),
        "text_encoder": _clip(CLIPTextModel, 768, layers=12, heads=12, act="quick_gelu"),
    }


def _sdxl() -> dict[str, Any]:
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
        "vae": _vae((128, 256, 512, 512), layers=2, groups=32, side=1024, scaling=0.13025),
        "text_encoder": _clip(CLIPTextModel, 768, layers=12, heads=12, act="quick_gelu"),
        "text_encoder_2": _clip(CLIPTextModelWithProjection, 1280, layers=32, heads=20, act="gelu"),
    }


def _vae(
    channels: tuple[int, ...], *, layers: int, groups: int, side: int, scaling: float = 0.18215
) -> Any:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        block_out_channels=channels,
        layers_per_block=layers,
        latent_channels=4,
        norm_num_groups=groups,
        sample_size=side,
        scaling_factor=scaling,
    )


def _clip(
    encoder: Callable[[CLIPTextConfig], nn.Module], width: int, *, layers: int, heads: int, act: str
) -> nn.Module:
    tokens = byte_tokenizer()
    return encoder(
        CLIPTextConfig(
            vocab_size=49408,
            hidden_size=width,
            intermediate_size=4 * width,
            projection_dim=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            hidden_act=act,
            bos_token_id=tokens.bos_token_id,
            eos_token_id=tokens.eos_token_id,
            pad_token_id=tokens.pad_token_id,
        )
    )


@torch.no_grad()
def _materialize(
    module: nn.Module, device: torch.device, dtype: torch.dtype, generator: torch.Generator
) -> None:
    """Give a meta module memory and values on its device, in evaluation mode.

    Weights are drawn from N(0, 1/fan_in), so that a layer keeps the variance of its input and
    activations stay finite at any depth; norms start as the identity, biases at zero.

    Raises:
        NotImplementedError: The module has a buffer whose values are not known here.
    """
    nn.Module.to(module, dtype).to_empty(device=device).eval()  # diffusers' own to() warns
    for layer in module.modules():
        is_norm = isinstance(layer, nn.GroupNorm | nn.LayerNorm)
        for name, weight in layer.named_parameters(recurse=False):
            if weight.ndim < 2:
                weight.fill_(1.0 if is_norm and name == "weight" else 0.0)
                continue
            fan_in = 1 if isinstance(layer, nn.Embedding) else math.prod(weight.shape[1:])
            weight.normal_(0.0, fan_in**-0.5, generator=generator)
    for name, values in module.named_buffers():
        if not name.endswith("position_ids"):
            raise NotImplementedError(f"no initial values known for buffer {name}")
        values.copy_(torch.arange(values.shape[-1], device=device).expand_as(values))
