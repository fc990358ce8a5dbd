"""A trace's time column: numbers or dates -> seconds from its first row, and how it was read.

A number's unit is told with `time_scale`, else by the column's name (`timestamp_ms`, `minute`),
else by its size where it counts from 1970 (seconds until the year 5138 are below 1e11, milliseconds
from 1973 on above it, and so on), else it is taken as seconds; whichever it was is said. Dates are
ISO 8601 with any number of decimals and any zone, and what access logs have:
[10/Oct/2000:13:55:36 -0700].
"""

import datetime
import functools
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from loadtest.errors import TraceError
from loadtest.tables.table import chunks, first_row, numbers_of, quoted
from loadtest.traces.column_names import UNITS, tokens

Array = npt.NDArray[np.float64]

WORDS = {
    1e-9: "nanoseconds", 1e-6: "microseconds", 1e-3: "milliseconds", 1.0: "seconds",
    60.0: "minutes", 3600.0: "hours", 86400.0: "days",
}  # fmt: skip
EPOCH_S = 1e8  # since 1970, in 1973: what is below counts from somewhere else
FAR_S = 1e11  # the year 5138
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")

CLOCK = r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]+))?)?"
ZONE = r" ?(Z|z|UTC|GMT|[+-][0-9]{2}(?::?[0-9]{2})?)?"
ISO = re.compile(
    rf"\[?([0-9]{{4}})[-/]([0-9]{{1,2}})[-/]([0-9]{{1,2}})(?:[Tt ] ?{CLOCK}{ZONE})?\]?"
)
BASIC = re.compile(
    r"([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})(?:[.,]([0-9]+))?" + ZONE
)
LOG = re.compile(rf"\[?([0-9]{{1,2}})/([A-Za-z]{{3}})/([0-9]{{4}})[: ]{CLOCK}{ZONE}\]?")


class Stamps(msgspec.Struct, frozen=True):
    """A time column as it stands in the file: numbers of an unknown unit, or seconds of dates."""

    values: Array  # of dates: seconds from the first row's
    are_dates: bool


def read_stamps(path: Path, name: str) -> Stamps:
    """The column `name`, all of it numbers or all of it dates, as its first row is.

    Raises:
        TraceError: unreadable, or a row that is no number of at least 0 and no date.
    """
    parts: list[Array] = [np.zeros(0)]
    row, zero = first_row(path), None
    for (values,) in chunks(path, [name]):
        if row == first_row(path) and values and isinstance(values[0], str):
            zero = _instant(values[0])
        if zero is None:
            parts.append(_numbers(path, row, name, values))
        else:
            parts.append(_dates(path, row, name, values, zero))
        row += len(values)
    return Stamps(np.concatenate(parts), zero is not None)


def seconds_of(
    path: Path, name: str, stamps: Stamps, scale: float | None, assumed: str | None = None
) -> tuple[Array, str]:
    """Seconds from the first row, in the file's order; and how they were read, for people.

    `scale` is `time_scale`; `assumed` the unit a published format is known to have, such as "ms".

    Raises:
        TraceError: a scale of dates, a unit that cannot be, or times too far away.
    """
    values = stamps.values
    if stamps.are_dates:
        if scale is not None:
            raise TraceError(
                f"{path}: column {name!r} holds dates, and time_scale (--time-scale) is of "
                "numbers: leave it out"
            )
        return values, f"{name!r} holds dates"
    unit, how = _unit(path, name, values, scale, assumed)
    with np.errstate(over="ignore"):
        far = np.flatnonzero(values > FAR_S / unit)
    if far.size:
        raise TraceError(
            f"{path}: row {int(far[0]) + first_row(path)}, column {name!r}: "
            f"{values[far[0]]:g} is too far away; see time_scale (--time-scale)"
        )
    return (values - values[0]) * unit, f"{name!r} is taken as {how}"


def is_date(value: Any) -> bool:
    """Whether a cell is a date that can be read."""
    return isinstance(value, str) and _instant(value) is not None


def is_epoch(value: Any) -> bool:
    """Whether a cell is a number that counts from 1970, in whatever unit."""
    number = _float(value)
    return EPOCH_S <= number < 1e20


def _unit(
    path: Path, name: str, values: Array, scale: float | None, assumed: str | None
) -> tuple[float, str]:
    """Seconds in a unit of the column, and in words."""
    least = float(values.min())
    named = tokens(name)
    told = next((UNITS[word] for word in reversed(named[1:]) if word in UNITS), None)
    if scale is not None:
        return scale, f"units of {scale:g} s (time_scale)"
    if assumed is not None:
        return UNITS[assumed], f"{WORDS[UNITS[assumed]]}, as the file is published"
    if told is not None:
        return told, f"{WORDS[told]}, by its name"
    for unit in (1.0, 1e-3, 1e-6, 1e-9):
        if EPOCH_S <= least * unit < FAR_S:
            return unit, f"{WORDS[unit]} since 1970, by its size"
    if len(named) == 1 and (width := UNITS.get(named[0], 0.0)) >= 60.0:
        return _unit_of_bins(path, name, values, width)
    if len(named) == 1 and named[0] in UNITS:
        return UNITS[named[0]], f"{WORDS[UNITS[named[0]]]}, by its name"
    return 1.0, "seconds (others with time_scale, --time-scale: 0.001 for milliseconds)"


def _unit_of_bins(path: Path, name: str, values: Array, width_s: float) -> tuple[float, str]:
    """Of `minute`, `hour` or `day`: it counts them, or tells the second at which each begins."""
    gaps = np.diff(np.unique(values))
    gap = float(gaps.min()) if gaps.size else 0.0
    word = WORDS[width_s]
    if gap == width_s:
        return 1.0, f"the second at which each {name} begins, as its steps of {gap:g} say"
    if gap % 60 == 0 and gap > 0:
        raise TraceError(
            f"{path}: column {name!r} goes in steps of {gap:g}: name its unit with time_scale "
            f"(--time-scale {width_s:g} for {word}, --time-scale 1 for seconds)"
        )
    return width_s, f"{word}, by its name"


def _numbers(path: Path, row: int, name: str, values: list[Any]) -> Array:
    try:
        return numbers_of(path, row, name, values)
    except TraceError as err:
        first = next((value for value in values if isinstance(value, str)), "")
        if re.match(r"\s*[0-9]+[-/.][0-9]+[-/.][0-9]+|\s*[0-9]+:[0-9]+", first):
            raise TraceError(f"{err}, nor a date such as 2026-11-01T10:00:00Z") from err
        raise


def _dates(
    path: Path, row: int, name: str, values: Sequence[Any], zero: tuple[int, float, bool]
) -> Array:
    """Seconds from the whole second of `zero`."""
    found = np.empty(len(values))
    for at, value in enumerate(values):
        told = _instant(value) if isinstance(value, str) else None
        if told is None or told[2] != zero[2]:
            what = "is no date" if told is None else "tells its zone unlike the first row's"
            raise TraceError(f"{path}: row {row + at}, column {name!r}: {quoted(value)} {what}")
        found[at] = told[0] - zero[0] + told[1]
    return found


def _instant(text: str) -> tuple[int, float, bool] | None:
    """Whole seconds since 1970, the fraction of one, and whether a zone is told; None: no date.

    Without a zone it is taken as UTC.
    """
    text = text.strip()
    if match := ISO.fullmatch(text) or BASIC.fullmatch(text):
        year, month, day, hour, minute, second, decimals, zone = match.groups()
    elif match := LOG.fullmatch(text):
        day, month, year, hour, minute, second, decimals, zone = match.groups()
        month = str(MONTHS.index(month.lower()) + 1) if month.lower() in MONTHS else "0"
    else:
        return None
    days = _day(int(year), int(month), int(day))
    clock = [int(hour or 0), int(minute or 0), int(second or 0)]
    if days is None or clock[0] > 23 or clock[1] > 59 or clock[2] > 60:  # 60: a leap second
        return None
    whole = days * 86400 + clock[0] * 3600 + clock[1] * 60 + clock[2] - _offset_s(zone)
    return whole, float(f"0.{decimals}") if decimals else 0.0, zone is not None


@functools.lru_cache(maxsize=4096)
def _day(year: int, month: int, day: int) -> int | None:
    """Days since 1970."""
    try:
        return datetime.date(year, month, day).toordinal() - 719_163
    except ValueError:
        return None


def _offset_s(zone: str | None) -> int:
    """Seconds ahead of UTC."""
    if zone is None or zone[0] not in "+-":
        return 0
    digits = zone[1:].replace(":", "").ljust(4, "0")
    return (1 if zone[0] == "+" else -1) * (int(digits[:2]) * 3600 + int(digits[2:]) * 60)


def _float(value: Any) -> float:
    try:
        return math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
