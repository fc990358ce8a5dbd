"""Faults planted into serve's GPU code: on the late device each is seen, and as what it is.

torch comes inside.
"""

import contextlib
import functools
import importlib
import re
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

import numpy as np
import pytest

from serve.engine.request import Decoded
from tests.serve.diffusing import (
    EXACT,
    PIXEL_LEVELS,
    Arrival,
    Together,
    error,
    levels,
    quiet,
    recipe,
    row,
    twin,
)
from tests.serve.test_late import SEEDS, SLOTS, run

torch = pytest.importorskip("torch")

from tests.serve.late import Late, on_late  # noqa: E402 - it needs torch
from tests.serve.late_streams import Stream  # noqa: E402

pytestmark = quiet

Plant = Callable[[], contextlib.AbstractContextManager[Any]]


def while_in(owner: str, method: str, plant: Plant) -> contextlib.AbstractContextManager[Any]:
    """Something is wrong while one of serve's methods runs, as `diffusion.slots.Slots`, `join`."""
    module, _, kind = owner.rpartition(".")
    target: Any = getattr(importlib.import_module(f"serve.{module}"), kind)
    real = getattr(target, method)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with plant():
            return real(*args, **kwargs)

    return mock.patch.object(target, method, wrapped)


def nothing(*_: object, **__: object) -> None:
    """What was left out."""


def without(name: str, kind: Any = Stream) -> Plant:
    return lambda: mock.patch.object(kind, name, nothing)


def step_that(
    looks: Callable[[Any, Any], Any],
) -> contextlib.AbstractContextManager[Any]:
    """The step, with the numbers that a function makes of the slots and the numbers."""
    from serve.diffusion.slots import Slots

    real = Slots._step

    def step(self: Any, indices: Any, numbers: Any, images: int, **how: Any) -> Any:
        return real(self, indices, looks(self, numbers), images, **how)

    return mock.patch.object(Slots, "_step", step)


def looked_at(slots: Any, numbers: Any) -> Any:
    return numbers if float(numbers[0, 0]) < 1e9 else None


def guided_by_the_host(slots: Any, numbers: Any) -> Any:
    """The guidance of whoever joined last, as a number of Python's."""
    scales = [start.guidance_scale for start in slots._starts.values()]
    return torch.cat([numbers[:, :-1], torch.full_like(numbers[:, -1:], (scales or [1.0])[-1])], 1)


def latents_as_they_are() -> contextlib.AbstractContextManager[Any]:
    return mock.patch("serve.diffusion.slots.Slots.latent", lambda self, slot: self._latents[slot])


def latents_from_another_stream() -> contextlib.AbstractContextManager[Any]:
    return while_in(
        "diffusion.slots.Slots", "latent", lambda: torch.cuda.stream(torch.cuda.Stream())
    )


def steps_on_streams_of_their_own() -> contextlib.AbstractContextManager[Any]:
    return while_in(
        "diffusion.slots.Slots", "advance", lambda: torch.cuda.stream(torch.cuda.Stream())
    )


def blocking_copies() -> contextlib.AbstractContextManager[Any]:
    real = torch.Tensor.copy_

    def copy(target: Any, source: Any, non_blocking: bool = False) -> Any:
        return real(target, source)

    return while_in(
        "acceleration.cuda_graphs.Captured",
        "replay",
        lambda: mock.patch.object(torch.Tensor, "copy_", copy),
    )


def arenas_made_anew() -> contextlib.AbstractContextManager[Any]:
    """As if slots could grow once their graphs were captured."""
    from serve.diffusion.slots import Slots

    real = Slots.join

    def join(self: Any, slot: int, start: Any) -> None:
        self._clean = self._clean.clone()
        real(self, slot, start)

    return mock.patch.object(Slots, "join", join)


def warm_up_at_once() -> contextlib.AbstractContextManager[Any]:
    """Nothing makes the capturing stream wait: not even a plan that is copied and awaited."""
    stack = contextlib.ExitStack()
    stack.enter_context(mock.patch.object(Stream, "wait_stream", nothing))
    stack.enter_context(mock.patch.object(Late, "drain", nothing))
    return stack


def ring(buffers: int) -> Plant:
    return lambda: mock.patch("serve.acceleration.cuda_graphs.RING", buffers)


def ahead(steps: int) -> Plant:
    return lambda: mock.patch("serve.diffusion.stepper.AHEAD", steps)


OVERTOOK = "ran before what"
REUSED = "was given back while"
WRONG = "latent .* wrong"

FAULTS: dict[str, tuple[Plant, str]] = {
    "preparation waits for no text": (
        lambda: mock.patch("serve.diffusion.preparation.wait"),
        OVERTOOK,
    ),
    "the decoder waits for no latent": (
        lambda: while_in("diffusion.decoder.Decoder", "decode", without("wait_event")),
        OVERTOOK,
    ),
    "pixels are read before they are there": (
        lambda: mock.patch("serve.diffusion.decoder.wait", return_value=None),
        "image .* wrong",
    ),
    "a graph is warmed up before its memory is zeroed": (
        lambda: while_in("acceleration.cuda_graphs.Captured", "__init__", warm_up_at_once),
        OVERTOOK,
    ),
    "steps run on streams of their own": (steps_on_streams_of_their_own, OVERTOOK),
    "latents are copied on another stream": (latents_from_another_stream, OVERTOOK),
    "latents are handed on without a copy": (latents_as_they_are, "image .* wrong"),
    "a start is dropped before it was copied": (
        lambda: while_in("diffusion.slots.Slots", "join", without("record_stream", torch.Tensor)),
        REUSED,
    ),
    "memory of a graph is made anew": (arenas_made_anew, "replayed on memory that was given back"),
    "one pinned buffer": (ring(1), WRONG),
    "two pinned buffers": (ring(2), WRONG),
    "six steps ahead of four buffers": (ahead(6), WRONG),
    "guidance is a number of Python's": (lambda: step_that(guided_by_the_host), WRONG),
    "the step looks at a number": (lambda: step_that(looked_at), "stream is capturing"),
    "numbers are awaited": (blocking_copies, "a blocking copy"),
}


def fault_crowd() -> list[Arrival]:
    """Texts and guidance of their own, images of one step, and one that goes on alone."""
    told = [(1, 4.5), (8, 3.0), (1, 2.0), (1, 1.0)]
    return [
        (0, recipe("tiny", steps=steps, guidance_scale=scale), row(i, f"a fox, {i}"))
        for i, (steps, scale) in enumerate(told)
    ]


@functools.cache
def expected_of_fault_crowd() -> tuple[dict[int, Any], list[Any]]:
    """Its latents and its images, on the CPU."""
    from serve.diffusion.decoder import Decoder
    from serve.models.networks import network_of

    pipeline, arrivals = twin("tiny"), fault_crowd()
    latents = Together(pipeline, slots=SLOTS).run(arrivals)
    ready = [(latents[i], None) for i in range(len(arrivals))]
    decoded = Decoder(network_of(pipeline)).decode(arrivals[0][1].size, ready)
    return latents, pixels(decoded)


def pixels(decoded: Sequence[Decoded[Any] | Exception]) -> list[Any]:
    assert all(isinstance(each, Decoded) for each in decoded), decoded
    return [np.array(each.image) for each in decoded if isinstance(each, Decoded)]


def evidence(plant: Plant, seed: int | None = None) -> list[str]:
    """What is wrong with a crowd's latents and images, and what the device has to say."""
    from serve.diffusion.decoder import Decoder
    from serve.models.networks import network_of

    pipeline, arrivals = twin("tiny"), fault_crowd()
    latents, images = expected_of_fault_crowd()
    with on_late(pipeline, seed) as late, plant():
        try:
            together = Together(pipeline, slots=SLOTS, captured=True)
            together.preparation._texts._cached = 1  # who else would forget a text is a long run
            together.keep(arrivals[0][1])
            decoder = Decoder(network_of(pipeline))
            run(together, late, arrivals)
            finished = [together.finished[i] for i in range(len(arrivals))]
            made = pixels(decoder.decode(arrivals[0][1].size, finished))
        except RuntimeError as err:  # as torch raises; a step that raises makes no image
            return [*late.faults, str(err)]
        late.synchronize()
        there = [latent.cpu() for latent, _ in finished]
    return [
        *late.faults,
        *(
            f"latent {i} is wrong"
            for i, latent in enumerate(there)
            if not error(latent, latents[i]) <= EXACT
        ),
        *(
            f"image {i} is wrong"
            for i, (image, want) in enumerate(zip(made, images, strict=True))
            if levels(image, want) > PIXEL_LEVELS
        ),
    ]


@pytest.mark.parametrize("seed", SEEDS)
def test_without_a_fault_there_is_no_evidence(seed: int | None) -> None:
    assert evidence(contextlib.nullcontext, seed) == []


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_seen(name: str) -> None:
    plant, expected = FAULTS[name]
    found = evidence(plant)
    assert any(re.search(expected, each) for each in found), found
