"""Durations as people write them in a scenario or on a command line, and near misses of words."""

import difflib
import re
from collections.abc import Iterable

UNIT_S = {
    "ms": 1e-3,
    "s": 1.0,
    "sec": 1.0,
    "min": 60.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "day": 86400.0,
    "days": 86400.0,
    "week": 7 * 86400.0,
    "weeks": 7 * 86400.0,
}
MAX_S = 1e12  # 30,000 years


class Duration(float):
    """Seconds. In a scenario: a number of seconds, or a string such as "90s", "15 min", "8d"."""


def parse_duration(value: object) -> Duration:
    """Seconds of `90`, `"90s"`, `"15 min"`, `"1h"`, `"8d"`.

    Raises:
        ValueError: not a duration from 0 to MAX_S.
    """
    seconds: float | None = None
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    elif isinstance(value, str):
        match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*([a-z]*)\s*", value.lower())
        if match and (match[2] or "s") in UNIT_S:
            seconds = float(match[1]) * UNIT_S[match[2] or "s"]
    if seconds is None or not 0 <= seconds <= MAX_S:
        raise ValueError(f'expected a duration such as 90, "90s", "15min" or "1h", got {value!r}')
    return Duration(seconds)


def format_duration(seconds: float) -> str:
    """`90.0` as "1.5 min": the largest unit that leaves at least one."""
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= size * (2 if unit == "days" else 1):
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def nearest(word: str, words: Iterable[str]) -> str:
    """' (did you mean "x"?)' for the closest of `words`, or their list when none is close."""
    known = sorted(words)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f' (did you mean "{close[0]}"?)' if close else f" (valid: {', '.join(known)})"
