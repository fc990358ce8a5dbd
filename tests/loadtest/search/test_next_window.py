import math
from typing import Literal

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.search.next_window import Goal, Next, choose, found, window_s
from profiles.search.crossing import Count
from tests.loadtest.queue import Queue, search

GOAL = Goal(limit_s=0.1, allowed=0.05, precision=0.03, time_s=900.0)
CASES: list[tuple[Literal["fixed", "exponential"], float, float]] = [
    ("fixed", 0.1, 0.05),  # M/D/8, p(95) within two service times
    ("exponential", 0.25, 0.1),  # M/M/8, p(90) within five
]


def repeat(
    kind: Literal["fixed", "exponential"], limit_s: float, allowed: float, repeats: int
) -> tuple[int, list[float], list[float]]:
    """How many intervals cover the truth, relative errors, and seconds taken."""
    covered, errors, took_s = 0, [], []
    goal = Goal(limit_s=limit_s, allowed=allowed, precision=0.03, time_s=900.0)
    truth = Queue(kind, 8, 0).capacity(goal)
    for seed in range(repeats):
        queue = Queue(kind, 8, seed)
        at, _ = search(queue, goal, 0.6 * 160)
        if at is None:
            errors.append(math.inf)
            continue
        errors.append(at.rate_per_s / truth - 1)
        covered += at.low_per_s <= truth <= at.high_per_s
        took_s.append(queue.now_s)
    return covered, errors, took_s


@pytest.mark.parametrize(("kind", "limit_s", "allowed"), CASES)
def test_searches_of_a_simulated_queue_find_its_capacity(
    kind: Literal["fixed", "exponential"], limit_s: float, allowed: float
) -> None:
    covered, errors, _ = repeat(kind, limit_s, allowed, 20)
    assert covered >= 18
    assert np.count_nonzero(np.abs(errors) < 0.03) >= 18


def test_services_longer_than_the_limit_bend_no_search() -> None:
    """M/M/16, p(90) within three services: at light load half of what is allowed misses already."""
    goal = Goal(limit_s=0.15, allowed=0.1, precision=0.04, time_s=900.0)
    truth = Queue("exponential", 16, 0).capacity(goal)
    found = [search(Queue("exponential", 16, seed), goal, 0.9 * truth)[0] for seed in range(12)]
    known = [at for at in found if at is not None]
    assert len(known) >= 11
    assert sum(at.low_per_s <= truth <= at.high_per_s for at in known) >= 10
    # a line through the whole miss share would find 2.3% less
    assert np.median([at.rate_per_s / truth for at in known]) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(("kind", "limit_s", "allowed"), CASES)
@pytest.mark.parametrize("missed", [1.0, 0.12, 0.0])
def test_a_mishap_in_the_first_window_misleads_no_search(
    kind: Literal["fixed", "exponential"], limit_s: float, allowed: float, missed: float
) -> None:
    """A server that stalls misses all at a rate that it bears; one that is spared, nothing."""
    goal = Goal(limit_s=limit_s, allowed=allowed, precision=0.05, time_s=900.0)
    truth = Queue(kind, 8, 0).capacity(goal)
    for seed in range(6):
        at, played = search(Mishap(kind, 8, seed, missed), goal, 0.7 * truth)
        assert at is not None, [(each.rate_per_s, each.share) for each in played]
        assert at.rate_per_s == pytest.approx(truth, rel=0.06)


class Mishap(Queue):
    """Its first window misses a share of its own."""

    def __init__(
        self, kind: Literal["fixed", "exponential"], servers: int, seed: int, missed: float
    ) -> None:
        super().__init__(kind, servers, seed)
        self.mishap: float | None = missed

    def play(self, window: Next, limit_s: float) -> Count:
        count = super().play(window, limit_s)
        if self.mishap is not None:
            missed, self.mishap = int(self.mishap * count.requests), None
            return msgspec.structs.replace(count, missed=missed)
        return count


def test_a_ramp_goes_on_where_only_a_mishap_ended_it() -> None:
    short = seen((95, 0.08), (71, 0.0), (54, 0.0), short=True)
    following = choose(
        [*short, *seen((96, 0.0), (104, 0.006), (96, 0.003), (104, 0.0))], 95.0, GOAL
    )
    assert following is not None
    assert following.short
    assert following.rate_per_s == pytest.approx(1.35 * 104)
    limited = msgspec.structs.replace(GOAL, most_per_s=104.0)
    near = choose([*short, *seen((96, 0.0), (104, 0.006), (96, 0.003))], 95.0, limited)
    assert near is not None  # nothing faster can be sent: windows of full length tell
    assert not near.short


def test_a_ramp_goes_down_where_only_luck_ended_it() -> None:
    following = choose(seen((95, 0.2), (70, 0.09), (95, 0.0), (70, 0.3), (70, 0.0)), 95.0, GOAL)
    assert following is not None
    assert following.rate_per_s == pytest.approx(70 / 1.35)


def test_windows_that_just_met_the_slo_are_met() -> None:
    just = choose(seen((95, 0.05), short=True), 95.0, GOAL)  # 50 of 1,000 may miss
    assert just is not None
    assert just.rate_per_s == pytest.approx(1.35 * 95)


@given(
    windows=st.lists(
        st.tuples(st.floats(1, 300), st.integers(1, 3000), st.floats(0, 1), st.booleans()),
        max_size=12,
    ),
    most=st.floats(20, 400),
)
def test_whatever_the_windows_say_there_is_a_next_one_or_an_end(
    windows: list[tuple[float, int, float, bool]], most: float
) -> None:
    goal = msgspec.structs.replace(GOAL, most_per_s=most, least_per_s=2.0)
    counts = [
        Count(rate_per_s=min(rate, most), requests=n, missed=round(share * n), short=short)
        for rate, n, share, short in windows
    ]
    following = choose(counts, 50.0, goal)
    if following is None:
        met = [each.missed <= 0.05 * each.requests for each in counts]
        assert all(met) or not any(met)
    else:
        assert 0 < following.rate_per_s <= most
        assert following.duration_s > 0


def test_light_load_is_played_where_the_ramp_began_above_it() -> None:
    steps = seen((95, 0.04), (128, 0.9), short=True)
    light = choose(steps, 95.0, GOAL)
    assert light is not None
    assert light.short
    assert light.rate_per_s < 0.7 * 100
    following = choose([*steps, *seen((light.rate_per_s, 0.0), short=True)], 95.0, GOAL)
    assert following is not None
    assert not following.short
    alone = Goal(limit_s=0.1, allowed=0.05, precision=0.03, time_s=900.0, least_per_s=90.0)
    slower = choose(steps, 95.0, alone)
    assert slower is not None
    assert not slower.short


@pytest.mark.e2e  # starts no process, and takes a minute
@pytest.mark.slow
@pytest.mark.parametrize(("kind", "limit_s", "allowed"), CASES)
def test_intervals_cover_the_capacity_as_often_as_they_say(
    kind: Literal["fixed", "exponential"], limit_s: float, allowed: float
) -> None:
    covered, errors, _ = repeat(kind, limit_s, allowed, 200)
    assert covered >= 184  # of 95%, 190 are expected, with a standard deviation of 3.1
    assert np.count_nonzero(np.abs(errors) < 0.03) >= 190


def seen(*windows: tuple[float, float], short: bool = False) -> list[Count]:
    return [
        Count(rate_per_s=rate, requests=1000, missed=int(1000 * share), short=short)
        for rate, share in windows
    ]


def test_it_begins_with_a_ramp_and_goes_on_until_the_slo_is_missed() -> None:
    first = choose([], 40.0, GOAL)
    assert first is not None
    assert (first.rate_per_s, first.short, first.fresh) == (40.0, True, True)
    second = choose(seen((40, 0.0), short=True), 40.0, GOAL)
    assert second is not None
    assert second.rate_per_s == pytest.approx(54.0)
    third = choose(seen((28, 0.0), (40, 0.0), (54, 0.9), short=True), 28.0, GOAL)
    assert third is not None
    assert not third.short
    assert 40 < third.rate_per_s < 54


def test_it_goes_down_from_a_start_that_misses() -> None:
    following = choose(seen((40, 0.9), short=True), 40.0, GOAL)
    assert following is not None
    assert following.rate_per_s == pytest.approx(40 / 1.35)


@pytest.mark.parametrize(
    ("windows", "goal"),
    [
        # the generator cannot send more than 40, and 40 is met
        ([(40.0, 0.0)], Goal(limit_s=0.1, allowed=0.05, precision=0.03, time_s=900, most_per_s=40)),
        # at 40 requests are alone already, and 40 is missed
        (
            [(40.0, 1.0)],
            Goal(limit_s=0.1, allowed=0.05, precision=0.03, time_s=900, least_per_s=40),
        ),
    ],
)
def test_it_ends_where_no_rate_can_be_the_crossing(
    windows: list[tuple[float, float]], goal: Goal
) -> None:
    assert choose(seen(*windows, short=True), 40.0, goal) is None


def test_windows_are_long_against_the_limit_and_short_against_the_time() -> None:
    assert window_s(GOAL, 140.0) == 15.0
    slow = Goal(limit_s=10.0, allowed=0.05, precision=0.03, time_s=1800.0)
    assert window_s(slow, 2.0) == 100.0  # of 18 in the time; 80 limits would be 800 s
    assert window_s(GOAL, 4.0) == 50.0  # ten misses that are allowed take 200 requests


def test_few_windows_are_never_enough() -> None:
    exact = [(r, 0.05 * (r / 100) ** 20) for r in (97.0, 98.0, 99.0, 101.0, 102.0, 103.0)]
    assert found(seen(*exact), GOAL) is None
    at = found(seen(*(2 * exact), *exact[:2]), GOAL)
    assert at is not None
    assert at.rate_per_s == pytest.approx(100.0, rel=0.005)
