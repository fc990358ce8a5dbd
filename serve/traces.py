"""The denoiser on a CPU without Python: recorded once a number of rows, then replayed.

What CUDA graphs are to a GPU. A small denoiser spends a third of its time on a CPU in Python and
in diffusers' modules; TorchScript runs the recorded operators without either, and without holding
up the event loop's thread. It is deprecated, yet nothing else in torch 2.13 does this in a second
(torch.compile takes a minute a shape); without it, steps would run as they are.
"""

import warnings
from collections.abc import Callable, Sequence

import torch

from serve.network import Conditioning, Denoise

Inputs = tuple[torch.Tensor, torch.Tensor, Conditioning]

# TorchScript optimizes what it has seen run.
WARM_UP_CALLS = 2


class TracedDenoise:
    """A denoiser that replays what it did for as many rows; other numbers of rows run as usual.

    Args:
        denoise: The denoiser of one size; its control flow hangs on shapes alone.
        sizes: Numbers of rows to record.
        example: Inputs of so many rows.
    """

    def __init__(
        self, denoise: Denoise, sizes: Sequence[int], example: Callable[[int], Inputs]
    ) -> None:
        self._denoise = denoise
        self._traces = {size: _trace(denoise, example(size)) for size in sizes}

    def __call__(self, x: torch.Tensor, t: torch.Tensor, told: Conditioning) -> torch.Tensor:
        """The denoiser's output for latents, timesteps and conditionings, in rows."""
        trace = self._traces.get(len(x))
        return self._denoise(x, t, told) if trace is None else trace(x, t, *told)


def _trace(denoise: Denoise, inputs: Inputs) -> Callable[..., torch.Tensor]:
    x, t, told = inputs

    def call(x: torch.Tensor, t: torch.Tensor, *told: torch.Tensor) -> torch.Tensor:
        return denoise(x, t, told)

    with warnings.catch_warnings():
        # Deprecated, as said above; and diffusers' checks of shapes become constants, as they may.
        warnings.simplefilter("ignore")
        trace: Callable[..., torch.Tensor] = torch.jit.trace(call, (x, t, *told), check_trace=False)
        for _ in range(WARM_UP_CALLS):
            trace(x, t, *told)
    return trace
