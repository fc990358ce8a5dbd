"""What an image costs in floating-point operations, counted and never typed in.

Each module of a loaded pipeline is laid out once more under the meta device from its own config,
and called there on empty tensors of the asked size while torch counts: 2 operations a
multiply-add of matrix products, convolutions and attention; the rest is noise beside them.
"""

# mypy: disallow-untyped-calls=False
# diffusers ships no types.

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import msgspec
import torch
from diffusers import FluxTransformer2DModel, SD3Transformer2DModel
from torch import nn
from transformers import T5EncoderModel

from serve.engine.request import Recipe, Size
from serve.models.architectures import Pipeline
from serve.models.components import CLIP_TOKENS, T5_TOKENS
from serve.models.deep_features import ShallowUNet, WholeUNet
from serve.models.flop_counter import FlopCounter, GivingWay
from serve.models.size_costs import combination, terms, total
from serve.shortcuts import NONE, Shortcuts

META = torch.device("meta")
KEPT = 4096  # sizes: there are tens of thousands


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """FLOPs of an image of one model and size.

    Attributes:
        row_flop: One call of the denoiser on one row, that is one image without guidance.
        decode_flop: Decoding one image's latents.
        text_flop: Encoding one prompt by all of the pipeline's text encoders.
        shallow_flop: One call of the UNet's outermost layers on one row, where deep features are
            reused; None where they are not.
    """

    row_flop: int
    decode_flop: int
    text_flop: int
    shallow_flop: int | None = None


class Costs:
    """What a pipeline's images cost: a few sizes are counted, the others follow from them.

    One thread may ask `of` at a time, and any `known`.

    Args:
        pipeline: A loaded pipeline.
        shortcuts: Which steps of its images are cut short.
        cache_layers: Layers that a shallow step runs; None: there are none.
    """

    def __init__(
        self, pipeline: Pipeline, shortcuts: Shortcuts = NONE, cache_layers: int | None = None
    ) -> None:
        self._pipeline = pipeline
        self._shortcuts = shortcuts
        self._layers = cache_layers
        self._known: dict[Size, Cost] = {}
        self._counted: list[tuple[tuple[int, ...], Cost]] = []  # independent: nine at most
        self._follows: bool | None = None  # whether one size did follow from others; None: not yet

    def known(self, size: Size) -> Cost | None:
        """FLOPs of an image of that size, if it was asked about already."""
        return self._known.get(size)

    def of(self, size: Size) -> Cost:
        """FLOPs of an image of that size.

        A new one takes a second or two of Python while it must be counted, which ten are at most,
        and milliseconds where it follows from those.
        """
        cost = self.known(size) or self._found(size)
        self._keep(size, cost)
        return cost

    def _found(self, size: Size) -> Cost:
        multiples = None
        if self._follows is not False:
            counted = [terms for terms, _ in self._counted]
            multiples = combination(counted, self._terms(size))
        derived = None if multiples is None else self._derived(multiples)
        if derived is not None and self._follows:
            return derived
        text_flop = self._counted[0][1].text_flop if self._counted else None  # of any size
        cost = count(self._pipeline, size.width, size.height, self._layers, text_flop)
        if multiples is not None:
            self._follows = derived == cost
        elif self._follows is not False:
            self._counted.append((self._terms(size), cost))
        return cost

    def _derived(self, multiples: Sequence[Fraction]) -> Cost | None:
        """The cost that is such multiples of the counted ones; None: it is none."""
        told: dict[str, Any] = {}
        for field in Cost.__struct_fields__:
            values = [getattr(cost, field) for _, cost in self._counted]
            told[field] = None if None in values else total(multiples, values)
            if told[field] is None and None not in values:
                return None
        return Cost(**told)

    def _terms(self, size: Size) -> tuple[int, ...]:
        scale = self._pipeline.vae_scale_factor
        return terms(size.height // scale, size.width // scale)

    def _keep(self, size: Size, cost: Cost) -> None:
        if size not in self._known and len(self._known) >= KEPT:
            del self._known[next(iter(self._known))]
        self._known[size] = cost

    def steps(self, recipe: Recipe) -> list[float]:
        """FLOPs of each step of one image."""
        guided = recipe.is_guided
        flops = step_flops(
            self.known(recipe.size) or self.of(recipe.size),
            recipe.steps,
            guided=guided,
            shortcuts=self._shortcuts,
        )
        return [float(flop) for flop in flops]

    def image(self, recipe: Recipe) -> float:
        """FLOPs of one image, from prompt to pixels."""
        guided = recipe.is_guided
        cost = self.known(recipe.size) or self.of(recipe.size)
        return float(image_flop(cost, recipe.steps, guided=guided, shortcuts=self._shortcuts))


def step_flops(cost: Cost, steps: int, *, guided: bool, shortcuts: Shortcuts = NONE) -> list[int]:
    """FLOPs of each of an image's steps: those of a row, whole or shallow, times its rows.

    A row is the prompt's; with guidance the negative prompt's makes two.
    """
    guided_steps = shortcuts.guided_steps(steps) if guided else 0
    rows = [2 if step < guided_steps else 1 for step in range(steps)]
    shallow = cost.row_flop if cost.shallow_flop is None else cost.shallow_flop
    return [
        n * (cost.row_flop if shortcuts.is_whole(step) else shallow) for step, n in enumerate(rows)
    ]


def image_flop(cost: Cost, steps: int, *, guided: bool, shortcuts: Shortcuts = NONE) -> int:
    """FLOPs of one image from its prompt to its pixels.

        sum of its steps + texts text + decode

    texts is 2 with guidance (the prompt and the negative prompt) and 1 without.
    """
    texts = 2 if guided else 1
    denoising = sum(step_flops(cost, steps, guided=guided, shortcuts=shortcuts))
    return denoising + texts * cost.text_flop + cost.decode_flop


@torch.no_grad()
def count(
    pipeline: Pipeline,
    width: int,
    height: int,
    cache_layers: int | None = None,
    text_flop: int | None = None,
) -> Cost:
    """Count a loaded pipeline's FLOPs an image of `width` x `height` pixels.

    Args:
        pipeline: It.
        width: Pixels.
        height: Pixels.
        cache_layers: Layers that a shallow step runs; None: there are none.
        text_flop: Of a prompt, where that is known; None: it is counted, too.

    Takes seconds of Python for a real model, and no memory of any device: count before requests
    come where that can be, and keep the answer. It gives way to other threads all along.
    """
    scale = pipeline.vae_scale_factor
    latent = (height // scale, width // scale)
    channels = pipeline.vae.config.latent_channels
    return Cost(
        row_flop=_row(pipeline, latent),
        shallow_flop=None if cache_layers is None else _shallow_row(pipeline, latent, cache_layers),
        decode_flop=_flop(_blank(pipeline.vae).decode, _empty(1, channels, *latent)),
        text_flop=_text(pipeline) if text_flop is None else text_flop,
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
    args, kwargs = _unet_arguments(pipeline, latent)
    return _flop(blank, *args, **kwargs)


def _shallow_row(pipeline: Pipeline, latent: tuple[int, int], layers: int) -> int:
    """One call of the UNet's outermost layers on one row."""
    blank = _blank(pipeline.unet)
    args, kwargs = _unet_arguments(pipeline, latent)
    with META, GivingWay():
        _, deep = WholeUNet(blank, layers)(*args, **kwargs)
    return _flop(ShallowUNet(blank, layers), deep, *args, **kwargs)


def _unet_arguments(
    pipeline: Pipeline, latent: tuple[int, int]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What a UNet is called with for one row."""
    config = pipeline.unet.config
    text = _empty(1, CLIP_TOKENS, config.cross_attention_dim)
    added = {}
    if config.addition_embed_type == "text_time":  # SDXL
        pooled = pipeline.text_encoder_2.config.projection_dim
        added = {"text_embeds": _empty(1, pooled), "time_ids": _empty(1, 6)}
    arguments = (_empty(1, config.in_channels, *latent), _empty(1), text)
    return arguments, {"added_cond_kwargs": added}


def _blank(module: nn.Module) -> Any:
    """The same module under the meta device: its shapes without its weights."""
    kind: Any = type(module)
    build = getattr(kind, "from_config", kind)  # diffusers has it, transformers' modules do not
    with META, GivingWay():
        return build(module.config).eval()


def _empty(*shape: int) -> torch.Tensor:
    return torch.empty(*shape, device=META)


def _flop(call: Any, *args: Any, **kwargs: Any) -> int:
    """FLOPs of one call on meta tensors; tensors made on the way are meta tensors too."""
    counter = FlopCounter()
    with META, counter:
        call(*args, **kwargs)
    return counter.flop
