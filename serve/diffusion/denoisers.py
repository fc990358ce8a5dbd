"""The denoiser's calls for the slots of one size: plain, recorded or compiled; whole or shallow."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from serve.acceleration.cpu_traces import Inputs, Recorded, trace
from serve.engine.request import Size
from serve.models.network import Conditioning, Network


class Denoisers:
    """What a step calls, and the deep features it keeps between steps.

    Args:
        network: The denoiser.
        size: Pixels of the images.
        blank: Inputs of the denoiser for so many rows.
        cache_layers: How many layers of the UNet's last block a shallow step runs; None: deep
            features are not reused, and there are no shallow steps.
        arena_rows: Rows to keep deep features of.
    """

    def __init__(
        self,
        network: Network,
        size: Size,
        blank: Callable[[int], Inputs],
        *,
        cache_layers: int | None,
        arena_rows: int,
    ) -> None:
        self._network = network
        self._size = size
        self._blank = blank
        self._layers = cache_layers
        self._whole, self._shallow = self._calls(None)
        self._deep: torch.Tensor | None = None
        if cache_layers is not None:
            _, deep = self._whole(*blank(1))
            # Rows lie as the UNet lays them out: an index keeps no memory format.
            self._is_channels_last = deep.is_contiguous(memory_format=torch.channels_last)
            row = self._to_arena(deep)[0]
            self._deep = torch.zeros((arena_rows, *row.shape), device=deep.device, dtype=deep.dtype)

    def whole(
        self, x: torch.Tensor, t: torch.Tensor, told: Conditioning, rows: torch.Tensor
    ) -> torch.Tensor:
        """The output of the whole denoiser; its deep features are kept.

        Args:
            x: Latents, a row each.
            t: Timesteps.
            told: Conditionings.
            rows: Where in the arenas each row's conditioning and deep features are.
        """
        if self._deep is None:
            output: torch.Tensor = self._whole(x, t, told)
            return output
        output, deep = self._whole(x, t, told)
        self._deep.index_copy_(0, rows, self._to_arena(deep))
        return output

    def shallow(
        self, x: torch.Tensor, t: torch.Tensor, told: Conditioning, rows: torch.Tensor
    ) -> torch.Tensor:
        """The output of the outermost layers around the deep features kept; arguments as above."""
        assert self._deep is not None
        deep = self._from_arena(self._deep.index_select(0, rows))
        output: torch.Tensor = self._shallow(x, t, (*told, deep))
        return output

    def trace(self, buckets: Sequence[int]) -> None:
        """Record the calls for batches of these rows, on a CPU."""
        whole, shallow = self._whole, self._shallow
        self._whole = Recorded(whole, {rows: trace(whole, self._blank(rows)) for rows in buckets})
        if self._deep is not None:
            recorded = {rows: trace(shallow, self._blank_shallow(rows)) for rows in buckets}
            self._shallow = Recorded(shallow, recorded)

    def compile(self, compiled: torch.nn.Module, buckets: Sequence[int]) -> None:
        """Compile the calls for batches of these rows; others run as they are."""
        whole, shallow = self._calls(compiled)
        for rows in buckets:
            whole(*self._blank(rows))
        self._whole = Recorded(self._whole, dict.fromkeys(buckets, whole))
        if self._deep is not None:
            for rows in buckets:
                shallow(*self._blank_shallow(rows))
            self._shallow = Recorded(self._shallow, dict.fromkeys(buckets, shallow))

    def _calls(self, compiled: torch.nn.Module | None) -> tuple[Any, Any]:
        """The whole call and the shallow one; without the latter both are the same."""
        if self._layers is None:
            plain = self._network.denoise(self._size.width, self._size.height, compiled)
            return plain, plain
        depths = self._network.denoise_by_depth(self._layers, compiled)
        return depths.whole, depths.shallow

    def _blank_shallow(self, rows: int) -> Inputs:
        """Inputs of the shallow call for so many rows."""
        assert self._deep is not None
        x, t, told = self._blank(rows)
        deep = self._deep[:1].repeat(rows, *[1] * (self._deep.ndim - 1))
        return x, t, (*told, self._from_arena(deep))

    def _to_arena(self, deep: torch.Tensor) -> torch.Tensor:
        return deep.permute(0, 2, 3, 1) if self._is_channels_last else deep

    def _from_arena(self, rows: torch.Tensor) -> torch.Tensor:
        return rows.permute(0, 3, 1, 2) if self._is_channels_last else rows
