"""Distributions by their quantile functions."""

import numpy as np
import pytest

from loadtest.traffic.distributions import (
    Exponential,
    Fixed,
    LogNormal,
    Quantiles,
    Spread,
    fault,
    pick,
    quantile,
    uniforms,
)
from loadtest.units import Duration


def s(seconds: float) -> Duration:
    return Duration(seconds)


THINK = Quantiles(p10=s(27), p50=s(73), p90=s(704))


@pytest.mark.parametrize(
    ("spread", "share", "seconds"),
    [
        (Fixed(value=s(3)), 0.9, 3.0),
        (Exponential(mean=s(10)), 0.5, 10 * np.log(2)),
        (LogNormal(median=s(10), sigma=0.5), 0.5, 10.0),
        (LogNormal(median=s(10), sigma=0.5), 0.975, 10 * np.exp(0.5 * 1.959964)),
        (THINK, 0.1, 27.0),
        (THINK, 0.5, 73.0),
        (THINK, 0.9, 704.0),
        (THINK, 0.7, np.sqrt(73 * 704)),  # half way in the logarithm
        (THINK, 0.0, 27 * (27 / 73) ** 0.25),  # the segment goes on: 0.1 / 0.4 of it
    ],
)
def test_quantiles(spread: Spread, share: float, seconds: float) -> None:
    assert quantile(spread, share) == pytest.approx(seconds, rel=1e-4)


@pytest.mark.parametrize(
    ("spread", "words"),
    [
        (Quantiles(p10=s(9), p50=s(3), p90=s(10)), "not fall"),
        (Quantiles(p10=s(0), p50=s(3), p90=s(10)), "above 0"),
        (LogNormal(median=s(0), sigma=1.0), "median"),
        (Exponential(mean=s(0)), "mean"),
        (THINK, None),
        (Fixed(value=s(0)), None),
    ],
)
def test_what_cannot_be_is_said(spread: Spread, words: str | None) -> None:
    found = fault(spread)
    assert (found is None) if words is None else (found is not None and words in found)


def test_a_draw_depends_on_its_place_alone() -> None:
    np.testing.assert_array_equal(uniforms(3, 1, 100)[:10], uniforms(3, 1, 10))
    assert not np.any(uniforms(3, 1, 10) == uniforms(3, 2, 10))
    assert uniforms(3, 1, 100_000).min() > 0


def test_a_mix_is_picked_in_its_shares() -> None:
    picked = pick({1: 3.0, 4: 1.0}, np.array([0.0, 0.74, 0.76, 1.0]))
    assert picked.tolist() == [1, 1, 4, 4]
