"""Quantiles, integrals and bins: a row a case, the arithmetic beside it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from profiles.stats import arrays as stats

NAN = np.nan

instants = arrays.arrays(np.float64, st.integers(1, 60), elements=st.floats(0.0, 100.0))


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([4.0, 1.0, 3.0, 2.0], 0.5, 2.5),  # h = 3 * 0.5 = 1.5: between 2 and 3
        ([4.0, 1.0, 3.0, 2.0], 0.9, 3.7),  # h = 2.7: 3 + 0.7 * 1
        ([4.0, 1.0, NAN, 3.0, 2.0], 0.5, 2.5),  # unknown counts as nothing
        ([7.0], 0.99, 7.0),
        ([NAN], 0.5, None),
        ([], 0.5, None),
    ],
)
def test_quantile(values: list[float], share: float, expected: float | None) -> None:
    assert stats.quantile(np.array(values), share) == pytest.approx(expected)


def test_a_mean_leaves_out_what_was_not_read() -> None:
    # 400 W for 10 s, 30 s of silence, 100 W for 10 s: 250 W of the 20 s read; across the silence
    # a line from 400 to 100 would weigh three fifths of all
    t_s = np.concatenate((np.arange(11.0), np.arange(40.0, 51.0)))
    values = np.repeat([400.0, 100.0], 11)
    assert stats.time_mean(t_s, values) == pytest.approx(250.0)


def test_quantiles_never_leave_the_values() -> None:
    values = np.array([5.0, 1.0, 9.0])
    assert stats.quantiles(values, (0.0, 1.0)) == [1.0, 9.0]


@pytest.mark.parametrize(
    ("t_s", "values", "integral", "mean"),
    [
        ([0.0, 1.0, 3.0], [100.0, 100.0, 100.0], 300.0, 100.0),
        ([0.0, 1.0, 3.0], [0.0, 100.0, 100.0], 250.0, 250.0 / 3),  # 50 + 200
        ([0.0, 1.0, 2.0], [10.0, NAN, 30.0], 40.0, 20.0),  # (10 + 30) / 2 * 2
        ([5.0], [10.0], None, 10.0),
        ([], [], None, None),
    ],
)
def test_integral_and_time_mean(
    t_s: list[float], values: list[float], integral: float | None, mean: float | None
) -> None:
    assert stats.integral(np.array(t_s), np.array(values)) == pytest.approx(integral)
    assert stats.time_mean(np.array(t_s), np.array(values)) == pytest.approx(mean)


@pytest.mark.parametrize(
    ("counter", "expected"),
    [
        ([0.0, 100.0, 400.0], 250.0),  # at 0.5 s: 50; at 1.667 s: 100 + 2/3 * 300 = 300
        ([0.0, NAN, 400.0], 400.0 * (5 / 3 - 0.5) / 2),  # straight from 0 to 400 over 2 s
        ([400.0, 0.0, 100.0], None),  # went backwards: the driver was reloaded
        ([NAN, NAN, 3.0], None),
    ],
)
def test_counter_increase_interpolates_at_both_ends(
    counter: list[float], expected: float | None
) -> None:
    t_s = np.array([0.0, 1.0, 2.0])
    assert stats.counter_increase(t_s, np.array(counter), 0.5, 5 / 3) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("t_s", "expected"),
    [
        ([0.0, 5.0, 10.0], 5.0),
        ([1.0, 2.0], 8.0),  # 2 -> 10
        ([9.0], 9.0),  # 0 -> 9
        ([-1.0, 11.0], 10.0),  # none inside
        ([], 10.0),
    ],
)
def test_longest_gap_counts_the_edges(t_s: list[float], expected: float) -> None:
    assert stats.longest_gap(np.array(t_s), 0.0, 10.0) == expected


@pytest.mark.parametrize(
    ("span_s", "max_bins", "width_s", "bins"),
    [
        (10.0, 300, 0.1, 100),
        (90.0, 60, 2.0, 45),  # 1 s would take 90 bins
        (3600.0, 180, 30.0, 120),  # 15 s would take 240
        (7 * 86400.0, 100, 7200.0, 84),  # whole hours beyond an hour: 168 h / 100 -> 2 h
        (0.0, 10, 0.1, 1),
    ],
)
def test_time_bins_are_round_and_few(
    span_s: float, max_bins: int, width_s: float, bins: int
) -> None:
    edges = stats.time_bins(5.0, 5.0 + span_s, max_bins)
    assert np.diff(edges) == pytest.approx(np.full(bins, width_s))
    assert edges[0] == 5.0


@given(st.floats(0.0, 1e6), st.floats(0.0, 1e6), st.integers(1, 400))
def test_time_bins_cover_the_span(start_s: float, span_s: float, max_bins: int) -> None:
    edges = stats.time_bins(start_s, start_s + span_s, max_bins)
    assert edges.size - 1 <= max_bins
    assert edges[-1] >= start_s + span_s - 1e-6


@given(instants)
def test_binned_sum_loses_nothing(t_s: stats.Floats) -> None:
    weights = np.arange(1.0, t_s.size + 1)
    edges = stats.time_bins(0.0, 100.0, 30)
    assert stats.binned_sum(t_s, weights, edges).sum() == pytest.approx(weights.sum())


def test_binned_quantiles_and_mean() -> None:
    t_s = np.array([0.5, 1.5, 0.6, 9.0, NAN, 0.7])
    values = np.array([1.0, 10.0, 3.0, 99.0, 5.0, NAN])
    edges = np.array([0.0, 1.0, 2.0, 3.0])
    quantiles = stats.binned_quantiles(t_s, values, edges, (0.0, 0.5))
    np.testing.assert_array_equal(quantiles, [[1.0, 10.0, NAN], [2.0, 10.0, NAN]])
    np.testing.assert_array_equal(stats.binned_mean(t_s, values, edges), [2.0, 10.0, NAN])


def test_in_flight_is_the_most_in_each_bin() -> None:
    # Two overlap in [1, 2); at 3 one leaves as another comes: never two. The last has no end.
    sent = np.array([0.5, 1.0, 3.0, 4.0])
    done = np.array([2.0, 3.0, 5.0, NAN])
    edges = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    np.testing.assert_array_equal(stats.in_flight(sent, done, edges), [1, 2, 1, 1, 1, 0])


@given(instants)
def test_in_flight_never_exceeds_the_requests(sent: stats.Floats) -> None:
    level = stats.in_flight(sent, sent + 3.0, stats.time_bins(0.0, 104.0, 50))
    assert 1 <= level.max() <= sent.size


@pytest.mark.parametrize(
    ("t_s", "weights", "expected"),
    [
        ([0.0, 1.0, 5.0, 5.5, 6.9], [1, 1, 1, 1, 1], (5.0, 3.0)),  # [5, 7) holds three
        ([0.0, 1.0, 5.0, 5.5, 6.9], [4, 4, 1, 1, 1], (0.0, 8.0)),
        ([0.0, 2.0], [1, 1], (0.0, 1.0)),  # half open: 2.0 is outside [0, 2)
    ],
)
def test_busiest_window(
    t_s: list[float], weights: list[float], expected: tuple[float, float]
) -> None:
    assert stats.busiest_window(np.array(t_s), np.array(weights, float), 2.0) == expected
    assert stats.busiest_window(np.array([]), np.array([]), 2.0) is None
