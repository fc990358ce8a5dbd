"""A UNet whose deep features are kept for the next steps (DeepCache, Ma et al., arXiv 2312.00858).

The deep levels of a UNet change little from one step to the next. A *whole* step runs everything
and keeps what enters the last layers of the last up block; a *shallow* step runs only those layers
anew, and the ones of the first down block whose outputs they take as skips:

    whole      conv_in  down 0  down 1 …  mid  … up n-1  up n: [first layers | last k layers]  out
                                                                             ^ kept
    shallow    conv_in  [first k-1 layers of down 0]                          [last k layers]  out

Both are UNets of diffusers with some of the given one's own blocks, so that its code and weights
run in either.
"""

# mypy: disallow-untyped-calls=False
# diffusers ships no types.

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

# What a block of a UNet holds a layer each of.
LAYERS = ("resnets", "attentions")


class WholeUNet:
    """The UNet with all its layers, which tells its deep features, too.

    Args:
        unet: A `UNet2DConditionModel`.
        layers: How many layers of the last up block a shallow step runs; at least 1.

    Raises:
        ValueError: The last up block has not so many layers.
    """

    def __init__(self, unet: nn.Module, layers: int) -> None:
        *ups, last = _blocks(unet, "up_blocks")
        count = len(last.resnets)
        _check(layers, count)
        self._kept = _Kept(_cut(last, count - layers, count))
        head = [_cut(last, 0, count - layers)] if layers < count else []
        self._unet = _with(unet, up_blocks=nn.ModuleList([*ups, *head, self._kept]))

    def __call__(self, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """The UNet's output, and its deep features: (rows, channels, height, width)."""
        output: torch.Tensor = self._unet(*args, **kwargs, return_dict=False)[0]
        return output, self._kept.take()


class ShallowUNet:
    """The UNet's outermost layers around deep features from an earlier step.

    Args:
        unet: A `UNet2DConditionModel`.
        layers: How many layers of its last up block are run.

    Raises:
        ValueError: The last up block has not so many layers.
    """

    def __init__(self, unet: nn.Module, layers: int) -> None:
        first, last = _blocks(unet, "down_blocks")[0], _blocks(unet, "up_blocks")[-1]
        count = len(last.resnets)
        _check(layers, count)
        down = [_cut(first, 0, layers - 1)] if layers > 1 else []
        self._given = _Given(_cut(last, count - layers, count))
        self._unet = _with(
            unet,
            down_blocks=nn.ModuleList(down),
            mid_block=None,
            up_blocks=nn.ModuleList([self._given]),
        )

    def __call__(self, deep: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """The UNet's output for `deep`, as `WholeUNet` told them."""
        self._given.deep = deep
        try:
            output: torch.Tensor = self._unet(*args, **kwargs, return_dict=False)[0]
        finally:
            self._given.deep = None
        return output


class _Wrapped(nn.Module):
    """A block that looks to the UNet as it is."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.block = block
        self.resnets = block.resnets
        self.has_cross_attention = getattr(block, "has_cross_attention", False)
        self.deep: torch.Tensor | None = None


class _Kept(_Wrapped):
    """Keeps what it is given, until it is taken."""

    def forward(self, *, hidden_states: torch.Tensor, **others: Any) -> torch.Tensor:
        self.deep = hidden_states
        output: torch.Tensor = self.block(hidden_states=hidden_states, **others)
        return output

    def take(self) -> torch.Tensor:
        deep, self.deep = self.deep, None
        assert deep is not None
        return deep


class _Given(_Wrapped):
    """Runs on `deep` in place of what the levels below would hand it."""

    def forward(self, *, hidden_states: torch.Tensor, **others: Any) -> torch.Tensor:
        output: torch.Tensor = self.block(hidden_states=self.deep, **others)
        return output


def _blocks(unet: Any, name: str) -> list[Any]:
    return list(getattr(unet, name))


def _cut(block: nn.Module, begin: int, end: int) -> Any:
    """A block with its layers from `begin` to `end`; nothing between levels but in a whole block.

    Only the first and the last block are cut, and there the last up block has no upsampler.
    """
    layers: dict[str, nn.Module | None] = {
        name: nn.ModuleList(list(getattr(block, name))[begin:end])
        for name in LAYERS
        if hasattr(block, name)
    }
    if hasattr(block, "downsamplers"):
        layers["downsamplers"] = None
    return _with(block, **layers)


def _with(module: nn.Module, **children: nn.Module | None) -> Any:
    """The module with other children, and its own weights for all else."""
    changed = copy.copy(module)
    kept: Mapping[str, nn.Module | None] = module._modules
    changed._modules = {**kept, **children}
    return changed


def _check(layers: int, count: int) -> None:
    if not 1 <= layers <= count:
        raise ValueError(f"cache_layers: {layers}; the UNet's last block has 1 to {count}")
