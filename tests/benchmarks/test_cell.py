import itertools
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.cell import (
    Outcome,
    Window,
    burst_window,
    poisson,
    quantile,
    steady_window,
    summarize,
)

WINDOW = Window(begin_s=2.0, end_s=10.0)


def outcome(due_s: float, took_s: float | None, **told: float) -> Outcome:
    return Outcome(due_s=due_s, done_s=None if took_s is None else due_s + took_s, **told)


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([], 0.5, None),
        ([3.0], 0.99, 3.0),
        ([1.0, 2.0, 3.0, 4.0], 0.5, 2.0),
        ([4.0, 1.0, 3.0, 2.0], 0.51, 3.0),
        ([1.0, 2.0], 0.5, 1.0),  # rank ceil(2 x 0.5) = 1
        ([float(i) for i in range(1, 101)], 0.95, 95.0),
        ([float(i) for i in range(1, 101)], 0.99, 99.0),
        ([float(i) for i in range(1, 102)], 0.99, 100.0),  # rank ceil(99.99) = 100
        ([1.0, 2.0], 1.0, 2.0),
        ([1.0, 2.0], 0.0, 1.0),
    ],
)
def test_quantiles_are_values_that_occurred(
    values: list[float], share: float, expected: float | None
) -> None:
    assert quantile(values, share) == expected


@given(st.lists(st.floats(0, 10), min_size=1), st.integers(1, 100))
def test_a_quantile_has_so_many_below_it(values: list[float], percent: int) -> None:
    told = quantile(values, percent / 100)
    assert told in values
    assert sum(value <= told for value in values) * 100 >= percent * len(values)
    assert sum(value < told for value in values) * 100 < percent * len(values)


def test_arrivals_are_poisson() -> None:
    """10,000 expected, standard deviation 100; gaps with a coefficient of variation of 1."""
    times = poisson(100, 100, 1)
    assert abs(len(times) - 10_000) < 400
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert 0.95 < statistics.pvariance(gaps) / statistics.mean(gaps) ** 2 < 1.05


@given(rate=st.floats(0.5, 200), duration=st.floats(0.1, 30), seed=st.integers(0, 1000))
def test_arrivals_are_sorted_inside_the_window_and_seeded(
    rate: float, duration: float, seed: int
) -> None:
    times = poisson(rate, duration, seed)
    assert times == sorted(times) == poisson(rate, duration, seed)
    assert all(0 < t < duration for t in times)


def test_arrivals_have_the_asked_rate() -> None:
    counts = [len(poisson(10.0, 20.0, seed)) for seed in range(50)]
    # 200 expected, standard error sqrt(200 / 50) = 2: within five of them
    assert statistics.mean(counts) == pytest.approx(200, abs=10)


def test_a_cell_counts_what_its_window_holds() -> None:
    outcomes = [
        outcome(1.0, 1.5, batch=1, flop=4e12),  # due before, done inside: an image, no latency
        outcome(3.0, 1.0, batch=2, flop=4e12),
        outcome(4.0, 3.0, batch=3, flop=4e12),  # past the SLO
        outcome(5.0, None),  # refused
        outcome(9.5, 1.0, batch=4, flop=4e12),  # done after: a latency, no image
    ]
    figures = summarize(outcomes, WINDOW, slo_s=2.0, limit_flop_per_s=6e12)
    assert figures.goodput_images_per_s == 2 / 8
    assert figures.images_per_s == 3 / 8
    assert (figures.latency_p50_s, figures.latency_p95_s) == (1.0, 3.0)
    assert figures.batch_mean == 2.0  # (1 + 2 + 3) / 3
    assert figures.tflops == pytest.approx(1.5)  # 3 x 4 TFLOP in 8 s
    assert figures.limit_percent == pytest.approx(25.0)
    assert (figures.requests, figures.offered_images_per_s) == (4, 4 / 8)
    assert figures.refused_share == 1 / 4


def test_what_is_not_known_is_none() -> None:
    figures = summarize([outcome(3.0, 1.0)], WINDOW, slo_s=2.0, limit_flop_per_s=None)
    assert (figures.tflops, figures.limit_percent, figures.batch_mean) == (None, None, None)
    nothing = summarize([], WINDOW, slo_s=2.0, limit_flop_per_s=1.0)
    assert (nothing.latency_p50_s, nothing.refused_share, nothing.images_per_s) == (None, 0.0, 0.0)


def test_a_burst_counts_to_its_last_image() -> None:
    outcomes = [outcome(0.0, 1.0), outcome(0.0, 4.0), outcome(0.0, None)]
    window = burst_window(outcomes)
    assert (window.begin_s, window.end_s) == (0.0, 4.0)
    figures = summarize(outcomes, window, slo_s=2.0, limit_flop_per_s=None)
    assert (figures.images_per_s, figures.goodput_images_per_s) == (0.5, 0.25)


def test_a_steady_window_leaves_its_first_fifth_out() -> None:
    assert steady_window(25.0) == Window(begin_s=5.0, end_s=25.0)
