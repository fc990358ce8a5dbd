import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.sampler.cadence import Cadence, Tick


class FakeTime:
    """A clock that sleeping moves; each sleep wakes `late_s` after it should."""

    def __init__(self, now_s: float, late_s: float = 0.0) -> None:
        self.now_s = now_s
        self.late_s = late_s
        self.stop = False

    def clock(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> bool:
        if seconds:
            self.now_s += seconds + self.late_s
        return self.stop


# hz, start, work after each cycle -> (k, lag, skipped) of each cycle
CASES = [
    # on time: 4 a second from the first deadline at or after the start
    (4.0, 0.10, [0.0, 0.1, 0.2], [(1, 0.0, 0), (2, 0.0, 0), (3, 0.0, 0)]),
    (4.0, 0.50, [0.0, 0.0], [(2, 0.0, 0), (3, 0.0, 0)]),
    # work of 0.375 from 0.25 ends at 0.625: the cycle due at 0.5 begins 0.125 late
    (4.0, 0.25, [0.375, 0.0, 0.0], [(1, 0.0, 0), (2, 0.125, 0), (3, 0.0, 0)]),
    # work of 1.125 ends at 1.375: one cycle, for 0.5, 0.875 late; 0.75, 1.0, 1.25 skipped
    (4.0, 0.25, [1.125, 0.0, 0.0], [(1, 0.0, 0), (2, 0.875, 3), (6, 0.0, 0)]),
    # every cycle's work is 1.5 periods: each begins late, never two for one instant
    (2.0, 0.0, [0.75] * 4, [(0, 0.0, 0), (1, 0.25, 0), (2, 0.5, 1), (4, 0.25, 0)]),
    # before the clock's zero
    (2.0, -0.75, [0.0, 0.0], [(-1, 0.0, 0), (0, 0.0, 0)]),
]


@pytest.mark.parametrize(("hz", "start_s", "work_s", "expected"), CASES)
def test_cycles(
    hz: float, start_s: float, work_s: list[float], expected: list[tuple[int, float, int]]
) -> None:
    time = FakeTime(start_s)
    cadence = Cadence(hz, time.clock, time.sleep)
    ticks = []
    for work in work_s:
        ticks.append(cadence.wait())
        time.now_s += work
    assert ticks == [Tick(k, k / hz, lag, skipped) for k, lag, skipped in expected]


def test_errors_do_not_add_up() -> None:
    time = FakeTime(0.0, late_s=0.001)
    cadence = Cadence(10.0, time.clock, time.sleep)
    ticks = [tick for _ in range(10_000) if (tick := cadence.wait())]
    assert [tick.k for tick in ticks] == list(range(10_000))
    assert max(tick.lag_s for tick in ticks) == pytest.approx(0.001, abs=1e-9)


def test_a_sleep_cut_short_is_slept_on() -> None:
    time = FakeTime(0.0, late_s=-0.04)  # wakes early until 0.04 or less is left, then at once
    naps: list[float] = []

    def sleep(seconds: float) -> bool:
        naps.append(seconds)
        time.now_s += max(seconds - 0.04, 0.01)
        return False

    cadence = Cadence(10.0, time.clock, sleep)
    cadence.wait()
    tick = cadence.wait()
    assert tick is not None
    assert tick.lag_s >= 0
    assert len(naps) > 2


@pytest.mark.parametrize("work_s", [0.0, 0.35])  # asked to stop while waiting, and while late
def test_told_to_stop(work_s: float) -> None:
    time = FakeTime(0.0)
    cadence = Cadence(10.0, time.clock, time.sleep)
    assert cadence.wait() is not None
    time.now_s += work_s
    time.stop = True
    assert cadence.wait() is None


@given(
    hz=st.sampled_from([0.5, 1.0, 3.0, 7.0, 10.0, 60.0]),
    start_s=st.floats(0, 1e6),
    work_s=st.lists(st.floats(0, 3.0), min_size=1, max_size=50),
)
def test_every_deadline_is_met_late_or_skipped_once(
    hz: float, start_s: float, work_s: list[float]
) -> None:
    time = FakeTime(start_s)
    cadence = Cadence(hz, time.clock, time.sleep)
    expected_k = math.ceil(start_s * hz)
    for work in work_s:
        tick = cadence.wait()
        assert tick is not None
        assert tick.k == expected_k
        assert tick.lag_s == time.now_s - tick.due_s >= 0
        assert tick.skipped == sum(
            tick.k < k and k <= time.now_s * hz
            for k in range(tick.k, tick.k + math.ceil(4 * hz) + 2)
        )
        expected_k = tick.k + tick.skipped + 1
        time.now_s += work
