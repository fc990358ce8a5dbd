import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.search.crossing import Count, between, crossing, floor, guess


def counts(*windows: tuple[float, float], requests: int = 2000, short: bool = False) -> list[Count]:
    return [
        Count(rate_per_s=rate, requests=requests, missed=round(requests * share), short=short)
        for rate, share in windows
    ]


@given(
    rate=st.floats(1.0, 1000.0),
    slope=st.floats(8.0, 40.0),
    allowed=st.sampled_from([0.05, 0.1, 0.5]),
)
def test_windows_on_the_line_give_the_line_back(rate: float, slope: float, allowed: float) -> None:
    steps = np.array([-0.6, -0.4, -0.2, 0.0, 0.2, 0.4, 0.6])
    shares = allowed * np.exp(steps)
    exact = [
        Count(rate_per_s=rate * np.exp(step / slope), requests=10**7, missed=round(1e7 * share))
        for step, share in zip(steps, shares, strict=True)
    ]
    at = crossing(exact, allowed)
    assert at is not None
    assert at.rate_per_s == pytest.approx(rate, rel=1e-4)
    assert at.slope == pytest.approx(slope, rel=1e-3)
    assert at.half_width < 1e-3


def test_a_floor_at_light_load_is_no_part_of_the_line() -> None:
    rates = 100 * np.exp(np.array([-0.06, -0.04, -0.02, 0.0, 0.02, 0.04, 0.06]))
    shares = 0.05 + 0.05 * (rates / 100) ** 25
    bent = counts(*zip(rates, shares, strict=True), requests=10**7)
    light = counts((60, 0.05), requests=10**6, short=True)
    at = crossing([*light, *bent], 0.1)
    assert at is not None
    assert at.rate_per_s == pytest.approx(100.0, rel=1e-4)
    assert at.slope == pytest.approx(25.0, rel=1e-2)
    assert floor([*light, *bent], 0.1, 100.0) == pytest.approx(0.5)


def test_a_floor_is_told_by_light_load_alone_and_never_all_that_is_allowed() -> None:
    assert floor(counts((80, 0.05)), 0.1, 100.0) == 0.0
    assert floor(counts((60, 0.01)), 0.1, 100.0) == 0.0  # too little to bend anything
    assert floor(counts((60, 0.3)), 0.1, 100.0) == 0.8


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    # Shares as a gamma variate of mean p and a coefficient of variation of 1, as queues have them:
    # the interval is of 95%, and 24 windows are few, so 92% of 400 is what is asked of it.
    rng, covered, wide = np.random.default_rng(3), 0, 0
    rates = 100 * np.exp(np.tile([-0.05, 0.05], 12))
    truth = 0.05 * (rates / 100) ** 20
    for _ in range(400):
        windows = counts(*zip(rates, np.minimum(rng.exponential(truth), 1.0), strict=True))
        at = crossing(windows, 0.05)
        if at is None:
            wide += 1
        else:
            covered += at.low_per_s <= 100 <= at.high_per_s
    assert wide < 40
    assert covered >= 0.92 * (400 - wide)


def test_few_windows_and_those_of_the_ramp_tell_nothing() -> None:
    line = [(95.0, 0.018), (97.0, 0.027), (99.0, 0.04), (101.0, 0.06), (103.0, 0.09)]
    assert crossing(counts(*line), 0.05) is None
    assert crossing(counts(*line, *line, short=True), 0.05) is None
    assert crossing(counts(*line, *line), 0.05) is not None


def test_a_miss_share_that_does_not_rise_has_no_crossing() -> None:
    flat = [(rate, 0.05 + 0.001 * (-1) ** k) for k, rate in enumerate(range(95, 106))]
    assert crossing(counts(*flat), 0.05) is None


@pytest.mark.parametrize(
    ("windows", "rate"),
    [
        ([(10, 0.0), (20, 0.0)], None),  # all met
        ([(10, 0.5), (20, 0.9)], None),  # all missed
        # as far below as above, in ln p: the middle in ln rate
        ([(90, 0.05 / np.e), (110, 0.05 * np.e)], 99.5),
        # chance has 100 and 104 the wrong way round: they count as one
        ([(90, 0.01), (100, 0.09), (104, 0.01), (110, 0.4)], 101.9),
    ],
)
def test_between(windows: list[tuple[float, float]], rate: float | None) -> None:
    found = between(counts(*windows), 0.05)
    assert found == (None if rate is None else pytest.approx(rate, rel=0.02))


def test_a_guess_is_never_flat() -> None:
    at = guess(counts((60, 0.0), (95, 0.06), (100, 0.04), (105, 0.06)), 0.05)
    assert at is not None
    assert at[1] >= 5.0
    assert 80 < at[0] < 110
