import asyncio
import itertools
import time

import numpy as np
import pytest

from serve.engine.admission import Refusal
from serve.engine.ticket import RefusedError, complete
from serve.replica.policies import engine_for
from serve.settings import Settings
from serve.stub.model import StubModel
from serve.stub.queue_engine import Counter, QueueEngine, service_times
from tests.serve.fakes import order


def test_images_start_when_the_first_server_is_free() -> None:
    times = iter([3.0, 1.0, 1.0, 5.0])
    counter = Counter(2, lambda: next(times))
    # both servers free; then the second is free at 1, again at 2, and the first at 3
    assert [counter.take(0.0) for _ in range(4)] == [(0, 3), (0, 1), (1, 2), (2, 7)]


def test_an_image_that_comes_late_does_not_wait() -> None:
    counter = Counter(1, service_times("fixed", 0.5, 0))
    assert [counter.take(0.0), counter.take(9.0)] == [(0, 0.5), (9, 9.5)]


def test_exponential_service_times_have_the_mean_and_the_spread_and_follow_the_seed() -> None:
    def drawn(seed: int) -> list[float]:
        draw = service_times("exponential", 0.05, seed)
        return [draw() for _ in range(20_000)]

    times = np.array(drawn(1))
    assert times.mean() == pytest.approx(0.05, rel=0.03)  # standard error 0.7%
    assert times.std() == pytest.approx(0.05, rel=0.05)
    assert drawn(1) == drawn(1) != drawn(2)
    draw = service_times("fixed", 0.05, 1)
    assert {draw() for _ in range(9)} == {0.05}


def engine(servers: int, mean_s: float, max_queue: int = 8) -> QueueEngine:
    counter = Counter(servers, service_times("fixed", mean_s, 0))
    return QueueEngine(
        counter, mean_s=mean_s, servers=servers, max_queue=max_queue, clock=time.perf_counter
    )


def test_a_full_line_refuses_and_says_when_to_come_back() -> None:
    async def refusal() -> Refusal:
        here = engine(1, 3600.0, max_queue=2)
        for _ in range(3):  # one is served, two wait
            await here.enter(order())
        assert here.waiting == 2
        with pytest.raises(RefusedError) as refused:
            await here.enter(order())
        return refused.value.refusal

    told = asyncio.run(refusal())
    assert (told.reason, told.waiting) == ("queue_full", 2)


def test_the_stub_with_servers_answers_through_it() -> None:
    settings = Settings(model="stub", stub_servers=2, stub_fixed_s=0.0, stub_step_s=0.0)
    model = StubModel(fixed_s=0.0, step_s=0.0, image_bytes=0)

    async def run() -> list[bytes]:
        here = engine_for(settings, model, clock=time.perf_counter)
        assert isinstance(here, QueueEngine)
        tickets = [await here.enter(order(count=n)) for n in (1, 2)]
        done = [await complete(ticket, model, time.perf_counter) for ticket in tickets]
        return list(itertools.chain.from_iterable(each.images for each in done))

    assert len(asyncio.run(run())) == 3
