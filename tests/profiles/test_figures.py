"""Numbers as people read them."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles import figures

CASES: list[tuple[Callable[[float | None], str], float | None, str]] = [
    (figures.number, 111_666.7, "111,667"),
    (figures.number, 41.46, "41.5"),
    (figures.number, 2.2555, "2.26"),
    (figures.number, 2.0, "2"),
    (figures.number, 0.012345, "0.0123"),
    (figures.number, 0.0, "0"),
    (figures.number, -1.5, "-1.5"),
    (figures.number, float("nan"), "unknown"),
    (figures.seconds, 0.0, "0 s"),
    (figures.seconds, 0.00418, "4.18 ms"),
    (figures.seconds, 3.474, "3.47 s"),
    (figures.seconds, 99.9, "99.9 s"),
    (figures.seconds, 99.99, "1 min 40 s"),
    (figures.seconds, 120.0, "2 min"),
    (figures.seconds, 3599.7, "1 h"),
    (figures.seconds, 5400.0, "1 h 30 min"),
    (figures.seconds, 9 * 86400.0, "9 days"),
    (figures.share, 0.0, "0 %"),
    (figures.share, 0.00001, "< 0.01 %"),
    (figures.share, 0.0004, "0.04 %"),
    (figures.share, 0.01, "1 %"),
    (figures.share, 0.311, "31 %"),
    (figures.share, 0.9981, "99.8 %"),
    (figures.share, 0.9997, "99.97 %"),
    (figures.share, 0.99999, "> 99.99 %"),
    (figures.share, 1.0, "100 %"),
    (figures.data, 617_434.0, "617 kB"),
    (figures.data, 21e9, "21 GB"),
    (figures.data, 2e12, "2 TB"),
    (figures.tflop, 1979.0, "1,979 TFLOP"),
    (figures.tflop, 0.8033, "803 GFLOP"),
    (figures.tflop, 0.9999, "1 TFLOP"),
    (figures.tflop, 0.000226, "226 MFLOP"),
    (figures.tflop, 2e-8, "0.02 MFLOP"),
    (figures.tflops, 75.24, "75.2 TFLOP/s"),
    (figures.joules, 330.9, "331 J"),
    (figures.joules, 66_520.0, "66.5 kJ"),
    (figures.dollars, 0.4975, "0.50 $"),
    (figures.dollars, 0.00123, "0.00123 $"),
    (figures.watts, 363.7, "364 W"),
    (figures.images_per_s, 2.26, "2.26 images/s"),
    (figures.count, 94_271.0, "94,271"),
]


@pytest.mark.parametrize(("form", "value", "expected"), CASES)
def test_forms(form: Callable[[float | None], str], value: float | None, expected: str) -> None:
    assert form(value) == expected


@pytest.mark.parametrize("form", dict.fromkeys(form for form, _, _ in CASES))
def test_unknown_is_said_and_never_zero(form: Callable[[float | None], str]) -> None:
    assert form(None) == "unknown"


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [(0.2, "s", "200 ms"), (0.25, "share", "25 %"), (3.0, "count", "3"), (None, "s", "unknown")],
)
def test_in_unit(value: float | None, unit: str, expected: str) -> None:
    assert figures.in_unit(value, unit) == expected


@given(st.floats(1e-6, 1e9))
def test_number_keeps_three_digits(value: float) -> None:
    assert float(figures.number(value).replace(",", "")) == pytest.approx(value, rel=6e-3)


@given(st.floats(0.0, 1.0))
def test_share_never_says_all_or_nothing_of_a_part(value: float) -> None:
    text = figures.share(value)
    assert (text == "100 %") is (value == 1.0)
    assert (text == "0 %") is (value == 0.0)
