"""What diffusers' own call makes of a row, and the rows denoised together. torch comes inside."""

# mypy: disallow-untyped-calls=False
# Parts of torch.cuda are untyped.

import functools
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

from serve.catalog import MODEL_DEFAULTS
from serve.engine.request import Recipe, Row, Size, Tick
from serve.shortcuts import NONE, Shortcuts

TWINS = [name for name in MODEL_DEFAULTS if name == "tiny" or name.startswith("tiny-")]
# Relative: the largest difference over the largest value of the stock pipeline's latents.
EXACT = 1e-4
# A batch sums its matrix products in another order than one image does: the last bit differs.
PIXEL_LEVELS = 1

# diffusers' Euler scheduler, under numpy 2
quiet = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)

Arrival = tuple[int, Recipe, Row]  # the tick it joins at, at the earliest


@functools.cache
def twin(model: str, dtype: str = "float32") -> Any:
    """A toy pipeline on the CPU; tests leave it as it was."""
    import torch

    from serve.models.architectures import build_random

    torch.set_num_threads(1)  # toys: a second thread costs more than it brings
    with torch.inference_mode(False):  # whoever asks first
        pipeline = build_random(model, torch.device("cpu"), getattr(torch, dtype))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def recipe(model: str, **changes: Any) -> Recipe:
    defaults = MODEL_DEFAULTS[model]
    told = {"width": 64, "height": 64, "steps": 3, "guidance_scale": defaults.guidance_scale}
    return Recipe(**{**told, "scheduler": defaults.schedulers[0], **changes})


def row(seed: int = 1, prompt: str = "a red fox", negative_prompt: str = "") -> Row:
    return Row(prompt=prompt, negative_prompt=negative_prompt, seed=seed)


def stock(pipeline: Any, how: Recipe, asked: Row, *, output_type: str = "latent") -> Any:
    """The image, or its latent as `Stepper` gives it, by the pipeline's own call."""
    import torch
    from diffusers import FluxPipeline, StableDiffusion3Pipeline

    from serve.diffusion.solver import variant
    from serve.models.components import T5_TOKENS

    extras: dict[str, Any] = {"guidance_scale": how.guidance_scale}
    if isinstance(pipeline, FluxPipeline):
        extras = {"true_cfg_scale": how.guidance_scale} if how.is_guided else {}
    if how.is_guided:
        extras["negative_prompt"] = asked.negative_prompt or None
        if isinstance(pipeline, FluxPipeline):  # where None says: no guidance
            extras["negative_prompt"] = asked.negative_prompt
    if isinstance(pipeline, FluxPipeline | StableDiffusion3Pipeline):
        extras["max_sequence_length"] = T5_TOKENS
    own = pipeline.scheduler
    pipeline.scheduler = variant(own, how.scheduler)
    try:
        made = pipeline(
            prompt=asked.prompt,
            width=how.width,
            height=how.height,
            num_inference_steps=how.steps,
            generator=torch.Generator().manual_seed(asked.seed),
            output_type=output_type,
            **extras,
        ).images[0]
    finally:
        pipeline.scheduler = own
    return made if output_type == "latent" else np.asarray(made)


def error(made: Any, expected: Any) -> float:
    """The largest difference, relative to the largest value expected."""
    return float((made - expected).abs().max() / expected.abs().max())


def rms_error(made: Any, expected: Any) -> float:
    """The root mean square of the difference, relative to that of what was expected."""
    made, expected = made.float(), expected.float()
    return float((made - expected).square().mean().sqrt() / expected.square().mean().sqrt())


def levels(one: Any, other: Any) -> int:
    """Largest difference of two images' pixels, of 255."""
    return int(np.abs(one.astype(int) - other.astype(int)).max())


def crowd(model: str) -> list[Arrival]:
    """Every scheduler, with guidance and without, joining at different steps: 1 to 6 rows."""
    names = MODEL_DEFAULTS[model].schedulers
    return [
        (
            i,
            recipe(model, steps=3 + i % 2, guidance_scale=scale, scheduler=names[i % len(names)]),
            row(i),
        )
        for i, scale in enumerate((4.5, 1.0, 3.0, 1.0))
    ]


class Together:
    """Denoises rows as an engine does, without threads: joins when a slot is free, ticks in turn.

    Args:
        pipeline: What denoises.
        slots: Images of one size in one call.
        captured: Whether the sizes of `keep` run as CUDA graphs.
        buckets: Rows of their batches; None: the usual ones.
        shortcuts: Which steps are cut short.
        layers: How many layers a shallow step runs.

    Attributes:
        preparation: Rows to starts; on a GPU on a stream of its own, as its thread has one.
        stepper: What it drives.
        lost: The rows that could not be denoised, and why.
        clean: The predicted clean latents of every step, by row.
        finished: The final latents with their events, as a decoder takes them, by row.
    """

    def __init__(
        self,
        pipeline: Any,
        *,
        slots: int = 4,
        captured: bool = False,
        buckets: Sequence[int] | None = None,
        shortcuts: Shortcuts = NONE,
        layers: int = 1,
    ) -> None:
        import torch

        from serve.diffusion.preparation import Preparation
        from serve.diffusion.stepper import Stepper
        from serve.models.networks import network_of

        network = network_of(pipeline)
        self.preparation = Preparation(network, shortcuts)
        is_cuda = network.device.type == "cuda"
        self._preparing = torch.cuda.Stream(network.device) if is_cuda else None
        self.stepper = Stepper(
            network,
            slots=slots,
            buckets=buckets,
            cache_layers=layers if shortcuts.cache_steps > 1 else None,
            captured=captured,
        )
        self.slots = slots
        self.lost: dict[int, Exception] = {}
        self.clean: dict[int, list[Any]] = {}
        self.finished: dict[int, Any] = {}

    def keep(self, how: Recipe) -> Any:
        """The slots of a recipe's size, warmed up to stay."""
        (example,) = self.prepare([(how, row(0))])
        self.stepper.keep(how.size, example)
        return self.stepper._slots[how.size]

    def prepare(self, asked: Sequence[tuple[Recipe, Row]]) -> list[Any]:
        """What each row begins with."""
        import torch

        with torch.cuda.stream(self._preparing) if self._preparing else nullcontext():
            made = self.preparation.prepare(asked) if asked else []
        for each in made:
            assert not isinstance(each, Exception), each
        return [each.state for each in made]  # type: ignore[union-attr]

    def run(self, arrivals: Sequence[Arrival]) -> dict[int, Any]:
        """Final latents by the arrivals' index; the lost ones are missing."""
        latents: dict[int, Any] = {}
        waiting = dict(enumerate(arrivals))
        running: dict[Size, dict[int, int]] = {}  # size -> slot -> arrival
        done: dict[int, int] = {}  # steps by arrival
        now = 0
        while waiting or any(running.values()):
            joins = self._seat({i: a for i, a in waiting.items() if a[0] <= now}, running)
            states = self.prepare([arrivals[i][1:] for i in joins])
            joins = dict(zip(joins, states, strict=True))
            for i in joins:
                del waiting[i]
                done[i] = 0
            for size, seats in running.items():
                if seats:
                    self._tick(size, seats, joins, arrivals, done, latents)
            now += 1
        return latents

    def _seat(self, due: dict[int, Arrival], running: dict[Size, dict[int, int]]) -> dict[int, Any]:
        seated: dict[int, Any] = {}
        for i, (_, how, _) in due.items():
            seats = running.setdefault(how.size, {})
            free = [slot for slot in range(self.slots) if slot not in seats]
            if free:
                seats[free[0]] = i
                seated[i] = None
        return seated

    def _tick(
        self,
        size: Size,
        seats: dict[int, int],
        joins: dict[int, Any],
        arrivals: Sequence[Arrival],
        done: dict[int, int],
        latents: dict[int, Any],
    ) -> None:
        ticked = self.stepper.tick(
            Tick(
                size=size,
                joins={slot: joins[i] for slot, i in seats.items() if i in joins},
                active={slot: done[i] for slot, i in seats.items()},
                step_flop=1.0,
                previews=list(seats),
                finishes=[s for s, i in seats.items() if done[i] + 1 == arrivals[i][1].steps],
            )
        )
        assert not ticked.lost.keys() & (ticked.latents.keys() | ticked.previews.keys())
        for slot, i in list(seats.items()):
            done[i] += 1
            if slot in ticked.lost:
                self.lost[i] = ticked.lost[slot]
            else:
                self.clean.setdefault(i, []).append(ticked.previews[slot][0])
            if slot in ticked.latents:
                self.finished[i] = ticked.latents[slot]
                latents[i] = ticked.latents[slot][0]
            if slot in ticked.lost or slot in ticked.latents:
                del seats[slot]
        if not seats:
            self.stepper.release(size)
