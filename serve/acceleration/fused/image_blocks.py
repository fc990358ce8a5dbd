"""Blocks over images in diffusers' UNets and VAEs, by `fused.ops` in fewer passes.

Those over tokens are in `serve.acceleration.fused.transformers`.

Each takes over the layers of the block it stands for, under their names: parameters are shared,
and a state dict reads the same. Its class method tells whether a block is of the kind it can
stand for; one that is not, as with other activations or scaled outputs, stays as it is.

Beside the norms, it leaves out what changes nothing: a bias goes into the pass that comes after
its convolution, and a factor of 1.0 is not divided by.
"""

# mypy: disallow-untyped-calls=False
# diffusers ships no types.

from typing import Any

import torch
from diffusers.models.resnet import ResnetBlock2D
from torch import nn
from torch.nn import functional

from serve.acceleration.fused.ops import add_bias, group_norm


class FusedNorm(nn.Module):
    """A group norm, and the SiLU after it: (n, c, h, w) to the same, in channels_last."""

    def __init__(self, norm: nn.GroupNorm, *, silu: bool) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias
        self._groups, self._eps, self._silu = norm.num_groups, norm.eps, silu

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The norm, and SiLU."""
        return group_norm(x, None, self.weight, self.bias, self._groups, self._eps, silu=self._silu)


class FusedResnet(nn.Module):
    """A `ResnetBlock2D`: 9 passes between its convolutions, where eager torch takes 29."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.norm1, self.conv1 = block.norm1, block.conv1
        self.time_emb_proj = block.time_emb_proj
        self.norm2, self.conv2 = block.norm2, block.conv2
        self.conv_shortcut = block.conv_shortcut

    @staticmethod
    def stands_for(block: nn.Module) -> bool:
        """Whether a module is such a block, without resampling, scaling or another activation."""
        known: Any = block
        return (
            type(block) is ResnetBlock2D
            and (known.time_embedding_norm == "default" or known.time_emb_proj is None)
            and known.time_embedding_norm != "scale_shift"
            and type(known.nonlinearity) is nn.SiLU
            and (known.upsample, known.downsample) == (None, None)
            and known.output_scale_factor == 1.0
            and known.dropout.p == 0
            and not known.skip_time_act
            and is_affine(known.norm1)
            and is_affine(known.norm2)
            and all(type(conv) is nn.Conv2d for conv in (known.conv1, known.conv2))
        )

    def forward(self, input_tensor: torch.Tensor, temb: torch.Tensor | None = None) -> torch.Tensor:
        """Images (n, c, h, w) and their time embedding (n, …) to images (n, c', h, w)."""
        x = group_normed(self.norm1, input_tensor)
        x, bias = _without_bias(self.conv1, x)
        shift = torch.zeros_like(self.norm2.bias)[None] if bias is None else bias[None]
        if self.time_emb_proj is not None and temb is not None:
            shift = self.time_emb_proj(functional.silu(temb)) + shift
        x = group_normed(self.norm2, x, shift)
        x, bias = _without_bias(self.conv2, x)
        if self.conv_shortcut is not None:
            input_tensor, more = _without_bias(self.conv_shortcut, input_tensor)
            bias = more if bias is None else bias if more is None else bias + more
        return x + input_tensor if bias is None else add_bias(x, input_tensor, bias)


def is_affine(norm: nn.Module | None) -> bool:
    """Whether a norm is torch's own, with weights and biases."""
    known: Any = norm
    return type(norm) in (nn.GroupNorm, nn.LayerNorm) and not (
        known.weight is None or known.bias is None
    )


def group_normed(
    norm: nn.GroupNorm, x: torch.Tensor, shift: torch.Tensor | None = None, *, silu: bool = True
) -> torch.Tensor:
    """Images (n, c, h, w) through a group norm, and SiLU unless told otherwise."""
    return group_norm(x, shift, norm.weight, norm.bias, norm.num_groups, norm.eps, silu=silu)


def _without_bias(conv: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """A convolution, and the bias that its caller still has to add; None: it is in."""
    if type(conv) is not nn.Conv2d:
        done: torch.Tensor = conv(x)
        return done, None
    y = functional.conv2d(
        x, conv.weight, None, conv.stride, conv.padding, conv.dilation, conv.groups
    )
    return y, conv.bias
