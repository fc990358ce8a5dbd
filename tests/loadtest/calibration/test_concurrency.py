"""The closed loop's plan, played against queues whose capacity theory knows, in made-up time."""

import heapq
import itertools
import math
import random
from collections.abc import Callable

import pytest

from loadtest.calibration.concurrency import (
    GAIN,
    TIME_S,
    Calibration,
    Climb,
    Done,
    interval,
    window,
)

Service = Callable[[float, random.Random], float]  # seconds, of a request that begins then


class Queue:
    """c servers and one line, and a closed loop that keeps in flight what the plan asks for."""

    def __init__(self, servers: int, service: Service, *, room: float = math.inf) -> None:
        self.servers, self.service, self.room = servers, service, room

    def climb(self, first: int, seed: int = 1, images: int = 1) -> Calibration | None:
        plan, chance = Climb(first, 0.0), random.Random(seed)
        ends: list[tuple[float, int, float]] = []  # of requests in service: end, number, sent
        line: list[tuple[int, float]] = []  # number, sent
        numbers = itertools.count()
        now = 0.0
        while not plan.is_over:
            while len(ends) + len(line) < plan.in_flight:
                if len(line) >= self.room:
                    plan.refused()
                    break
                line.append((next(numbers), now))
                while line and len(ends) < self.servers:
                    number, sent = line.pop(0)
                    heapq.heappush(ends, (now + self.service(now, chance), number, sent))
            now, _, sent = heapq.heappop(ends)
            now += chance.uniform(0.0, 1e-4)  # the network's
            plan.completed(Done(now, images, now - sent))
            plan.look(now)
            if line:
                number, waits = line.pop(0)
                heapq.heappush(ends, (now + self.service(now, chance), number, waits))
        return plan.result()


def fixed(seconds: float) -> Service:
    return lambda now, chance: seconds


@pytest.mark.parametrize("servers", [1, 2, 3, 5, 8, 13, 24, 32, 64, 100, 150, 256])
@pytest.mark.parametrize("service_s", [0.2, 2.0])
@pytest.mark.parametrize("first", [4, 16])
def test_servers_that_take_a_fixed_time(servers: int, service_s: float, first: int) -> None:
    """M/D/c: a server with 64 slots of 2 s was taken for one of 4 images/s; it makes 32."""
    found = Queue(servers, fixed(service_s)).climb(first)
    assert found is not None
    if found.limit is None:
        assert found.images_per_s == pytest.approx(servers / service_s, rel=0.1)
        assert found.in_flight >= servers
    else:  # said, and never above the truth
        assert (first, service_s) == (16, 2.0)
        assert servers <= 2  # far fewer than were in flight from the first
        assert found.images_per_s <= 1.02 * servers / service_s


def test_nineteen_of_twenty_servers_of_chance() -> None:
    """Exponential service, 1 to 256 servers: within 10% in 19 of 20."""
    near = 0
    for seed in range(20):
        servers = (1, 4, 16, 64, 256)[seed % 5]
        found = Queue(servers, lambda now, chance: chance.expovariate(4.0)).climb(8, seed)
        assert found is not None
        near += abs(found.images_per_s / (4.0 * servers) - 1) <= 0.1
    assert near >= 19


@pytest.mark.parametrize(
    "starts",
    [
        pytest.param(lambda now: 5.0 if now < 6.0 else 1.0, id="five times slower for 6 s"),
        pytest.param(lambda now: 1.0 + 4.0 * math.exp(-now / 5.0), id="ever faster"),
        pytest.param(lambda now: 3.0 if now < 12.0 else 1.0, id="three times slower for 12 s"),
    ],
)
@pytest.mark.parametrize("servers", [1, 8, 64])
def test_slow_starters(servers: int, starts: Callable[[float], float]) -> None:
    found = Queue(servers, lambda now, chance: 0.25 * starts(now)).climb(8)
    assert found is not None
    assert found.limit is None
    assert found.images_per_s == pytest.approx(servers / 0.25, rel=0.1)


def test_a_batch_that_takes_longer_the_larger_it_is() -> None:
    """One batch at a time of up to eight, 0.2 s and 0.1 s an image: 8 in a second at most."""

    def served(in_flight: int) -> Calibration | None:
        plan, now, waiting, sent = Climb(in_flight, 0.0), 0.0, 0, 0
        begun: list[float] = []
        while not plan.is_over:
            begun += [now] * (plan.in_flight - len(begun))
            batch = begun[:8]
            now += 0.2 + 0.1 * len(batch)
            del begun[: len(batch)]
            for k, at in enumerate(batch):
                plan.completed(Done(now + 1e-5 * k, 1, now - at))
            plan.look(now)
            waiting, sent = len(begun), sent + len(batch)
        assert waiting >= 0
        assert sent > 0
        return plan.result()

    found = served(1)
    assert found is not None
    assert found.limit is None
    assert found.images_per_s == pytest.approx(8.0, rel=0.05)
    assert found.gain is not None
    assert found.gain < GAIN


def test_a_server_that_refuses_has_reached_its_capacity() -> None:
    found = Queue(4, fixed(0.5), room=8).climb(8)
    assert found is not None
    assert found.limit is None
    assert found.images_per_s == pytest.approx(8.0, rel=0.05)


def test_images_count_not_requests() -> None:
    found = Queue(4, fixed(0.5)).climb(8, images=3)
    assert found is not None
    assert found.images_per_s == pytest.approx(24.0, rel=0.05)


def test_what_still_rises_when_time_is_out_is_no_capacity() -> None:
    found = Queue(1000, fixed(20.0)).climb(8)
    assert found is not None
    assert found.limit == "its 120 s were out"


def test_nothing_came_back() -> None:
    plan = Climb(8, 0.0)
    plan.look(TIME_S)
    assert plan.is_over
    assert plan.result() is None


def test_another_limit_is_named() -> None:
    plan = Climb(1, 0.0)
    for t_s in range(3):
        plan.completed(Done(float(t_s), 1, 1.0))
    plan.look(3.0, "this machine ran out of open files")
    found = plan.result()
    assert found is not None
    assert found.limit == "this machine ran out of open files"
    assert found.images_per_s == 1.0


def at(*times: float) -> list[Done]:
    return [Done(t_s, 1, 1.0) for t_s in times]


def test_batches_are_counted_from_the_end_of_the_first() -> None:
    # four images at 1.0, 2.0, 3.0, 4.0 s each: 12 images in the 3 s after the first batch
    found = window(at(*(t + k * 0.001 for t in (1.0, 2.0, 3.0, 4.0) for k in range(4))), 8)
    assert found is not None
    assert found.images == 12
    assert found.images_per_s == pytest.approx(4.0)


def test_even_completions_are_counted_between_the_first_and_the_last() -> None:
    found = window(at(0.0, 0.5, 1.0, 1.5), 1)
    assert found is not None
    assert found.images_per_s == pytest.approx(2.0)
    assert window(at(1.0), 1) is None
    assert window(at(1.0, 1.0), 1) is None


def test_the_interval_of_even_waves_is_narrow_and_of_chance_holds_the_truth() -> None:
    waves = at(*(t + k * 0.001 for t in range(1, 13) for k in range(4)))
    low, high = interval(waves, 4.0, 1.0)
    assert low == high == 4.0
    assert interval(at(1.0, 2.0), 1.0, 1.0) == (None, None)
    held = 0
    for seed in range(40):
        chance, t_s, done = random.Random(seed), 0.0, []
        while t_s < 20.0:
            t_s += chance.expovariate(10.0)
            done.append(Done(t_s, 1, 0.5))
        low, high = interval(done, len(done) / t_s, 0.5)
        assert low is not None
        assert high is not None
        held += low <= 10.0 <= high
    assert held >= 35  # of 40: 95% would be 38


def test_the_interval_of_batches_holds_the_truth_though_every_block_holds_as_many() -> None:
    held = 0
    for seed in range(40):
        chance, t_s, done = random.Random(seed), 0.0, []
        for _ in range(15):  # batches of 8 in 0.43 s, give or take 5%
            t_s += 0.43 * chance.gauss(1.0, 0.05)
            done += [Done(t_s + 0.001 * k, 1, 0.86) for k in range(8)]
        low, high = interval(done, 14 * 8 / (done[-1].t_s - done[7].t_s), 0.86)
        assert low is not None
        assert high is not None
        held += low <= 8 / 0.43 <= high
    assert held >= 35  # of 40: 95% would be 38; counts of whole batches alone gave a width of 0
