import hashlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.traffic.arrivals import dispersion, even, gap_cv, image_counts, poisson, resample
from loadtest.traffic.curve import Constant, FlashCrowd, Step, Steps
from loadtest.units import Duration as D

VIRAL = FlashCrowd(
    base_per_s=2.0,
    magnitude=10.0,
    begin=D(20),
    rise=D(10),
    hold=D(10),
    half_life=D(15),
    duration=D(120),
)


@given(st.integers(0, 2**32))
@settings(max_examples=25)
def test_poisson_arrivals_are_sorted_inside_the_curve_and_about_as_many_as_its_integral(
    seed: int,
) -> None:
    times = poisson(VIRAL.integral, VIRAL.duration_s, seed)
    expected = VIRAL.integral(np.array([VIRAL.duration_s]))[0]
    assert np.all(np.diff(times) >= 0)
    assert times[0] >= 0
    assert times[-1] <= VIRAL.duration_s
    assert abs(times.size - expected) < 6 * np.sqrt(expected)  # six standard deviations


def test_over_many_seeds_the_mean_and_the_spread_are_poisson() -> None:
    # counts in the rise (20-30 s) over 400 seeds: mean and variance equal the integral there
    lo, hi = VIRAL.integral(np.array([20.0, 30.0]))
    counts = [
        np.count_nonzero((t > 20) & (t <= 30))
        for t in (poisson(VIRAL.integral, VIRAL.duration_s, seed) for seed in range(400))
    ]
    expected = hi - lo
    assert np.mean(counts) == pytest.approx(expected, abs=4 * np.sqrt(expected / 400))
    # the sample variance of 400 Poisson counts is within 4 x sqrt(2/399) = 28% of the mean
    assert np.var(counts, ddof=1) == pytest.approx(expected, rel=0.28)


def test_gaps_of_a_constant_rate_are_exponential() -> None:
    curve = Constant(rate_per_s=50.0, duration=D(400))
    gaps = np.diff(poisson(curve.integral, 400.0, seed=3))
    # mean 1/50, coefficient of variation 1, and a share e^-1 of gaps above the mean
    assert gaps.mean() == pytest.approx(0.02, rel=0.03)
    assert gaps.std() / gaps.mean() == pytest.approx(1.0, abs=0.04)
    assert np.mean(gaps > 0.02) == pytest.approx(np.exp(-1), abs=0.015)


def test_the_same_seed_gives_the_same_schedule_in_another_process() -> None:
    code = (
        "import hashlib\n"
        "from tests.loadtest.traffic.test_arrivals import VIRAL\n"
        "from loadtest.traffic.arrivals import poisson\n"
        "t = poisson(VIRAL.integral, VIRAL.duration_s, 7)\n"
        "print(hashlib.sha256(t.tobytes()).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = poisson(VIRAL.integral, VIRAL.duration_s, 7)
    assert other.stdout.strip() == hashlib.sha256(here.tobytes()).hexdigest()
    assert not np.array_equal(here, poisson(VIRAL.integral, VIRAL.duration_s, 8)[: here.size])


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        (Constant(rate_per_s=2.0, duration=D(2)), [0.25, 0.75, 1.25, 1.75]),
        # nothing for 2 s, then 1/s: the first is due when half an arrival is expected
        (
            Steps(steps=(Step(rate_per_s=0.0, duration=D(2)), Step(rate_per_s=1.0, duration=D(2)))),
            [2.5, 3.5],
        ),
    ],
)
def test_even_spacing(curve: Constant | Steps, expected: list[float]) -> None:
    assert even(curve.integral, curve.duration_s) == pytest.approx(expected, abs=1e-3)


def test_nobody_arrives_while_the_rate_is_0() -> None:
    curve = Steps(
        steps=(
            Step(rate_per_s=20.0, duration=D(10)),
            Step(rate_per_s=0.0, duration=D(10)),
            Step(rate_per_s=20.0, duration=D(10)),
        )
    )
    times = poisson(curve.integral, 30.0, seed=1)
    assert np.count_nonzero((times > 10.001) & (times < 19.999)) == 0
    assert np.count_nonzero(times < 10.001) > 100
    assert np.count_nonzero(times > 19.999) > 100


def test_recorded_arrivals_at_their_own_rate_are_untouched() -> None:
    times = np.array([0.0, 1.0, 1.0, 4.0])
    same, rows = resample(times, 1.0, seed=1)
    assert same.tolist() == times.tolist()
    assert rows.tolist() == [0, 1, 2, 3]


def test_thinning_keeps_the_share_and_only_recorded_instants() -> None:
    times = np.sort(np.random.default_rng(1).random(10_000)) * 100
    kept, rows = resample(times, 0.3, seed=2)
    assert np.array_equal(times[rows], kept)
    assert kept.size == pytest.approx(3000, abs=4 * np.sqrt(10_000 * 0.3 * 0.7))
    assert set(kept) <= set(times)


def test_multiplying_keeps_bursts_where_they_were() -> None:
    # 100 arrivals in the first second, none until t = 50, 100 in the last second
    times = np.concatenate([np.linspace(0, 1, 100), np.linspace(50, 51, 100)])
    many, rows = resample(times, 3.0, seed=2)
    assert np.bincount(rows).tolist() == [3] * 200
    assert many.size == 600
    # at most the two extra copies of the last arrival before the gap fall into it
    assert np.count_nonzero((many > 1.0) & (many < 50.0)) <= 2


def test_image_counts_follow_the_weights() -> None:
    counts = image_counts(20_000, {1: 3.0, 4: 1.0}, seed=1)
    assert set(counts.tolist()) == {1, 4}
    assert np.mean(counts == 4) == pytest.approx(0.25, abs=0.013)  # four standard errors
    assert image_counts(3, {2: 1.0}, seed=1).tolist() == [2, 2, 2]


def test_dispersion_and_gap_cv_by_hand() -> None:
    # 20 windows of 1 s with 1, 3, 1, 3, ... arrivals: mean 2, variance 20/19
    times = np.concatenate([[k + 0.5] * (1 + 2 * (k % 2)) for k in range(20)])
    assert dispersion(times, 20.0, 1.0) == pytest.approx(20 / 19 / 2)
    # pairs of windows hold 4 each
    assert dispersion(times, 20.0, 2.0) == pytest.approx(0.0)
    assert dispersion(times, 20.0, 3.0) is None  # six windows are too few
    assert gap_cv(np.array([0.0, 1.0, 4.0])) == pytest.approx(0.5)  # gaps 1 and 3
    # empty windows count: 10 arrivals in the first of 10 windows, mean 1, variance 90/9
    assert dispersion(np.linspace(0, 0.5, 10), 10.0, 1.0) == pytest.approx(10.0)


@given(st.lists(st.floats(0, 50), min_size=2, max_size=60), st.sampled_from([0.5, 1.0, 5.0]))
def test_dispersion_is_that_of_the_histogram(times: list[float], window_s: float) -> None:
    counts = np.histogram(times, bins=int(50 / window_s), range=(0, 50))[0]
    ours = dispersion(np.sort([t for t in times if t < 50] or [0.0]), 50.0, window_s)
    if all(t < 50 for t in times):
        assert ours == pytest.approx(counts.var(ddof=1) / counts.mean())
