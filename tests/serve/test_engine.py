import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from serve.engine import Done, Engine, Queue, QueueFullError
from serve.work import Encoding, Generated, Order, Recipe, Row

SMALL = Recipe(width=64, height=64, steps=4, guidance_scale=7.5)
LARGE = Recipe(width=128, height=128, steps=4, guidance_scale=7.5)


def rows(count: int, first_seed: int = 0) -> tuple[Row, ...]:
    return tuple(Row(prompt="a fox", negative_prompt="", seed=first_seed + i) for i in range(count))


def order(count: int = 1, recipe: Recipe = SMALL, first_seed: int = 0) -> Order:
    return Order(recipe=recipe, rows=rows(count, first_seed), encoding=Encoding())


def queue(batch_limit: int = 4, max_wait_s: float = 0.0) -> Queue[str]:
    return Queue(batch_limit=batch_limit, max_wait_s=max_wait_s)


def tickets(waiting: Queue[str]) -> list[str]:
    return [each.ticket for each in waiting.take()]


class TestQueue:
    @pytest.mark.parametrize(
        ("arrivals", "batches"),
        [
            ([("a", SMALL, 1)], [["a"]]),
            ([("a", SMALL, 2), ("b", SMALL, 1)], [["a", "a", "b"]]),
            # the limit is 4: b is split, first come first served
            ([("a", SMALL, 3), ("b", SMALL, 2)], [["a", "a", "a", "b"], ["b"]]),
            # c rides along with a; b, which came before c, is next
            ([("a", SMALL, 1), ("b", LARGE, 1), ("c", SMALL, 1)], [["a", "c"], ["b"]]),
            ([("a", SMALL, 10)], [["a"] * 4, ["a"] * 4, ["a"] * 2]),
        ],
    )
    def test_batches(
        self, arrivals: list[tuple[str, Recipe, int]], batches: list[list[str]]
    ) -> None:
        waiting = queue()
        for ticket, recipe, count in arrivals:
            waiting.put(ticket, recipe, rows(count), now_s=0.0)
        assert [tickets(waiting) for _ in batches] == batches
        assert len(waiting) == 0

    def test_an_empty_queue_is_never_due(self) -> None:
        assert queue().due_in_s(1.0) is None

    @pytest.mark.parametrize(
        ("count", "now_s", "due_in_s"),
        [
            (1, 10.0, 0.5),  # alone: waits for companions
            (1, 10.4, 0.1),
            (1, 11.0, 0.0),  # waited long enough
            (4, 10.0, 0.0),  # full: at once
        ],
    )
    def test_due(self, count: int, now_s: float, due_in_s: float) -> None:
        waiting = queue(batch_limit=4, max_wait_s=0.5)
        waiting.put("a", SMALL, rows(count), now_s=10.0)
        assert waiting.due_in_s(now_s) == pytest.approx(due_in_s)

    def test_rows_of_another_recipe_do_not_fill_the_batch(self) -> None:
        waiting = queue(batch_limit=2, max_wait_s=0.5)
        waiting.put("a", SMALL, rows(1), now_s=0.0)
        waiting.put("b", LARGE, rows(1), now_s=0.0)
        assert waiting.due_in_s(0.0) == 0.5

    def test_cancel_drops_only_that_ticket(self) -> None:
        waiting = queue()
        waiting.put("a", SMALL, rows(2), now_s=0.0)
        waiting.put("b", SMALL, rows(1), now_s=0.0)
        assert waiting.cancel("a") == 2
        assert waiting.cancel("a") == 0
        assert tickets(waiting) == ["b"]


class FakeModel:
    """Records its batches; waits at the gate, and fails when told so. An image is its seed."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: Exception | None = None

    async def generate(self, recipe: Recipe, rows: Sequence[Row]) -> Generated[int]:
        self.batches.append([row.seed for row in rows])
        await self.gate.wait()
        if self.failure:
            raise self.failure
        images = [row.seed for row in rows]
        return Generated(images=images, text_s=1.0, denoise_s=2.0, decode_s=3.0)

    async def encode(self, image: int, recipe: Recipe, encoding: Encoding) -> bytes:
        return str(image).encode()


Scenario = Callable[[Engine[int], FakeModel], Awaitable[Any]]


def play(scenario: Scenario, *, batch_limit: int = 4, max_queue: int = 8) -> Any:
    """Run a scenario against an engine whose clock advances by 10 s a reading."""

    async def run() -> Any:
        model = FakeModel()
        readings = iter(range(0, 10**9, 10))
        engine = Engine(
            model,
            batch_limit=batch_limit,
            max_wait_s=0.0,
            max_queue=max_queue,
            clock=lambda: float(next(readings)),
        )
        loop = asyncio.create_task(engine.run())
        try:
            return await scenario(engine, model)
        finally:
            loop.cancel()

    return asyncio.run(run())


async def settle() -> None:
    """Let every task that can run do so."""
    for _ in range(20):
        await asyncio.sleep(0)


class TestEngine:
    def test_images_come_in_the_order_asked_over_several_batches(self) -> None:
        async def scenario(engine: Engine[int], model: FakeModel) -> Done:
            done = await engine.submit(order(6))
            assert model.batches == [[0, 1, 2, 3], [4, 5]]
            return done

        done = play(scenario)
        assert done.images == [b"0", b"1", b"2", b"3", b"4", b"5"]
        timing = done.timing
        assert (timing.text_s, timing.denoise_s, timing.decode_s) == (2.0, 4.0, 6.0)  # two batches
        assert timing.batch_mean == 3.0  # (4 + 2) / 2
        assert timing.queue_s >= 0
        assert timing.encode_s == 10.0  # one reading of the clock

    def test_requests_that_wait_together_share_a_batch(self) -> None:
        async def scenario(engine: Engine[int], model: FakeModel) -> None:
            model.gate.clear()
            first = asyncio.create_task(engine.submit(order(1, first_seed=0)))
            await settle()
            others = [asyncio.create_task(engine.submit(order(1, first_seed=s))) for s in (1, 2)]
            await settle()
            model.gate.set()
            await asyncio.gather(first, *others)
            assert model.batches == [[0], [1, 2]]

        play(scenario)

    def test_a_full_queue_refuses_and_queues_nothing(self) -> None:
        async def scenario(engine: Engine[int], model: FakeModel) -> None:
            model.gate.clear()
            running = asyncio.create_task(engine.submit(order(1)))
            await settle()
            waiting = asyncio.create_task(engine.submit(order(8)))
            await settle()
            assert engine.waiting == 8
            with pytest.raises(QueueFullError) as caught:
                await engine.submit(order(1))
            assert caught.value.refusal.waiting == 8
            assert engine.waiting == 8
            model.gate.set()
            await asyncio.gather(running, waiting)

        play(scenario)

    def test_a_cancelled_request_is_not_computed(self) -> None:
        async def scenario(engine: Engine[int], model: FakeModel) -> None:
            model.gate.clear()
            running = asyncio.create_task(engine.submit(order(1)))
            await settle()
            gone = asyncio.create_task(engine.submit(order(2, first_seed=100)))
            stays = asyncio.create_task(engine.submit(order(1, first_seed=200)))
            await settle()
            gone.cancel()
            await settle()
            assert engine.waiting == 1
            model.gate.set()
            await asyncio.gather(running, stays)
            assert model.batches == [[0], [200]]

        play(scenario)

    def test_a_failed_batch_fails_its_requests_and_the_loop_lives_on(self) -> None:
        async def scenario(engine: Engine[int], model: FakeModel) -> Done:
            model.failure = RuntimeError("out of memory")
            with pytest.raises(RuntimeError, match="out of memory"):
                await engine.submit(order(6))
            assert engine.waiting == 0  # its later rows went with it
            model.failure = None
            return await engine.submit(order(1))

        assert play(scenario).images == [b"0"]

    def test_the_rate_is_learnt_from_batches(self) -> None:
        async def scenario(engine: Engine[int], model: FakeModel) -> float | None:
            await engine.submit(order(4))
            return engine.rate.images_per_s

        assert play(scenario) == pytest.approx(0.4)  # 4 images between readings 10 s apart

    def test_batches_of_one_under_policy_none(self) -> None:
        async def scenario(engine: Engine[int], model: FakeModel) -> None:
            await engine.submit(order(3))
            assert model.batches == [[0], [1], [2]]

        play(scenario, batch_limit=1)
