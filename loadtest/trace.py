"""Recorded traffic: a CSV file in, arrivals or a rate curve out.

Two shapes are read, told apart by the columns and said in the plan:

    arrivals   one row a request; the time column holds its instant, in seconds
    bins       one row a bin; the time column holds its start, another column the rate per second
               (`rate_column`) or the number of requests in the bin (`count_column`)

With no column named, times that are evenly spaced are bins, anything else arrivals.
"""

import csv
import math
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from loadtest.curve import Bins
from loadtest.errors import TraceError
from loadtest.units import nearest

Array = npt.NDArray[np.float64]

TIME_NAMES = ("t_s", "time_s", "timestamp_s", "t", "time", "timestamp")
RATE_NAMES = ("rate_per_s", "rate", "rps", "qps", "requests_per_s", "images_per_s")
COUNT_NAMES = ("count", "requests", "events", "arrivals", "n")


class Arrivals(msgspec.Struct, frozen=True):
    """Recorded instants, seconds from the first, sorted."""

    times_s: Array

    @property
    def duration_s(self) -> float:
        """From the first arrival to the last, and the mean gap beyond it."""
        return float(self.times_s[-1]) * self.times_s.size / (self.times_s.size - 1)

    def peak_per_s(self, bins: int = 60) -> float:
        """The highest rate among `bins` equal parts of the duration."""
        counts, _ = np.histogram(self.times_s, bins=bins, range=(0.0, self.duration_s))
        return float(counts.max()) * bins / self.duration_s


def read_csv(
    path: Path,
    time_column: str | None = None,
    rate_column: str | None = None,
    count_column: str | None = None,
) -> Arrivals | Bins:
    """The trace in `path`; times are shifted so that the first is 0.

    Raises:
        TraceError: unreadable, empty, a column missing, or a row whose value is not a finite
            number, is negative, or goes back in time.
    """
    header, rows = _table(path)
    time_name = _column(path, header, time_column, TIME_NAMES) or header[0]
    times = _numbers(path, header, rows, time_name)
    back = np.flatnonzero(np.diff(times) < 0)
    if back.size:
        row = int(back[0]) + 3  # 1-based, after the header, the later of the two
        raise TraceError(
            f"{path}: row {row}, column {time_name!r}: {times[row - 2]:g} comes after "
            f"{times[row - 3]:g}. Sort the rows by time."
        )
    if times[-1] == times[0]:
        raise TraceError(f"{path}: all {times.size} rows have the same time; a trace needs a span")
    times = times - times[0]
    rate_name = _column(path, header, rate_column, ())
    count_name = _column(path, header, count_column, ())
    if rate_name is None and count_name is None and _evenly_spaced(times):
        others = [name for name in header if name != time_name]
        rate_name = next((name for name in RATE_NAMES if name in others), None)
        count_name = next((name for name in COUNT_NAMES if name in others), None)
        if rate_name is None and count_name is None and len(others) == 1:
            count_name = others[0]
        if rate_name is None and count_name is None and others:
            raise TraceError(
                f"{path}: its times are evenly spaced, so its rows are bins, but which column "
                f"counts requests? Name it with rate_column or count_column ({', '.join(others)})."
            )
    if rate_name is None and count_name is None:
        return Arrivals(times)
    widths = np.diff(times, append=2 * times[-1] - times[-2])
    if not widths.all():
        row = int(np.flatnonzero(widths == 0)[0]) + 3
        raise TraceError(f"{path}: row {row}, column {time_name!r}: two bins start at once")
    rates = (
        _numbers(path, header, rows, rate_name)
        if rate_name is not None
        else _numbers(path, header, rows, count_name or "") / widths
    )
    if not rates.any():
        raise TraceError(f"{path}: column {rate_name or count_name!r} is 0 in every row")
    edges = np.concatenate([times, [times[-1] + widths[-1]]])
    return Bins(edges_s=tuple(edges.tolist()), rates_per_s=tuple(rates.tolist()))


def _table(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        reason = err.strerror if isinstance(err, OSError) else f"it is not CSV text ({err})"
        raise TraceError(f"cannot read the trace {path}: {reason}") from err
    if not rows:
        raise TraceError(f"{path} is empty: a trace has a header row and at least two rows")
    header = [name.strip() for name in rows[0]]
    if _is_number(header[0]):
        raise TraceError(f"{path}: row 1 holds numbers where the column names belong (t_s, ...)")
    if len(rows) < 3:
        raise TraceError(f"{path} holds {len(rows) - 1} rows of data: a trace needs at least two")
    return header, rows[1:]


def _column(
    path: Path, header: list[str], wanted: str | None, known: tuple[str, ...]
) -> str | None:
    if wanted is not None:
        if wanted not in header:
            raise TraceError(f"{path} has no column {wanted!r}{nearest(wanted, header)}")
        return wanted
    return next((name for name in known if name in header), None)


def _numbers(path: Path, header: list[str], rows: list[list[str]], name: str) -> Array:
    index = header.index(name)
    try:
        values = np.array([row[index] for row in rows], dtype=np.float64)
    except (ValueError, IndexError):
        values = np.array([_number(row, index) for row in rows])
    bad = np.flatnonzero(~np.isfinite(values) | (values < 0))
    if bad.size:
        row = int(bad[0])
        text = rows[row][index] if index < len(rows[row]) else "nothing"
        raise TraceError(
            f"{path}: row {row + 2}, column {name!r}: {text!r} is no number of at least 0"
        )
    return values


def _number(row: list[str], index: int) -> float:
    try:
        return float(row[index])
    except (ValueError, IndexError):
        return math.nan


def _is_number(text: str) -> bool:
    return math.isfinite(_number([text], 0))


def _evenly_spaced(times: Array) -> bool:
    gaps = np.diff(times)
    return times.size > 2 and bool(np.allclose(gaps, gaps[0], rtol=1e-6, atol=1e-9)) and gaps[0] > 0
