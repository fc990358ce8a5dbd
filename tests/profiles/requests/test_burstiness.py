"""Arrivals about their curve: dispersion, what is bursty, the busiest stretch."""

import numpy as np
import pytest

from profiles.requests.burstiness import Arrivals, arrivals
from profiles.stats.arrays import Floats

FLAT = (np.array([0.0, 600.0]), np.ones(2))


def about(times_s: Floats, duration_s: float = 600.0) -> Arrivals:
    found = arrivals(times_s, duration_s, *FLAT, "such")
    assert found is not None
    return found


def test_poisson_has_dispersion_one_and_even_arrivals_none() -> None:
    poisson = about(np.random.default_rng(0).uniform(0.0, 600.0, 6000))
    assert poisson.window_s == pytest.approx(10.0)
    assert poisson.dispersion == pytest.approx(1.0, abs=0.6)  # of 60 windows: 3 x sqrt(2 / 60)
    assert not poisson.bursty
    assert about(np.arange(0.05, 600.0, 0.1)).dispersion == pytest.approx(0.0, abs=0.02)


def test_what_comes_ten_at_a_time_is_ten_times_as_dispersed() -> None:
    tens = about(np.repeat(np.random.default_rng(0).uniform(0.0, 600.0, 600), 10))
    assert tens.dispersion == pytest.approx(10.0, rel=0.5)
    assert tens.bursty
    assert "such: peak 1 times the mean, dispersion" in tens.words


def test_the_curve_itself_is_no_burst() -> None:
    rising = np.sqrt(np.random.default_rng(0).uniform(0.0, 1.0, 6000)) * 600.0  # rate ~ t
    t = np.linspace(0.0, 600.0, 61)
    found = arrivals(rising, 600.0, t, t, "such")
    assert found is not None
    assert found.dispersion == pytest.approx(1.0, abs=0.6)
    assert found.peak_per_s == pytest.approx(20.0)  # twice the mean of 10
    assert about(rising).bursty  # held against a flat one


def test_the_busiest_stretch_keeps_the_peak_of_the_whole() -> None:
    found = about(np.concatenate([np.linspace(0.0, 500.0, 100), np.linspace(500.0, 510.0, 400)]))
    part = found.busiest(300)
    assert (part.times_s.size, part.times_s[0]) == (300, 0.0)
    assert part.duration_s < 10.0
    assert part.peak_per_s == found.peak_per_s
    assert "the busiest 300 of 500" in part.told
    assert found.busiest(500) is found


def test_another_draw_keeps_curve_count_and_bursts() -> None:
    random = np.random.default_rng(0)
    rising = np.repeat(np.sqrt(random.uniform(0.0, 1.0, 600)) * 600.0, 10)  # rate ~ t
    t = np.linspace(0.0, 600.0, 61)
    own = arrivals(rising, 600.0, t, t, "such")
    assert own is not None
    assert not own.level
    other, twice = own.resampled(random), own.resampled(random, 2)
    for found, load in ((other, 1), (twice, 2)):
        assert found.duration_s == 600.0 * load
        assert found.times_s.size == pytest.approx(6000 * load, rel=0.15)
        assert (np.diff(found.times_s) >= 0.0).all()
        assert found.times_s[-1] < found.duration_s
        again = arrivals(found.times_s[found.times_s < 600.0], 600.0, t, t, "such")
        assert again is not None
        assert again.dispersion == pytest.approx(10.0, rel=0.6)
    assert not np.array_equal(other.times_s, own.times_s)


def test_too_few_windows_tell_no_dispersion_and_no_arrivals_nothing() -> None:
    curve = np.concatenate([[1.0], np.zeros(99)])  # all within a hundredth
    short = arrivals(np.linspace(0.0, 5.0, 50), 600.0, np.linspace(0.0, 600.0, 100), curve, "such")
    assert short is not None
    assert short.dispersion is None
    assert not short.bursty
    assert "dispersion" not in short.words
    assert arrivals(np.zeros(0), 600.0, *FLAT, "such") is None
