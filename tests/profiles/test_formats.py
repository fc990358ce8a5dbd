"""Numbers as people read them."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles import formats

CASES: list[tuple[Callable[[float | None], str], float | None, str]] = [
    (formats.number, 111_666.7, "111,667"),
    (formats.number, 41.46, "41.5"),
    (formats.number, 2.2555, "2.26"),
    (formats.number, 2.0, "2"),
    (formats.number, 0.012345, "0.0123"),
    (formats.number, 0.0, "0"),
    (formats.number, -1.5, "-1.5"),
    (formats.number, float("nan"), "unknown"),
    (formats.seconds, 0.0, "0 s"),
    (formats.seconds, 0.00418, "4.18 ms"),
    (formats.seconds, 3.474, "3.47 s"),
    (formats.seconds, 99.9, "99.9 s"),
    (formats.seconds, 99.99, "1 min 40 s"),
    (formats.seconds, 120.0, "2 min"),
    (formats.seconds, 3599.7, "1 h"),
    (formats.seconds, 5400.0, "1 h 30 min"),
    (formats.seconds, 9 * 86400.0, "9 days"),
    (formats.share, 0.0, "0%"),
    (formats.share, 0.00001, "< 0.01%"),
    (formats.share, 0.0004, "0.04%"),
    (formats.share, 0.01, "1%"),
    (formats.share, 0.311, "31%"),
    (formats.share, 0.9981, "99.8%"),
    (formats.share, 0.9997, "99.97%"),
    (formats.share, 0.99999, "> 99.99%"),
    (formats.share, 1.0, "100%"),
    (formats.data, 617_434.0, "617 kB"),
    (formats.data, 21e9, "21 GB"),
    (formats.data, 2e12, "2 TB"),
    (formats.tflop, 1979.0, "1,979 TFLOP"),
    (formats.tflop, 0.8033, "803 GFLOP"),
    (formats.tflop, 0.9999, "1 TFLOP"),
    (formats.tflop, 0.000226, "226 MFLOP"),
    (formats.tflop, 2e-8, "0.02 MFLOP"),
    (formats.tflops, 75.24, "75.2 TFLOP/s"),
    (formats.joules, 330.9, "331 J"),
    (formats.joules, 66_520.0, "66.5 kJ"),
    (formats.dollars, 0.4975, "$0.50"),
    (formats.dollars, 0.00123, "$0.00123"),
    (formats.watts, 363.7, "364 W"),
    (formats.images_per_s, 2.26, "2.26 images/s"),
    (formats.count, 94_271.0, "94,271"),
]


@pytest.mark.parametrize(("form", "value", "expected"), CASES)
def test_forms(form: Callable[[float | None], str], value: float | None, expected: str) -> None:
    assert form(value) == expected


@pytest.mark.parametrize("form", dict.fromkeys(form for form, _, _ in CASES))
def test_unknown_is_said_and_never_zero(form: Callable[[float | None], str]) -> None:
    assert form(None) == "unknown"


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [(0.2, "s", "200 ms"), (0.25, "share", "25%"), (3.0, "count", "3"), (None, "s", "unknown")],
)
def test_in_unit(value: float | None, unit: str, expected: str) -> None:
    assert formats.in_unit(value, unit) == expected


@given(st.floats(1e-6, 1e9))
def test_number_keeps_three_digits(value: float) -> None:
    assert float(formats.number(value).replace(",", "")) == pytest.approx(value, rel=6e-3)


@given(st.floats(0.0, 1.0))
def test_share_never_says_all_or_nothing_of_a_part(value: float) -> None:
    text = formats.share(value)
    assert (text == "100%") is (value == 1.0)
    assert (text == "0%") is (value == 0.0)
