"""Policy `step` on the device: the slots of every size, and steps launched ahead of the GPU."""

# mypy: disallow-untyped-calls=False
# Parts of torch.cuda are untyped.

import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import nullcontext

import torch

from serve.acceleration.attention import plans
from serve.acceleration.compilation import forbid_recompiles
from serve.acceleration.cuda_graphs import Capture, default_buckets
from serve.diffusion.out_of_memory import OutOfMemoryError, split_on_oom
from serve.diffusion.slots import Slots, Start
from serve.diffusion.stream_events import mark, seconds
from serve.engine.request import Measured, Size, Tick, Ticked
from serve.models.network import Network

# Steps that the host may launch before the device has done them: one is running, one is ready.
AHEAD = 2


class Stepper:
    """Runs ticks; for one thread.

    Args:
        network: The denoiser.
        slots: Images of one size in one call.
        buckets: Rows of a batch that warmed sizes are recorded or compiled for; None: the usual.
        cache_layers: Layers of the UNet's last block that every step runs, where deep features are
            reused between steps; None: they are not.
        captured: Whether warmed sizes run as CUDA graphs.
        traced: Whether their denoiser is recorded for a CPU.
        compiled: The compiled denoiser for warmed sizes; None: the plain one.
    """

    def __init__(
        self,
        network: Network,
        *,
        slots: int,
        buckets: Sequence[int] | None = None,
        cache_layers: int | None = None,
        captured: bool,
        traced: bool = False,
        compiled: torch.nn.Module | None = None,
    ) -> None:
        self._network = network
        self._device: torch.device = network.device
        self._count = slots
        self._buckets = buckets or default_buckets(2 * slots)
        self._cache_layers = cache_layers
        self._captured = captured
        self._traced = traced
        self._compiled = compiled
        self._capture: Capture | None = None
        self._slots: dict[Size, Slots] = {}
        self._kept: set[Size] = set()
        self._launched: deque[tuple[float, torch.cuda.Event, torch.cuda.Event]] = deque()

    @torch.inference_mode()
    def keep(self, size: Size, example: Start) -> None:
        """Make a size's slots now, to stay; recorded if graphs are on."""
        if self._captured and self._capture is None:
            self._capture = Capture(torch.cuda.graph_pool_handle(), torch.cuda.Stream(self._device))
        self._kept.add(size)
        with plans() if self._captured else nullcontext():
            self._slots[size] = Slots(
                self._network,
                size,
                self._count,
                self._device,
                example,
                buckets=self._buckets,
                cache_layers=self._cache_layers,
                capture=self._capture,
                traced=self._traced,
                compiled=self._compiled,
            )

    def release(self, size: Size) -> None:
        """Give the memory of a size's slots back, unless it is to stay."""
        if size not in self._kept:
            self._slots.pop(size, None)

    @torch.inference_mode()
    def tick(self, tick: Tick) -> Ticked:
        """One step of one size.

        On a GPU it returns as soon as the step is launched, once the step before the last is
        done: the host stays ahead, and the device never waits for it.
        """
        started_s = time.perf_counter()
        slots = self._slots.get(tick.size)
        if slots is None:  # not warmed up: it runs eagerly, and goes with its images
            example = next(iter(tick.joins.values()))
            (made,) = split_on_oom([tick.size], lambda sizes: [self._make(sizes[0], example)])
            if isinstance(made, OutOfMemoryError):
                return Ticked(lost=dict.fromkeys(tick.active, made))
            slots = self._slots[tick.size] = made
        for slot, start in tick.joins.items():
            slots.join(slot, start)
        began = mark(self._device)
        lost = self._advance(slots, tick)
        ended = mark(self._device)
        if began is not None and ended is not None:  # whatever fails below, it is launched
            self._launched.append((0.0 if lost else tick.step_flop, began, ended))
        finished = {slot: slots.latent(slot) for slot in tick.finishes if slot not in lost}
        previews = {slot: slots.clean(slot) for slot in tick.previews if slot not in lost}
        ready = mark(self._device)
        measured: Sequence[Measured] = self.catch_up(AHEAD)
        if ended is None and not lost:
            took_s = time.perf_counter() - started_s
            measured = [Measured(step_flop=tick.step_flop, seconds=took_s)]
        return Ticked(
            latents={slot: (latent, ready) for slot, latent in finished.items()},
            previews={slot: (latent, ready) for slot, latent in previews.items()},
            lost=lost,
            measured=measured,
        )

    def catch_up(self, ahead: int = 0) -> list[Measured]:
        """Wait until at most so many launched steps are not done; what the others took."""
        measured = []
        while len(self._launched) > ahead:
            step_flop, began, ended = self._launched.popleft()
            ended.synchronize()
            if step_flop:  # the time of others was spent on giving memory back
                measured.append(Measured(step_flop=step_flop, seconds=seconds(began, ended)))
        return measured

    def _make(self, size: Size, example: Start) -> Slots:
        """Slots of a size that was not warmed up: its steps run as they are."""
        return Slots(
            self._network,
            size,
            self._count,
            self._device,
            example,
            cache_layers=self._cache_layers,
        )

    def _advance(self, slots: Slots, tick: Tick) -> Mapping[int, OutOfMemoryError]:
        """Take the step; a warmed size compiles nothing any more, or raises."""
        if self._compiled is None:
            return slots.advance(tick.active)
        with forbid_recompiles() if tick.size in self._kept else nullcontext():
            return slots.advance(tick.active)
