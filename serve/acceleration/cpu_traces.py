"""The denoiser on a CPU without Python: recorded once a number of rows, then replayed.

What CUDA graphs are to a GPU. A small denoiser spends a third of its time on a CPU in Python and
in diffusers' modules; TorchScript runs the recorded operators without either, and without holding
up the event loop's thread. It is deprecated, yet nothing else in torch 2.13 does this in a second
(torch.compile takes a minute a shape); without it, steps would run as they are.
"""

# mypy: disallow-untyped-calls=False
# torch.jit is untyped.

import warnings
from collections.abc import Mapping
from typing import Any

import torch

from serve.models.network import Conditioning, Denoise

Inputs = tuple[torch.Tensor, torch.Tensor, Conditioning]

# TorchScript optimizes what it has seen run.
WARM_UP_CALLS = 2


class Recorded:
    """A denoiser with a faster one for some numbers of rows.

    Args:
        plain: For all others.
        recorded: By number of rows.
    """

    def __init__(self, plain: Denoise, recorded: Mapping[int, Denoise]) -> None:
        self._plain = plain
        self._recorded = recorded

    def __call__(self, x: torch.Tensor, t: torch.Tensor, told: Conditioning) -> torch.Tensor:
        """The denoiser's output for latents, timesteps and conditionings, in rows."""
        return self._recorded.get(len(x), self._plain)(x, t, told)


def trace(denoise: Denoise, inputs: Inputs) -> Denoise:
    """The denoiser as it ran on these inputs, for others of their shapes.

    Args:
        denoise: Its control flow hangs on shapes alone; no parameter of it wants a gradient.
        inputs: Latents, timesteps and conditionings.
    """

    def flat(x: torch.Tensor, t: torch.Tensor, *told: torch.Tensor) -> torch.Tensor:
        return denoise(x, t, told)

    def replay(x: torch.Tensor, t: torch.Tensor, told: Conditioning) -> torch.Tensor:
        output: torch.Tensor = traced(x, t, *told)
        return output

    x, t, told = inputs
    with warnings.catch_warnings():
        # Deprecated, as said above; and diffusers' checks of shapes become constants, as they may.
        warnings.simplefilter("ignore")
        traced: Any = torch.jit.trace(flat, (x, t, *told), check_trace=False)
        for _ in range(WARM_UP_CALLS):
            replay(x, t, told)
    return replay
