"""The parts of a transformer block, attention and feed-forward, in fewer passes, and FP8 in them.

As in `serve.acceleration.fused.image_blocks` each takes over the layers of what it stands for,
under their names. In FP8 (`serve.acceleration.fp8`) a tensor is quantized once, whoever reads it,
and by the gate that makes it.
"""

# mypy: disallow-untyped-calls=False
# diffusers ships no types.

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from diffusers.models.activations import GEGLU
from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import nn
from torch.nn import functional

from serve.acceleration.fp8_layers import Fp8Linear
from serve.acceleration.fp8_rows import Fp8Rows, as_rows
from serve.acceleration.fused.fp8 import geglu_fp8
from serve.acceleration.fused.image_blocks import group_normed, is_affine
from serve.acceleration.fused.ops import geglu


class FusedFeedForward(nn.Module):
    """A `FeedForward` with a gate: a projection, half of its channels gated by the rest, another.

    Where the last computes in FP8, the gate writes FP8.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.net = layer.net

    @staticmethod
    def stands_for(layer: nn.Module) -> bool:
        """Whether a module is such a layer, without dropout."""
        if type(layer) is not FeedForward:
            return False
        gate, dropout, last, *others = layer.net
        return (
            type(gate) is GEGLU
            and is_linear(gate.proj)
            and is_linear(last)
            and all(type(each) is nn.Dropout and each.p == 0 for each in (dropout, *others))
        )

    def forward(self, hidden_states: torch.Tensor | Fp8Rows) -> torch.Tensor:
        """Tokens (…, c) to tokens (…, c')."""
        wide = self.net[0].proj(hidden_states)
        last = self.net[2]
        tokens: torch.Tensor = last(geglu_fp8(wide) if are_fp8([last]) else geglu(wide))
        return tokens


class PlainAttention:
    """An attention's processor that divides by nothing and norms images in channels_last.

    What several of its layers read in FP8 is quantized once.
    """

    @staticmethod
    def stands_for(module: nn.Module) -> bool:
        """Whether a module is an attention without scales, masks or norms of queries and keys."""
        known: Any = module
        return (
            type(module) is Attention
            and type(known.processor) is AttnProcessor2_0
            and known.rescale_output_factor == 1.0
            and known.spatial_norm is None
            and (known.norm_q, known.norm_k, known.norm_cross) == (None, None, None)
            and (known.group_norm is None or is_affine(known.group_norm))
        )

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor | Fp8Rows,
        encoder_hidden_states: torch.Tensor | Fp8Rows | None = None,
        attention_mask: torch.Tensor | None = None,
        temb: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Tokens (n, tokens, c), or images (n, c, h, w), to the same; FP8 where `takes_fp8`."""
        if isinstance(hidden_states, Fp8Rows):
            return self._mixed(attn, hidden_states, encoder_hidden_states)
        is_image = hidden_states.ndim == 4
        if attention_mask is not None or (attn.group_norm is not None and not is_image):
            stock: Any = AttnProcessor2_0()  # given tensors: rows in FP8 come without a mask
            mixed: torch.Tensor = stock(
                attn, hidden_states, encoder_hidden_states, attention_mask, temb
            )
            return mixed
        x = residual = hidden_states
        if is_image:
            if attn.group_norm is not None:
                x = group_normed(attn.group_norm, x, silu=False)
            x = x.permute(0, 2, 3, 1).flatten(1, 2)
        y = self._mixed(attn, x, encoder_hidden_states)
        if is_image:
            y = y.unflatten(1, residual.shape[2:]).permute(0, 3, 1, 2)
        return y + residual if attn.residual_connection else y

    def _mixed(
        self, attn: Any, x: torch.Tensor | Fp8Rows, told: torch.Tensor | Fp8Rows | None
    ) -> torch.Tensor:
        """Tokens to tokens, attending to those told, or to themselves."""
        if told is None:
            products = through((attn.to_q, attn.to_k, attn.to_v), x)
        else:
            products = [attn.to_q(x), *through((attn.to_k, attn.to_v), told)]
        query, key, value = (
            each.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for each in products
        )
        mixed = functional.scaled_dot_product_attention(query, key, value)
        y: torch.Tensor = attn.to_out[1](attn.to_out[0](mixed.transpose(1, 2).flatten(2)))
        return y


def are_fp8(layers: Iterable[nn.Module]) -> bool:
    """Whether all of these layers compute in FP8."""
    return all(isinstance(layer, Fp8Linear) for layer in layers)


def takes_fp8(part: nn.Module, *, has_texts: bool = False) -> bool:
    """Whether a part of a block takes its tokens in FP8: all that reads them computes in it.

    Args:
        part: An attention or a feed-forward.
        has_texts: Whether the attention is to texts, so that keys and values read those.
    """
    known: Any = part
    if isinstance(part, FusedFeedForward):
        return are_fp8([known.net[0].proj])
    if type(part) is not Attention or not isinstance(known.processor, PlainAttention):
        return False
    readers = [known.to_q] if has_texts else [known.to_q, known.to_k, known.to_v]
    return known.group_norm is None and not known.residual_connection and are_fp8(readers)


def through(
    layers: Sequence[Callable[..., torch.Tensor]], x: torch.Tensor | Fp8Rows
) -> list[torch.Tensor]:
    """What each layer makes of x, quantized once for those that compute in FP8."""
    rows = as_rows(x) if any(isinstance(layer, Fp8Linear) for layer in layers) else None
    return [layer(rows if isinstance(layer, Fp8Linear) else x) for layer in layers]


def is_linear(layer: nn.Module) -> bool:
    """Whether a layer is linear, in FP8 or not, and no subclass with ways of its own."""
    return type(layer) in (nn.Linear, Fp8Linear)
