"""The GPU's own code paths without a GPU: on the late device images are right, faults are seen.

serve's code runs unchanged; torch.cuda is stood in for, on a machine with a GPU too. What the late
device would see were something wrong, test_late_faults.py shows. torch comes inside.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

import numpy as np
import pytest

from serve.catalog import MODEL_DEFAULTS
from serve.engine.request import Encoding, Order, Recipe, Row
from serve.shortcuts import Shortcuts
from tests.serve.diffusing import (
    EXACT,
    PIXEL_LEVELS,
    TWINS,
    Arrival,
    Together,
    crowd,
    error,
    levels,
    quiet,
    recipe,
    row,
    stock,
    twin,
)

torch = pytest.importorskip("torch")

from tests.serve.late import Late, on_late  # noqa: E402 - it needs torch

pytestmark = quiet

SEEDS = [None, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3))]
SLOTS = 2
SERVE_S = 120


def run(together: Together, late: Late, arrivals: list[Arrival]) -> dict[int, Any]:
    """Final latents; to wait in a step for more than for one before it is a fault."""
    tick = together.stepper.tick

    def watched(what: Any) -> Any:
        before = len(late.waits)
        ticked = tick(what)
        waits = set(late.waits[before:]) - {"event.synchronize"}
        late.faults += [f"the host waited in a step: {why}" for why in sorted(waits)]
        return ticked

    with mock.patch.object(together.stepper, "tick", watched):
        return together.run(arrivals)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("model", TWINS)
def test_captured_steps_equal_plain_ones(model: str, seed: int | None) -> None:
    plain = Together(twin(model)).run(crowd(model))
    with on_late(twin(model), seed) as late:
        together = Together(twin(model), slots=SLOTS, captured=True)
        slots = together.keep(recipe(model))
        latents = run(together, late, crowd(model))
        made = {i: latent.cpu() for i, latent in latents.items()}
        assert not slots._latents[-1].any()  # the scratch slot's latent and texts
        assert not any(arena[-2:].any() for arena in slots._told)
    assert late.faults == []
    assert max(error(made[i], latent) for i, latent in plain.items()) <= EXACT


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("model", ["tiny", "tiny-sdxl"])
def test_captured_steps_that_are_cut_short_equal_plain_ones(model: str, seed: int | None) -> None:
    """Whole and shallow steps in one tick, each a graph's; guidance that ends on the way."""
    cut = Shortcuts(cache_steps=2, guidance_until=0.6)
    plain = Together(twin(model), slots=SLOTS, shortcuts=cut).run(crowd(model))
    with on_late(twin(model), seed) as late:
        together = Together(twin(model), slots=SLOTS, captured=True, buckets=[2, 4], shortcuts=cut)
        together.keep(recipe(model))
        latents = run(together, late, crowd(model))
        made = {i: latent.cpu() for i, latent in latents.items()}
    assert late.faults == []
    assert max(error(made[i], latent) for i, latent in plain.items()) <= EXACT


@pytest.mark.parametrize("model", TWINS)
def test_padding_touches_no_other_slot(model: str) -> None:
    """One image with guidance, 2 rows, in a graph of 4."""
    with on_late(twin(model)) as late:
        together = Together(twin(model), slots=2, captured=True, buckets=[4])
        slots = together.keep(recipe(model))
        (start,) = together.prepare([(recipe(model, guidance_scale=3.0), row(1))])
        slots.join(1, start)
        slots._latents[0] = 5.0
        slots._clean[0] = 6.0
        before = slots._latents[1].clone()
        assert slots.advance({1: 0}) == {}
        assert (slots._latents[0] == 5.0).all()
        assert (slots._clean[0] == 6.0).all()
        assert not slots._latents[2].any()
        assert error(slots._latents[1], before) > 0.01
    assert late.faults == []


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("model", TWINS)
def test_eager_steps_of_a_size_that_was_not_warmed_up(model: str, seed: int | None) -> None:
    """Its slots are made by its first image, and given back with its last."""
    arrivals = [
        (at, recipe(model, steps=2, guidance_scale=scale), row(i))
        for i, (at, scale) in enumerate([(0, 4.5), (1, 1.0), (9, 1.0)])
    ]
    plain = Together(twin(model)).run(arrivals)
    with on_late(twin(model), seed) as late:
        made = {i: each.cpu() for i, each in Together(twin(model), slots=2).run(arrivals).items()}
    assert late.faults == []
    assert max(error(made[i], latent) for i, latent in plain.items()) <= EXACT


ENGINES = [
    pytest.param(m, s, marks=[] if (m, s) == ("tiny", None) else pytest.mark.slow)
    for m in TWINS
    for s in (None, 1, 2)
]


@pytest.mark.parametrize(("model", "seed"), ENGINES)
def test_the_whole_engine_makes_the_stock_pipelines_images(model: str, seed: int | None) -> None:
    """Three threads and three streams; a decoder beside the steps; previews on the way."""
    names = MODEL_DEFAULTS[model].schedulers
    asked = [
        (recipe(model, steps=1 + i % 4, guidance_scale=g, scheduler=names[i % len(names)]), row(i))
        for i, g in enumerate((4.5, 3.0, 7.5, 1.0, 2.0, 4.0))
    ]
    check_engine(model, asked, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [None, 1, 2, 3])
def test_a_long_load_of_two_sizes_with_clients_that_give_up(seed: int | None) -> None:
    """The second size is not warmed up: its slots come and go."""
    asked = [
        (
            recipe("tiny", steps=1 + i % 6, guidance_scale=1 + i % 5, width=64 + 32 * (i % 3 == 2)),
            row(i, f"fox {i}"),
        )
        for i in range(24)
    ]
    check_engine("tiny", asked, seed, gone=(3, 8, 13, 20))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [None, 1])
def test_what_shortcuts_change_is_measured_as_on_a_cpu(seed: int | None) -> None:
    from serve.diffusion.pipeline import DiffusionModel

    how, cut = recipe("tiny", steps=4), Shortcuts(cache_steps=2)

    def measured() -> float:
        network = DiffusionModel(twin("tiny"), slots=1, threads=1, graphs=True, shortcuts=cut)
        network.warm_up_steps([how])
        off = network.shortcut_error(how)
        stop(network)
        return off

    expected = measured()
    with on_late(twin("tiny"), seed) as late, threads_of(late):
        off = measured()
    assert late.faults == []
    assert off == pytest.approx(expected, rel=1e-3)
    assert 0.0 < off < 1.0


def check_engine(
    model: str, asked: list[tuple[Recipe, Row]], seed: int | None, *, gone: Sequence[int] = ()
) -> None:
    from serve.diffusion.pipeline import DiffusionModel

    expected = {
        i: np.round(stock(twin(model), how, each, output_type="np") * 255).astype(np.uint8)
        for i, (how, each) in enumerate(asked)
        if i not in gone
    }
    with on_late(twin(model), seed) as late, threads_of(late):
        network = DiffusionModel(twin(model), slots=SLOTS, threads=1, graphs=True)
        network.warm_up_steps([recipe(model)])
        made = asyncio.run(serve(network, asked, gone))
        stop(network)
    assert late.faults == []
    assert made.keys() == expected.keys()
    for i, image in made.items():
        assert levels(image, expected[i]) <= PIXEL_LEVELS


@contextlib.contextmanager
def threads_of(late: Late) -> Iterator[None]:
    """The model's threads use the late device."""
    from serve.diffusion.pipeline import DiffusionModel

    start = DiffusionModel._start_thread

    def started(self: Any, *args: Any) -> None:
        start(self, *args)
        late.enter_thread()

    with mock.patch.object(DiffusionModel, "_start_thread", started):
        yield


async def serve(
    network: Any, asked: Sequence[tuple[Recipe, Row]], gone: Sequence[int]
) -> dict[int, Any]:
    """The images by their index, but of those whose clients give up."""
    from serve.engine.step_engine import StepEngine

    engine: Any = StepEngine(network, slots=SLOTS, max_queue=64, clock=time.perf_counter)
    loop = asyncio.create_task(engine.run())
    orders = [
        Order(recipe=how, rows=(each,), encoding=Encoding(), stream=True, previews=1)
        for how, each in asked
    ]
    tickets = [await engine.enter(order) for order in orders]
    made = {}
    for i, ticket in enumerate(tickets):
        if i in gone:
            ticket.give_up()
        else:
            (made[i],) = await asyncio.wait_for(ticket.images(), SERVE_S)
    loop.cancel()
    return made


def stop(network: Any) -> None:
    for name in ("denoising", "preparing", "decoding", "encoding"):
        getattr(network, f"_{name}").shutdown()


@pytest.mark.parametrize("seed", SEEDS)
def test_the_stock_loop_makes_the_stock_pipelines_images(seed: int | None) -> None:
    from serve.diffusion.decoder import Decoder
    from serve.diffusion.stock_loop import StockLoop
    from serve.models.networks import network_of

    how, rows = recipe("tiny"), [row(1), row(2, "two horses")]
    expected = [stock(twin("tiny"), how, each, output_type="np") for each in rows]
    with on_late(twin("tiny"), seed) as late:
        network = network_of(twin("tiny"))
        made = StockLoop(network, Decoder(network)).generate(how, rows)
    assert late.faults == []
    for image, want in zip(made.images, expected, strict=True):
        assert levels(image, np.round(want * 255).astype(np.uint8)) <= PIXEL_LEVELS


def test_a_stock_loop_that_decodes_at_once_is_seen() -> None:
    from serve.diffusion.decoder import Decoder
    from serve.diffusion.stock_loop import StockLoop
    from serve.models.networks import network_of

    with on_late(twin("tiny")) as late, mock.patch("torch.cuda.synchronize"):
        network = network_of(twin("tiny"))
        StockLoop(network, Decoder(network)).generate(recipe("tiny", steps=1), [row(1)])
    assert any("ran before what" in fault for fault in late.faults)
