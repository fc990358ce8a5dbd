"""Student's t against tables and closed forms."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.stats.student_t import t_quantile, t_within


@pytest.mark.parametrize(
    ("level", "degrees", "t"),
    [  # two-sided, from any printed table
        (0.95, 1.0, 12.706),
        (0.95, 2.0, 4.303),
        (0.95, 4.0, 2.776),
        (0.95, 5.0, 2.571),
        (0.95, 8.0, 2.306),
        (0.95, 9.0, 2.262),
        (0.95, 12.0, 2.179),
        (0.95, 30.0, 2.042),
        (0.95, 1000.0, 1.962),
        (0.99, 5.0, 4.032),
        (0.90, 30.0, 1.697),
        (0.95, 1e6, 1.95997),
        (0.95, math.inf, 1.95996),
    ],
)
def test_printed_tables(level: float, degrees: float, t: float) -> None:
    assert t_quantile(level, degrees) == pytest.approx(t, abs=6e-4)


def test_one_degree_is_cauchy() -> None:
    for t in (0.1, 1.0, 7.0):
        assert t_within(t, 1.0) == pytest.approx(2.0 / math.pi * math.atan(t))


@given(level=st.floats(0.01, 0.999), degrees=st.floats(0.5, 500.0))
def test_the_quantile_is_the_inverse(level: float, degrees: float) -> None:
    assert t_within(t_quantile(level, degrees), degrees) == pytest.approx(level, abs=1e-9)


@pytest.mark.parametrize(("level", "degrees"), [(1.0, 3.0), (0.0, 3.0), (0.95, 0.0)])
def test_what_has_no_quantile(level: float, degrees: float) -> None:
    with pytest.raises(ValueError, match="no t quantile"):
        t_quantile(level, degrees)
