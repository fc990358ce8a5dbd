"""The running images of one size on the device: fixed slots of latents and conditionings.

A slot holds the latent, the clean latent as last predicted, two conditionings (with the prompt, and
without it) and, where they are reused, the deep features of both. A step gathers the rows of the
slots that are active, calls the denoiser once, and puts the new latents back. An image without
guidance takes one row of the batch, with guidance two; samplers, steps and guidance are numbers of
each row's own.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import msgspec
import numpy as np
import torch

from serve.acceleration.cuda_graphs import NUMBERS, Capture, CapturedSteps, EagerSteps, Plan
from serve.diffusion.denoisers import Denoisers
from serve.diffusion.out_of_memory import OutOfMemoryError, split_on_oom
from serve.diffusion.solver import Table
from serve.engine.request import Size
from serve.models.network import Conditioning, Network
from serve.shortcuts import NONE, Shortcuts


class Start(msgspec.Struct, frozen=True):
    """What an image begins with; its tensors are there, whichever stream made them.

    Attributes:
        latent: float32, in the denoiser's layout, on the host; noise at the sampler's scale.
        told: Conditioning with the prompt.
        untold: Conditioning without it; None where there is no guidance.
        table: Its sampler.
        guidance_scale: Its guidance.
        shortcuts: Which of its steps are cut short.
    """

    latent: torch.Tensor
    told: Conditioning
    untold: Conditioning | None
    table: Table
    guidance_scale: float
    shortcuts: Shortcuts = NONE

    def is_guided(self, step: int) -> bool:
        """Whether a step has an unguided row, too."""
        return self.untold is not None and step < self.shortcuts.guided_steps(len(self.table))


class Slots:
    """The slots of one size.

    Args:
        network: The denoiser.
        size: Pixels of the images.
        count: Slots.
        device: Where the tensors live.
        example: Any start of this size: it shows the shapes.
        buckets: Rows of a batch to record or compile for, rising to 2 `count`; where neither is
            wanted, they say nothing.
        cache_layers: How many layers of the UNet's last block run in every step, where the others'
            deep features are reused; None: they are not.
        capture: What its CUDA graphs share with others; None: steps run eagerly.
        traced: Whether the denoiser is recorded for a CPU.
        compiled: The compiled denoiser; it is compiled here for every bucket of rows.
    """

    def __init__(
        self,
        network: Network,
        size: Size,
        count: int,
        device: torch.device,
        example: Start,
        *,
        buckets: Sequence[int] = (),
        cache_layers: int | None = None,
        capture: Capture | None = None,
        traced: bool = False,
        compiled: torch.nn.Module | None = None,
    ) -> None:
        # The stock pipelines make latents in the dtype of their prompt's embeddings.
        self._dtype = example.told[0].dtype
        self._device = device
        # One slot more than images: graphs let their padding work on it.
        shape = (count + 1, *example.latent.shape)
        self._latents = torch.zeros(shape, device=device)
        self._clean = torch.zeros(shape, device=device)
        self._told = tuple(
            torch.zeros((2 * (count + 1), *each.shape), device=device, dtype=each.dtype)
            for each in example.told
        )
        self._denoisers = Denoisers(
            network, size, self._blank, cache_layers=cache_layers, arena_rows=2 * (count + 1)
        )
        if compiled is not None:
            self._denoisers.compile(compiled, buckets)
        elif traced:
            self._denoisers.trace(buckets)
        self._starts: dict[int, Start] = {}

        def steps(is_whole: bool) -> EagerSteps | CapturedSteps:
            step = partial(self._step, is_whole=is_whole)
            if capture is None:
                return EagerSteps(step, device)
            return CapturedSteps(
                step,
                buckets=buckets,
                scratch_slot=count,
                scratch_row=2 * count,
                device=device,
                capture=capture,
            )

        self._whole_steps = steps(True)
        self._shallow_steps = None if cache_layers is None else steps(False)

    def join(self, slot: int, start: Start) -> None:
        """Put an image into a slot."""
        self._starts[slot] = start
        if self._device.type == "cuda":
            # The copies below run later on this stream, and the start may be dropped before:
            # the stream that made its tensors must not get their memory back until then.
            for each in (*start.told, *(start.untold or ())):
                each.record_stream(torch.cuda.current_stream(self._device))
        self._latents[slot].copy_(start.latent, non_blocking=True)
        self._clean[slot].zero_()
        for arena, told in zip(self._told, start.told, strict=True):
            arena[2 * slot].copy_(told, non_blocking=True)
        for arena, untold in zip(self._told, start.untold or (), strict=False):
            arena[2 * slot + 1].copy_(untold, non_blocking=True)

    def advance(self, active: Mapping[int, int]) -> dict[int, OutOfMemoryError]:
        """Take one step; returns the slots that do not fit into memory.

        Images whose step is whole and images whose step is shallow take a call each; the engine
        lets them join so that all are alike.

        Args:
            active: Slots, each with the step it is at, from 0.
        """
        lost: dict[int, OutOfMemoryError] = {}
        for is_whole, steps in ((True, self._whole_steps), (False, self._shallow_steps)):
            items = [item for item in active.items() if self._is_whole(*item) is is_whole]
            if items and steps is not None:
                lost |= self._run(steps, items)
        return lost

    def latent(self, slot: int) -> torch.Tensor:
        """A copy of a slot's latent."""
        return self._latents[slot].clone()

    def clean(self, slot: int) -> torch.Tensor:
        """A copy of a slot's clean latent, as the last step predicted it."""
        return self._clean[slot].clone()

    def _is_whole(self, slot: int, step: int) -> bool:
        return self._shallow_steps is None or self._starts[slot].shortcuts.is_whole(step)

    def _run(
        self, steps: EagerSteps | CapturedSteps, items: Sequence[tuple[int, int]]
    ) -> dict[int, OutOfMemoryError]:
        """One call of the denoiser if memory allows, else several."""

        def run(part: Sequence[tuple[int, int]]) -> list[None]:
            steps.run(self._plan(part))
            return [None] * len(part)

        return {
            slot: result
            for (slot, _), result in zip(items, split_on_oom(items, run), strict=True)
            if isinstance(result, OutOfMemoryError)
        }

    def _blank(self, rows: int) -> tuple[torch.Tensor, torch.Tensor, Conditioning]:
        """Inputs of the denoiser for so many rows."""
        x = torch.zeros((rows, *self._latents.shape[1:]), device=self._device, dtype=self._dtype)
        told = tuple(arena[:1].repeat(rows, *[1] * (arena.ndim - 1)) for arena in self._told)
        return x, torch.zeros(rows, device=self._device), told

    def _plan(self, items: Sequence[tuple[int, int]]) -> Plan:
        """The step in numbers: the images' own rows first, then the unguided rows."""
        images = len(items)
        starts = [self._starts[slot] for slot, _ in items]
        guided = [i for i, (_, step) in enumerate(items) if starts[i].is_guided(step)]
        rows = images + len(guided)
        slots = np.array([slot for slot, _ in items], dtype=np.int64)
        indices = np.zeros((4, rows), dtype=np.int64)
        indices[0, :images] = slots
        indices[1, :images] = np.arange(images)  # unguided: the row itself stands for both
        indices[1, guided] = np.arange(images, rows)
        indices[2] = [*range(images), *guided]
        indices[3, :images] = 2 * slots
        indices[3, images:] = 2 * slots[guided] + 1
        numbers = np.zeros((rows, NUMBERS), dtype=np.float32)
        for i, (start, (_, step)) in enumerate(zip(starts, items, strict=True)):
            numbers[i, :-1] = start.table.rows[step]
            numbers[i, -1] = start.guidance_scale
        return Plan(indices, numbers, images)

    def _step(
        self, indices: torch.Tensor, numbers: torch.Tensor, images: int, *, is_whole: bool
    ) -> None:
        """One step on the device, of a plan's indices and numbers."""
        slots, unguided, image_of_row, told_of_row = indices
        slots, unguided = slots[:images], unguided[:images]
        t, *others = numbers[:images].unbind(1)
        ones = [1] * (self._latents.ndim - 1)
        s, p, q, a, b, c, guidance = (each.view(-1, *ones) for each in others)
        x = self._latents.index_select(0, slots)
        denoise = self._denoisers.whole if is_whole else self._denoisers.shallow
        output = denoise(
            (x * s).to(self._dtype).index_select(0, image_of_row),
            t.index_select(0, image_of_row),
            tuple(arena.index_select(0, told_of_row) for arena in self._told),
            told_of_row,
        ).float()
        told, untold = output[:images], output.index_select(0, unguided)
        clean = p * x + q * (untold + guidance * (told - untold))
        moved = a * x + b * clean + c * self._clean.index_select(0, slots)
        self._latents.index_copy_(0, slots, moved)
        self._clean.index_copy_(0, slots, clean)
