import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.lateness import (
    count_difference,
    even_due_s,
    highest,
    lateness_s,
    punctuality,
)

DUE = even_due_s(100, 10)  # 1,000 requests, 10 ms apart


def test_an_even_schedule() -> None:
    assert even_due_s(4, 1).tolist() == [0.0, 0.25, 0.5, 0.75]


@given(st.floats(0, 1e6))
def test_on_time_on_any_clock(zero_s: float) -> None:
    told = punctuality(DUE + zero_s, DUE)
    assert told.lateness_p99_s == pytest.approx(0.0, abs=1e-6)
    assert told.sent_share == 1.0


def test_lateness_is_how_far_the_count_lags() -> None:
    # the second half comes 30 ms late: half of all requests
    late = np.where(DUE < 5, 0.0, 0.03)
    assert lateness_s(DUE + late, DUE) == pytest.approx(late)
    told = punctuality(DUE + late, DUE)
    assert (told.lateness_p50_s, told.lateness_p99_s) == pytest.approx((0.03, 0.03))


def test_one_early_request_makes_no_other_late() -> None:
    arrived = DUE.copy()
    arrived[0] -= 1.0
    assert lateness_s(arrived, DUE).max() == pytest.approx(0.0)


def test_the_order_of_arrivals_says_nothing() -> None:
    assert lateness_s(DUE[::-1], DUE) == pytest.approx(0.0)


def test_half_the_requests_are_half_the_share_and_late() -> None:
    # every second one: by the end 5 s behind; less 1% for the earliest, 1% for the latest
    told = punctuality(DUE[::2], DUE)
    assert told.sent_share == 0.5
    assert told.lateness_p99_s == pytest.approx(4.90, abs=0.015)


def test_what_comes_after_the_grace_was_not_sent() -> None:
    arrived = DUE.copy()
    arrived[-10:] += 2.0
    assert punctuality(arrived, DUE).sent_share == 0.99


def test_nothing_at_all_is_a_share_of_0_and_no_lateness() -> None:
    told = punctuality(np.array([]), DUE)
    assert (told.sent_share, told.lateness_p50_s) == (0.0, None)


@pytest.mark.parametrize(
    ("arrived", "tolerance_s", "difference"),
    [
        ([0.0, 1.0, 2.0], 0.0, 0),
        ([0.001, 1.0, 2.0], 0.0, 1),  # for 1 ms one is missing
        ([0.001, 1.0, 2.0], 0.005, 0),
        ([0.0, 0.5, 2.0], 0.005, 1),  # one too many from 0.5 to 1
        ([0.0, 2.5, 2.6], 0.005, 2),  # at 2.1 two are missing
        ([0.0, 1.0], 0.005, 1),
        ([], 0.005, 3),
    ],
)
def test_the_difference_of_two_counts(
    arrived: list[float], tolerance_s: float, difference: int
) -> None:
    assert count_difference(np.array(arrived), np.array([0.0, 1.0, 2.0]), tolerance_s) == difference


@given(st.floats(30, 7900), st.sampled_from([1.05, 1.2]))
def test_the_highest_rate_is_found_to_within_the_ratio(limit: float, ratio: float) -> None:
    found = highest(lambda rate: rate <= limit, 400, 8000, ratio)
    assert found is not None
    assert found <= limit < found * ratio + 1 + found * 0.001


def test_a_rate_beyond_the_most_is_not_tried_and_one_too_low_is_none() -> None:
    tried: list[float] = []

    def holds(rate: float) -> bool:
        tried.append(rate)
        return True

    assert highest(holds, 400, 1000, 1.1) == 1000
    assert tried == [400, 800, 1000]
    assert highest(lambda rate: False, 400, 8000, 1.1) is None
