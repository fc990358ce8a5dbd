"""The stationary bootstrap: like chance where windows are independent, wider where they are not."""

import math

import numpy as np
import pytest

from profiles.stats.arrays import Floats
from profiles.stats.bootstrap import block_length, spread


def like(phi: float, n: int, seed: int) -> Floats:
    """AR(1) of unit variance, from its stationary state."""
    random = np.random.default_rng(seed)
    values = np.empty(n)
    values[0] = random.normal()
    for at in range(1, n):
        values[at] = phi * values[at - 1] + random.normal(0.0, math.sqrt(1.0 - phi**2))
    return values


def test_independent_windows_have_the_textbook_error() -> None:
    told = [spread(like(0.0, 200, seed), resamples=300).sd for seed in range(20)]
    assert np.mean(told) == pytest.approx(1.0 / math.sqrt(200), rel=0.08)


def test_alike_neighbours_widen_it() -> None:
    # of AR(1): sd of the mean = sqrt((1 + phi) / (1 - phi) / n), here 0.122 for phi 0.5
    told = [spread(like(0.5, 200, seed), resamples=300).sd for seed in range(20)]
    true = math.sqrt(3.0 / 200)
    assert 0.8 * true < np.mean(told) < 1.1 * true
    assert np.mean(told) > 1.35 / math.sqrt(200)  # well above what independence would say


def test_blocks_grow_with_likeness_and_stay_within_a_third() -> None:
    lengths = [
        float(np.mean([block_length(like(phi, 120, seed)) for seed in range(20)]))
        for phi in (0.0, 0.5, 0.9)
    ]
    assert lengths == sorted(lengths)
    assert lengths[0] < 2.5
    assert all(block_length(like(0.99, 30, seed)) <= 10.0 for seed in range(5))


def test_constant_windows_are_sure() -> None:
    told = spread(np.full(20, 3.0))
    assert (told.mean, told.sd, told.block) == (3.0, 0.0, 1.0)


def test_the_same_windows_tell_the_same() -> None:
    assert spread(like(0.3, 40, 1)) == spread(like(0.3, 40, 1))


def test_one_window_tells_nothing() -> None:
    with pytest.raises(ValueError, match="one says nothing"):
        spread(np.array([1.0]))
