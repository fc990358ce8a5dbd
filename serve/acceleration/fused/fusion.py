"""Put fused blocks into a model wherever they compute the same: over images and over tokens."""

# mypy: disallow-untyped-calls=False
# diffusers ships no types.

from collections.abc import Callable
from typing import Any

import msgspec
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.autoencoders.vae import Decoder
from torch import nn

from serve.acceleration.fused.attention import FusedFeedForward, PlainAttention
from serve.acceleration.fused.image_blocks import FusedNorm, FusedResnet, is_affine
from serve.acceleration.fused.ops import why_plain
from serve.acceleration.fused.transformers import FusedBlock, FusedTransformer

KINDS = (FusedResnet, FusedTransformer, FusedBlock, FusedFeedForward)


class Fused(msgspec.Struct, frozen=True, kw_only=True):
    """How many blocks of a kind were replaced, and why by plain formulas (None: by kernels)."""

    resnets: int
    transformers: int
    blocks: int
    geglus: int
    attentions: int
    norms: int
    plain: str | None = None


def fuse_pipeline(pipeline: Any, device: torch.device) -> Fused:
    """Fuse a diffusers pipeline's UNet, where it has one, and its VAE's decoder."""
    parts = [getattr(pipeline, "unet", None), pipeline.vae.decoder]
    done = [fuse(part) for part in parts if part is not None]
    counts = {
        name: sum(getattr(each, name) for each in done)
        for name in Fused.__struct_fields__
        if name != "plain"
    }
    return Fused(**counts, plain=why_plain(device))


def fuse(module: nn.Module) -> Fused:
    """Replace, inside a module, every block that a fused one stands for.

    Parameters stay the ones they were, and whatever is not known is left alone. Quantize before:
    what a fused block does with a convolution's weights goes past the module, so that what
    observes modules would miss it.
    """
    made: dict[nn.Module, nn.Module] = {}
    attentions = norms = 0
    for parent in list(module.modules()):
        if PlainAttention.stands_for(parent):
            known: Any = parent
            known.set_processor(PlainAttention())
            attentions += 1
        norms += _fuse_end(parent)
        for name, child in list(parent._modules.items()):
            if child is None:
                continue
            kind = next((kind for kind in KINDS if kind.stands_for(child)), None)
            if child not in made and kind is not None:
                made[child] = kind(child)
            if child in made:
                # One that stands for the parent has taken its layers over as they were.
                for holder in (parent, made.get(parent)):
                    if holder is not None:
                        setattr(holder, name, made[child])

    def count(kind: Callable[..., nn.Module]) -> int:
        return sum(type(each) is kind for each in made.values())

    return Fused(
        resnets=count(FusedResnet),
        transformers=count(FusedTransformer),
        blocks=count(FusedBlock),
        geglus=count(FusedFeedForward),
        attentions=attentions,
        norms=norms,
    )


def _fuse_end(model: nn.Module) -> bool:
    """Fuse the norm and SiLU before a UNet's or decoder's last convolution."""
    known: Any = model
    if type(model) not in (UNet2DConditionModel, Decoder):
        return False
    if not (is_affine(known.conv_norm_out) and type(known.conv_act) is nn.SiLU):
        return False
    known.conv_norm_out = FusedNorm(known.conv_norm_out, silu=True)
    known.conv_act = nn.Identity()
    return True
