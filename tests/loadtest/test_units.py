import pytest

from loadtest.units import format_duration, nearest, parse_duration


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (90, 90.0),
        (0.5, 0.5),
        ("90s", 90.0),
        ("90", 90.0),
        ("250ms", 0.25),
        ("15 min", 900.0),
        ("1.5h", 5400.0),
        ("8d", 691_200.0),
        ("1e3 s", 1000.0),
    ],
)
def test_durations_are_read(written: object, seconds: float) -> None:
    assert parse_duration(written) == seconds


@pytest.mark.parametrize(
    "written", ["", "fast", "1 fortnight", -1, "-1s", True, None, "nan", "1e999s", "1e300s"]
)
def test_what_is_no_duration_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="expected a duration such as"):
        parse_duration(written)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.25, "0.25 s"), (59.0, "59 s"), (90.0, "1.5 min"), (5400.0, "1.5 h"), (777_600.0, "9 days")],
)
def test_durations_are_written_in_the_largest_fitting_unit(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_the_nearest_word_is_proposed_and_a_list_where_none_is_near() -> None:
    assert nearest("durration", ["duration", "rate"]) == ' (did you mean "duration"?)'
    assert nearest("xyz", ["b", "a"]) == " (valid: a, b)"
