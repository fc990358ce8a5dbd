import numpy as np
import pytest

from profiles.stats.warmup import cut, differs, mser


def test_mser_leaves_out_what_is_far_from_the_rest() -> None:
    rng = np.random.default_rng(0)
    series = 1 + 0.1 * rng.standard_normal(1000)
    series[:200] += np.linspace(5, 0.5, 200)
    assert 180 <= mser(series) <= 260
    assert 180 <= cut(series) <= 260


def test_a_stationary_series_is_kept_whole() -> None:
    rng = np.random.default_rng(0)
    kept = [cut(rng.exponential(1.0, 1000)) == 0 for _ in range(200)]
    assert np.mean(kept) > 0.95  # a test at 4 standard errors, of few batches


@pytest.mark.parametrize("size", [0, 1, 5, 99])
def test_short_series_are_kept_whole(size: int) -> None:
    assert cut(np.linspace(9.0, 0.0, size)) == 0


def test_a_constant_does_not_differ() -> None:
    assert not differs(np.full(500, 0.05))
