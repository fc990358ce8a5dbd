import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.distributed.clock_offset import read_offset

seconds = st.floats(min_value=1e-6, max_value=0.2)


@given(
    offset=st.floats(min_value=-1e5, max_value=1e5),
    ways=st.lists(st.tuples(seconds, seconds), min_size=1, max_size=8),
)
def test_the_true_offset_is_within_the_uncertainty(
    offset: float, ways: list[tuple[float, float]]
) -> None:
    now = [50.0]
    left = iter(ways)

    def ask() -> float:
        there, back = next(left)
        now[0] += there
        shown = now[0] + offset
        now[0] += back
        return shown

    reading = read_offset(ask, lambda: now[0], rounds=len(ways))
    assert abs(reading.offset_s - offset) <= reading.uncertainty_s + 1e-9
    best = min(there + back for there, back in ways) / 2
    assert reading.uncertainty_s == pytest.approx(best, abs=1e-9)


def test_equal_ways_give_the_offset_itself() -> None:
    # asked at 10, answered at 10.2, the other clock showed 5,010.1 in the middle: 5,000 apart
    clock = iter([10.0, 10.2])
    reading = read_offset(lambda: 5010.1, lambda: next(clock), rounds=1)
    assert (reading.offset_s, reading.uncertainty_s) == pytest.approx((5000.0, 0.1))
