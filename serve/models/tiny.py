"""Toy twins of the real architectures: the same classes and code paths, small enough for a CPU."""

# mypy: disallow-untyped-calls=False
# diffusers ships no types.

from diffusers import (
    AutoencoderKL,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
)
from torch import nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from serve.models.components import Parts, clip, t5, vae

WIDTH = 32


def tiny() -> Parts:
    """The twin of SD 1.5."""
    return {
        "unet": UNet2DConditionModel(
            sample_size=8,
            layers_per_block=1,
            block_out_channels=(32, 64),
            norm_num_groups=8,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=WIDTH,
            attention_head_dim=8,
        ),
        "vae": _vae(),
        "text_encoder": clip(CLIPTextModel, WIDTH, layers=2, heads=4, act="quick_gelu"),
    }


def tiny_sdxl() -> Parts:
    """The twin of SDXL: two text encoders side by side, time ids, a pooled prompt."""
    return {
        "unet": UNet2DConditionModel(
            sample_size=8,
            layers_per_block=1,
            block_out_channels=(32, 64),
            norm_num_groups=8,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=(2, 4),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            transformer_layers_per_block=(1, 2),
            projection_class_embeddings_input_dim=6 * 8 + WIDTH,
            cross_attention_dim=2 * WIDTH,
        ),
        "vae": _vae(scaling=0.13025),
        "text_encoder": clip(CLIPTextModel, WIDTH, layers=2, heads=4, act="quick_gelu"),
        "text_encoder_2": _clip_with_projection("gelu"),
    }


def tiny_sd35() -> Parts:
    """The twin of SD 3.5 medium: three text encoders, one dual-attention layer of two, QK-norm."""
    return {
        "transformer": SD3Transformer2DModel(
            sample_size=8,
            patch_size=2,
            in_channels=16,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=4,
            caption_projection_dim=WIDTH,
            joint_attention_dim=2 * WIDTH,
            pooled_projection_dim=2 * WIDTH,
            out_channels=16,
            pos_embed_max_size=96,
            dual_attention_layers=(0,),
            qk_norm="rms_norm",
        ),
        "vae": _vae(latents=16, scaling=1.5305, shift=0.0609),
        "text_encoder": _clip_with_projection("quick_gelu"),
        "text_encoder_2": _clip_with_projection("gelu"),
        "text_encoder_3": _t5(2 * WIDTH),
    }


def tiny_flux() -> Parts:
    """The twin of FLUX.1-schnell: double and single blocks, rotary positions on packed latents."""
    return {
        "transformer": FluxTransformer2DModel(
            patch_size=1,
            in_channels=64,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            pooled_projection_dim=WIDTH,
            axes_dims_rope=(4, 6, 6),
        ),
        "vae": _vae(latents=16, scaling=0.3611, shift=0.1159),
        "text_encoder": clip(CLIPTextModel, WIDTH, layers=2, heads=4, act="quick_gelu"),
        "text_encoder_2": _t5(WIDTH),
    }


def _vae(
    *, latents: int = 4, scaling: float = 0.18215, shift: float | None = None
) -> AutoencoderKL:
    channels = (8, 16, 16, 16)
    return vae(channels, layers=1, groups=8, side=64, latents=latents, scaling=scaling, shift=shift)


def _clip_with_projection(act: str) -> nn.Module:
    return clip(CLIPTextModelWithProjection, WIDTH, layers=2, heads=4, act=act)


def _t5(width: int) -> nn.Module:
    return t5(width, layers=2, heads=4, head_width=8, feed_forward=2 * width)
