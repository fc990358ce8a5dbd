"""New sizes hold nobody up (F12): their requests wait for a thread of their own, up to a bound."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from serve.engine.admission import Refusal
from serve.engine.request import Recipe, Size
from serve.engine.ticket import RefusedError
from tests.serve.diffusing import quiet, recipe, row, twin
from tests.serve.fakes import LARGE, SMALL, FakeModel, Stage, order, play, settle

torch = pytest.importorskip("torch")
pytestmark = quiet


class Costs:
    """Knows one size; any other is counted once the test lets it."""

    def __init__(self) -> None:
        self.may_count = threading.Event()
        self._known = {SMALL}

    def known(self, size: Size) -> Size | None:
        return size if size in self._known else None

    def of(self, size: Size) -> None:
        assert self.may_count.wait(60)
        self._known.add(size)


@pytest.fixture
def costs() -> Iterator[Costs]:
    made = Costs()
    yield made
    made.may_count.set()


def beside(costs: Any, scenario: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
    from serve.diffusion.size_counting import Counting

    with ThreadPoolExecutor(1) as thread:
        try:
            asyncio.run(scenario(Counting(costs, thread)))
        finally:
            costs.may_count.set()


def test_known_sizes_pass_while_a_new_one_is_counted(costs: Costs) -> None:
    async def scenario(counting: Any) -> None:
        new = asyncio.create_task(counting.know(LARGE))
        for _ in range(100):
            await counting.know(SMALL)
        await settle()
        assert not new.done()
        costs.may_count.set()
        await new
        await counting.know(LARGE)
        assert costs.known(LARGE)

    beside(costs, scenario)


def test_so_many_wait_and_no_more(costs: Costs) -> None:
    from serve.diffusion.size_counting import MAX_WAITING

    async def scenario(counting: Any) -> None:
        sizes = [Size(width=64, height=72 + 8 * number) for number in range(MAX_WAITING)]
        waiting = [asyncio.create_task(counting.know(size)) for size in sizes]
        await settle()
        with pytest.raises(RefusedError) as refused:
            await counting.know(LARGE)
        told = Refusal(reason="queue_full", waiting=MAX_WAITING, retry_after_s=1)
        assert refused.value.refusal == told
        await counting.know(SMALL)  # those who are known are still served
        waiting.pop().cancel()  # its client hung up: there is room for one more
        await settle()
        waiting.append(asyncio.create_task(counting.know(LARGE)))
        await settle()
        costs.may_count.set()
        await asyncio.gather(*waiting)
        assert costs.known(LARGE)
        assert costs.known(sizes[-1]) is None

    beside(costs, scenario)


def test_orders_of_known_sizes_are_made_while_a_new_one_is_counted() -> None:
    class Uncounted(FakeModel):
        may_count = False

        async def step_flops(self, recipe: Recipe) -> list[float]:
            while recipe.size == LARGE and not self.may_count:
                await asyncio.sleep(0)
            return [1.0] * recipe.steps

    async def scenario(stage: Stage) -> None:
        stage.engine._model = stage.model = Uncounted(stage.clock)
        new = asyncio.create_task(stage.engine.enter(order(9, steps=1, size=LARGE)))
        for seed in (1, 2, 3):
            ticket = await stage.enter(order(seed, steps=2))
            await settle()
            assert await ticket.images() == [str(seed)]
        assert not new.done()
        stage.model.may_count = True
        assert await (await new).images() == ["9"]

    play(scenario)


def test_a_pipeline_makes_images_while_it_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way of a warmed size, on the real threads, with the count held."""
    from serve.diffusion.pipeline import DiffusionModel
    from serve.models import flops

    may_count, counting = threading.Event(), threading.Event()
    count = flops.count

    def held(*args: Any) -> Any:
        counting.set()
        assert may_count.wait(60)
        return count(*args)

    how, new = recipe("tiny", steps=1), recipe("tiny", steps=1, width=96)
    model = DiffusionModel(twin("tiny"), slots=2, threads=1)
    model.warm_up_steps([how])
    monkeypatch.setattr(flops, "count", held)

    async def scenario() -> None:
        from serve.engine.request import Encoding, Order
        from serve.engine.step_engine import StepEngine

        engine: Any = StepEngine(model, slots=2, max_queue=8, clock=lambda: 0.0)
        serving = asyncio.create_task(engine.run())

        def asked(about: Recipe, seed: int) -> Order:
            return Order(recipe=about, rows=(row(seed),), encoding=Encoding())

        later = asyncio.create_task(engine.enter(asked(new, 9)))
        await asyncio.to_thread(counting.wait, 60)
        for seed in (1, 2, 3):
            ticket = await engine.enter(asked(how, seed))
            (image,) = await ticket.images()
            assert image.shape[:2] == (64, 64)
        assert not later.done()
        may_count.set()
        (image,) = await (await later).images()
        assert image.shape[:2] == (64, 96)
        serving.cancel()

    try:
        asyncio.run(scenario())
    finally:
        may_count.set()
        for pool in ("denoising", "preparing", "counting", "decoding", "encoding"):
            getattr(model, f"_{pool}").shutdown()
