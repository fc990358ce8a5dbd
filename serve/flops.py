"""What an image costs in floating-point operations, counted and never typed in.

Each module of a loaded pipeline is laid out once more under the meta device from its own config,
and called there on empty tensors of the asked size while torch counts: 2 operations a
multiply-add of matrix products, convolutions and attention; the rest is noise beside them.
"""

# mypy: disallow-untyped-calls=False
# diffusers ships no types.

from typing import Any

import msgspec
import torch
from diffusers import FluxTransformer2DModel, SD3Transformer2DModel
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import T5EncoderModel

from serve.architectures import Pipeline
from serve.parts import CLIP_TOKENS, T5_TOKENS

META = torch.device("meta")


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """FLOPs of an image of one model and size.

    Attributes:
        row_flop: One call of the denoiser on one row, that is one image without guidance.
        decode_flop: Decoding one image's latents.
        text_flop: Encoding one prompt by all of the pipeline's text encoders.
    """

    row_flop: int
    decode_flop: int
    text_flop: int


def image_flop(cost: Cost, steps: int, *, guided: bool) -> int:
    """FLOPs of one image from its prompt to its pixels.

        rows (steps row + text) + decode

    rows is 2 with guidance (the prompt's and the negative prompt's) and 1 without.
    """
    rows = 2 if guided else 1
    return rows * (steps * cost.row_flop + cost.text_flop) + cost.decode_flop


@torch.no_grad()
def count(pipeline: Pipeline, width: int, height: int) -> Cost:
    """Count a loaded pipeline's FLOPs an image of `width` x `height` pixels.

    Takes a second or two of Python for a real model, and no memory of any device: count before
    requests come where that can be, and keep the answer. The count stays right while another
    thread runs a model, but torch's counter hooks every module's call in the process meanwhile.
    """
    scale = pipeline.vae_scale_factor
    latent = (height // scale, width // scale)
    channels = pipeline.vae.config.latent_channels
    return Cost(
        row_flop=_row(pipeline, latent),
        decode_flop=_flop(_blank(pipeline.vae).decode, _empty(1, channels, *latent)),
        text_flop=_text(pipeline),
    )


def _text(pipeline: Pipeline) -> int:
    total = 0
    for name in ("text_encoder", "text_encoder_2", "text_encoder_3"):
        encoder = getattr(pipeline, name, None)
        if encoder is not None:
            tokens = T5_TOKENS if isinstance(encoder, T5EncoderModel) else CLIP_TOKENS
            ids = torch.zeros(1, tokens, dtype=torch.long, device=META)
            total += _flop(_blank(encoder), ids)
    return total


def _row(pipeline: Pipeline, latent: tuple[int, int]) -> int:
    """One call of the denoiser on one row of `latent` (height, width)."""
    denoiser = getattr(pipeline, "transformer", None) or pipeline.unet
    config = denoiser.config
    blank = _blank(denoiser)
    timestep = _empty(1)
    if isinstance(denoiser, FluxTransformer2DModel):
        tokens = (latent[0] // 2) * (latent[1] // 2)
        return _flop(
            blank,
            hidden_states=_empty(1, tokens, config.in_channels),
            encoder_hidden_states=_empty(1, T5_TOKENS, config.joint_attention_dim),
            pooled_projections=_empty(1, config.pooled_projection_dim),
            timestep=timestep,
            img_ids=_empty(tokens, 3),
            txt_ids=_empty(T5_TOKENS, 3),
        )
    if isinstance(denoiser, SD3Transformer2DModel):
        return _flop(
            blank,
            hidden_states=_empty(1, config.in_channels, *latent),
            encoder_hidden_states=_empty(1, CLIP_TOKENS + T5_TOKENS, config.joint_attention_dim),
            pooled_projections=_empty(1, config.pooled_projection_dim),
            timestep=timestep,
        )
    text = _empty(1, CLIP_TOKENS, config.cross_attention_dim)
    added = {}
    if config.addition_embed_type == "text_time":  # SDXL
        pooled = pipeline.text_encoder_2.config.projection_dim
        added = {"text_embeds": _empty(1, pooled), "time_ids": _empty(1, 6)}
    return _flop(
        blank, _empty(1, config.in_channels, *latent), timestep, text, added_cond_kwargs=added
    )


def _blank(module: nn.Module) -> Any:
    """The same module under the meta device: its shapes without its weights."""
    kind: Any = type(module)
    build = getattr(kind, "from_config", kind)  # diffusers has it, transformers' modules do not
    with META:
        return build(module.config).eval()


def _empty(*shape: int) -> torch.Tensor:
    return torch.empty(*shape, device=META)


def _flop(call: Any, *args: Any, **kwargs: Any) -> int:
    """FLOPs of one call on meta tensors; tensors made on the way are meta tensors too."""
    counter = FlopCounterMode(display=False)
    with META, counter:
        call(*args, **kwargs)
    return counter.get_total_flops()
