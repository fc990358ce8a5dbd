import asyncio
from collections.abc import Awaitable, Callable

import pytest

from serve.engine.batch_engine import BatchEngine, Queue
from serve.engine.request import Done, Order, Priority, Recipe, Row
from serve.engine.ticket import RefusedError, Ticket, complete
from tests.serve.fakes import LARGE, SMALL, Clock, FakeModel, order, settle

SMALL_RECIPE = Recipe(width=64, height=64, steps=4, guidance_scale=7.5)
LARGE_RECIPE = Recipe(width=128, height=128, steps=4, guidance_scale=7.5)


def rows(count: int) -> tuple[Row, ...]:
    return tuple(Row(prompt="a fox", negative_prompt="", seed=i) for i in range(count))


def queue(batch_limit: int = 4, max_wait_s: float = 0.0) -> Queue[str]:
    return Queue(batch_limit=batch_limit, max_wait_s=max_wait_s)


def owners(waiting: Queue[str]) -> list[str]:
    return [each.owner for each in waiting.take()]


class TestQueue:
    @pytest.mark.parametrize(
        ("arrivals", "batches"),
        [
            ([("a", SMALL_RECIPE, 1)], [["a"]]),
            ([("a", SMALL_RECIPE, 2), ("b", SMALL_RECIPE, 1)], [["a", "a", "b"]]),
            # the limit is 4: b is split, first come first served
            ([("a", SMALL_RECIPE, 3), ("b", SMALL_RECIPE, 2)], [["a", "a", "a", "b"], ["b"]]),
            # c rides along with a; b, which came before c, is next
            (
                [("a", SMALL_RECIPE, 1), ("b", LARGE_RECIPE, 1), ("c", SMALL_RECIPE, 1)],
                [["a", "c"], ["b"]],
            ),
            ([("a", SMALL_RECIPE, 10)], [["a"] * 4, ["a"] * 4, ["a"] * 2]),
        ],
    )
    def test_batches(
        self, arrivals: list[tuple[str, Recipe, int]], batches: list[list[str]]
    ) -> None:
        waiting = queue()
        for owner, recipe, count in arrivals:
            waiting.put(owner, recipe, rows(count), now_s=0.0)
        assert [owners(waiting) for _ in batches] == batches
        assert len(waiting) == 0

    def test_paying_rows_stand_before_free_ones(self) -> None:
        waiting = queue(batch_limit=2)
        classes: list[tuple[str, Priority]] = [("a", "free"), ("b", "paying"), ("c", "paying")]
        for owner, priority in classes:
            waiting.put(owner, SMALL_RECIPE, rows(1), 0.0, priority)
        assert [owners(waiting), owners(waiting)] == [["b", "c"], ["a"]]

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
        waiting.put("a", SMALL_RECIPE, rows(count), now_s=10.0)
        assert waiting.due_in_s(now_s) == pytest.approx(due_in_s)

    def test_rows_of_another_recipe_do_not_fill_the_batch(self) -> None:
        waiting = queue(batch_limit=2, max_wait_s=0.5)
        waiting.put("a", SMALL_RECIPE, rows(1), now_s=0.0)
        waiting.put("b", LARGE_RECIPE, rows(1), now_s=0.0)
        assert waiting.due_in_s(0.0) == 0.5

    def test_drop_takes_only_those_who_are_over(self) -> None:
        waiting = queue()
        waiting.put("a", SMALL_RECIPE, rows(2), now_s=0.0)
        waiting.put("b", SMALL_RECIPE, rows(1), now_s=0.0)
        waiting.drop(lambda owner: owner == "a")
        assert len(waiting) == 1
        assert owners(waiting) == ["b"]


class Bench:
    """A batch engine on a fake model."""

    def __init__(self, *, batch_limit: int, max_queue: int) -> None:
        self.clock = Clock()
        self.model = FakeModel(self.clock)
        self.seen: list[tuple[int, int]] = []
        self.engine: BatchEngine[str] = BatchEngine(
            self.model,
            batch_limit=batch_limit,
            max_wait_s=0.0,
            max_queue=max_queue,
            clock=self.clock,
            on_batch=lambda images, waiting: self.seen.append((images, waiting)),
        )

    async def submit(self, asked: Order) -> Done:
        return await complete(await self.engine.enter(asked), self.model, self.clock)

    async def enter(self, asked: Order) -> Ticket[str]:
        ticket = await self.engine.enter(asked)
        await settle()
        return ticket


def play(
    scenario: Callable[[Bench], Awaitable[None]], *, batch_limit: int = 4, max_queue: int = 8
) -> None:
    async def run() -> None:
        bench = Bench(batch_limit=batch_limit, max_queue=max_queue)
        loop = asyncio.create_task(bench.engine.run())
        try:
            await scenario(bench)
            assert not loop.done()
        finally:
            loop.cancel()

    asyncio.run(run())


class TestBatchEngine:
    def test_images_come_in_the_order_asked_over_several_batches(self) -> None:
        async def scenario(bench: Bench) -> None:
            done = await bench.submit(order(count=6))
            assert bench.model.batches == [[0, 1, 2, 3], [4, 5]]
            assert done.images == [b"0", b"1", b"2", b"3", b"4", b"5"]
            timing = done.timing  # of two batches, of which the fake tells 1, 2 and 3 s each
            assert (timing.text_s, timing.denoise_s, timing.decode_s) == (2.0, 4.0, 6.0)
            assert timing.batch_mean == 3.0  # (4 + 2) / 2
            assert bench.seen == [(4, 2), (2, 0)]

        play(scenario)

    def test_its_stages_sum_to_its_time_in_the_replica(self) -> None:
        async def scenario(bench: Bench) -> None:
            bench.model.generating.is_open = False
            ticket = await bench.enter(order())
            bench.clock.now_s = 10.0
            bench.model.generating.open()
            await settle()
            bench.clock.now_s = 11.0
            timing = (await complete(ticket, bench.model, bench.clock)).timing
            assert (timing.queue_s, timing.encode_s) == (4.0, 1.0)  # 10 - (1 + 2 + 3)

        play(scenario)

    def test_requests_that_wait_together_share_a_batch(self) -> None:
        async def scenario(bench: Bench) -> None:
            bench.model.generating.is_open = False
            tickets = [await bench.enter(order(seed)) for seed in (0, 1, 2)]
            bench.model.generating.open()
            await asyncio.gather(*(ticket.images() for ticket in tickets))
            assert bench.model.batches == [[0], [1, 2]]

        play(scenario)

    def test_sizes_do_not_share_one(self) -> None:
        async def scenario(bench: Bench) -> None:
            bench.model.generating.is_open = False
            asked = [order(0), order(1, size=LARGE), order(2, size=SMALL)]
            tickets = [await bench.enter(each) for each in asked]
            bench.model.generating.open()
            await asyncio.gather(*(ticket.images() for ticket in tickets))
            assert bench.model.batches == [[0], [1], [2]]

        play(scenario)

    def test_a_full_queue_refuses_and_queues_nothing(self) -> None:
        async def scenario(bench: Bench) -> None:
            bench.model.generating.is_open = False
            await bench.enter(order())
            await bench.enter(order(count=8))
            assert bench.engine.waiting == 8
            with pytest.raises(RefusedError) as caught:
                await bench.engine.enter(order())
            assert caught.value.refusal.waiting == 8
            assert bench.engine.waiting == 8

        play(scenario)

    def test_a_cancelled_request_is_not_computed(self) -> None:
        async def scenario(bench: Bench) -> None:
            bench.model.generating.is_open = False
            running = await bench.enter(order(0))
            gone = asyncio.create_task(bench.submit(order(100, count=2)))
            await settle()
            stays = await bench.enter(order(200))
            gone.cancel()
            bench.model.generating.open()
            await asyncio.gather(running.images(), stays.images())
            assert bench.model.batches == [[0], [200]]

        play(scenario)

    def test_what_was_given_up_makes_room(self) -> None:
        async def scenario(bench: Bench) -> None:
            bench.model.generating.is_open = False
            await bench.enter(order(0))
            gone = await bench.enter(order(1, count=8))
            gone.give_up()
            await bench.enter(order(9, count=8))
            assert bench.engine.waiting == 8

        play(scenario)

    def test_a_failed_batch_fails_its_requests_counts_and_the_loop_lives_on(self) -> None:
        async def scenario(bench: Bench) -> None:
            for count in (1, 2):
                bench.model.generating.failure = RuntimeError("out of memory")
                with pytest.raises(RuntimeError, match="out of memory"):
                    await bench.submit(order(count=6))
                assert bench.engine.failures_in_a_row == count
                await settle()
                assert bench.engine.waiting == 0  # its later rows went with it
            bench.model.generating.failure = None
            assert (await bench.submit(order())).images == [b"0"]
            assert bench.engine.failures_in_a_row == 0

        play(scenario)

    def test_the_rate_is_learnt_from_batches(self) -> None:
        async def scenario(bench: Bench) -> None:
            bench.model.generating.is_open = False
            await bench.enter(order(count=4))
            bench.clock.now_s += 10.0
            bench.model.generating.open()
            await settle()
            assert bench.engine.rate.images_per_s == pytest.approx(0.4)

        play(scenario)

    def test_batches_of_one_under_policy_none(self) -> None:
        async def scenario(bench: Bench) -> None:
            await bench.submit(order(count=3))
            assert bench.model.batches == [[0], [1], [2]]

        play(scenario, batch_limit=1)
