"""Recorded traffic: a CSV or JSONL file in, arrivals or a rate curve out.

Two shapes are read, told apart by the columns and said in the plan:

    arrivals   one row a request; the time column holds its instant. More columns say what it asked
               for: steps, images, size ("512x512"), prompt_chars (the prompt's length), user
    bins       one row a bin; the time column holds its start, another column the rate per unit of
               that time (`rate_column`) or the number of requests in the bin (`count_column`)

With no column named, they are found by the names below; times that are evenly spaced are then bins,
anything else arrivals.
"""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from loadtest.arrivals import resample
from loadtest.curve import Bins
from loadtest.errors import ScenarioError, TraceError
from loadtest.scenario import TraceFile, parse_size
from loadtest.table import column_names, first_row, read_columns
from loadtest.units import nearest

Array = npt.NDArray[np.float64]
Rows = npt.NDArray[Any]

KNOWN = {
    "time": ("t_s", "time_s", "timestamp_s", "t", "time", "timestamp"),
    "rate": ("rate_per_s", "rate", "rps", "qps", "requests_per_s", "images_per_s"),
    "count": ("count", "requests", "events", "arrivals", "n"),
    "steps": ("steps", "num_inference_steps"),
    "images": ("images", "num_images"),
    "size": ("size",),
    "prompt_chars": ("prompt_chars",),
    "user": ("user", "user_id"),
}
WHOLE = {"steps": 1000, "images": 10, "prompt_chars": 32_000}  # from 1 to ...
ASKS = (*WHOLE, "size", "user")
MAX_ARRIVALS = 20_000_000  # as many as a plan may hold
MAX_SECONDS = 1e20  # of a time column: beyond any epoch, in whatever unit it is


class Arrivals(msgspec.Struct, frozen=True):
    """Recorded instants, seconds from the first, sorted; and what each row asked for.

    `asks` maps "steps", "images", "width", "height", "prompt_chars" and "user" (a number for each
    different one, from 1) to an array as long as `times_s`, as far as the trace tells.
    """

    times_s: Array
    asks: dict[str, Rows] = {}

    @property
    def duration_s(self) -> float:
        """From the first arrival to the last, and the mean gap beyond it."""
        return float(self.times_s[-1]) * self.times_s.size / (self.times_s.size - 1)

    def peak_per_s(self, bins: int = 60) -> float:
        """The highest rate among `bins` equal parts of the duration."""
        counts, _ = np.histogram(self.times_s, bins=bins, range=(0.0, self.duration_s))
        return float(counts.max()) * bins / self.duration_s

    @property
    def batched_share(self) -> float:
        """Share of the rows that came at the very instant of the one before."""
        return float(np.mean(np.diff(self.times_s) == 0))

    def take(self, times_s: Array, rows: npt.NDArray[np.int64]) -> "Arrivals":
        """Arrivals at `times_s` that ask for what `rows` asked for."""
        return Arrivals(times_s, {name: values[rows] for name, values in self.asks.items()})


def read_trace(path: Path, trace: TraceFile, seed: int = 1) -> Arrivals | Bins:
    """The trace in `path`, scaled as `trace` says; times are shifted so that the first is 0.

    `seed` decides the jitter and which arrivals are repeated or left out.

    Raises:
        TraceError: unreadable, empty, a column missing, or a row whose value is not a finite
            number, is negative, out of range, or goes back in time.
    """
    header = column_names(path)
    time_name = _column(path, header, trace.time_column, KNOWN["time"]) or header[0]
    table = read_columns(path, [time_name])
    if table.rows < 2:
        raise TraceError(f"{path} holds {table.rows} rows of data: a trace needs at least two")
    times = _seconds(path, time_name, table.numbers[time_name], trace.time_scale)
    order = _order(path, trace, time_name, times)
    times = times[order]
    if times[-1] == times[0]:
        raise TraceError(f"{path}: all {times.size} rows have the same time; a trace needs a span")
    times = times - times[0]
    others = [name for name in header if name != time_name]
    counted = _bin_column(path, trace, others, times)
    if counted is not None:
        _check_bins(path, trace, others)
        return _bins(path, trace, times, order, time_name, counted)
    asks = {name: values[order] for name, values in _asks(path, trace, others).items()}
    return _scaled(Arrivals(times, asks), trace, seed)


def _seconds(path: Path, name: str, values: Array, scale: float) -> Array:
    with np.errstate(over="ignore"):
        times: Array = values * scale
    bad = np.flatnonzero(times > MAX_SECONDS)
    if bad.size:
        raise TraceError(
            f"{path}: row {int(bad[0]) + first_row(path)}, column {name!r}: "
            f"{values[bad[0]]:g} is too far away; see time_scale (--time-scale)"
        )
    return times


def _order(path: Path, trace: TraceFile, name: str, times: Array) -> npt.NDArray[np.int64]:
    """The rows in the order of their times."""
    back = np.flatnonzero(np.diff(times) < 0)
    if back.size and not trace.sort:
        at = int(back[0])
        raise TraceError(
            f"{path}: row {at + 1 + first_row(path)}, column {name!r}: {times[at + 1]:g} comes "
            f"after {times[at]:g}. Sort the rows by time, or let it be done with sort (--sort)"
        )
    return np.argsort(times, kind="stable")


def _column(
    path: Path, header: list[str], wanted: str | None, known: tuple[str, ...]
) -> str | None:
    """The column that was named, or the first known one there is."""
    if wanted is not None:
        if wanted not in header:
            raise TraceError(f"{path} has no column {wanted!r}{nearest(wanted, header)}")
        return wanted
    return next((name for name in known if name in header), None)


def _bin_column(
    path: Path, trace: TraceFile, others: list[str], times: Array
) -> tuple[str, bool] | None:
    """The column that counts a bin's requests, and whether it is a rate; None: no bins."""
    for wanted, is_rate in ((trace.rate_column, True), (trace.count_column, False)):
        if name := _column(path, others, wanted, ()):
            return name, is_rate
    if any(getattr(trace, f"{kind}_column") for kind in ASKS) or not _evenly_spaced(times):
        return None
    for kind in ("rate", "count"):
        if name := _column(path, others, None, KNOWN[kind]):
            return name, kind == "rate"
    if len(others) == 1 and others[0] not in {name for kind in ASKS for name in KNOWN[kind]}:
        return others[0], False
    if others:
        raise TraceError(
            f"{path}: its times are evenly spaced, so its rows are bins, but which column "
            f"counts requests? Name it with rate_column or count_column ({', '.join(others)})."
        )
    return None


def _check_bins(path: Path, trace: TraceFile, others: list[str]) -> None:
    """That nothing is asked of bins which only arrivals can have."""
    if trace.rate_column and trace.count_column:
        raise TraceError(f"{path}: give rate_column or count_column, not both")
    for kind in ASKS:
        _column(path, others, getattr(trace, f"{kind}_column"), ())
    needless = [f"{kind}_column" for kind in ASKS if getattr(trace, f"{kind}_column")]
    needless += ["jitter"] if trace.jitter > 0 else []
    if needless:
        raise TraceError(
            f"{path}: its rows are bins, and {needless[0]} is of rows that are arrivals: leave it "
            "out"
        )


def _bins(
    path: Path,
    trace: TraceFile,
    times: Array,
    order: npt.NDArray[np.int64],
    time_name: str,
    counted: tuple[str, bool],
) -> Bins:
    name, is_rate = counted
    widths = np.diff(times, append=2 * times[-1] - times[-2])
    if not widths.all():
        row = int(order[np.flatnonzero(widths == 0)[0] + 1]) + first_row(path)
        raise TraceError(
            f"{path}: row {row}, column {time_name!r}: two bins start at once; each row of a rate "
            "or count needs a time of its own"
        )
    values = read_columns(path, [name]).numbers[name][order]
    if not values.any():
        raise TraceError(f"{path}: column {name!r} is 0 in every row")
    # a rate is per recorded second, or per whatever the time column counts
    rates = values / (trace.time_scale if is_rate else widths) * trace.rate_scale
    edges = np.concatenate([times, [times[-1] + widths[-1]]])
    try:
        return Bins(edges_s=tuple(edges.tolist()), rates_per_s=tuple(rates.tolist()))
    except ValueError as err:  # a scale took them out of any range
        raise TraceError(f"{path}: column {name!r}: {err}") from err


def _asks(path: Path, trace: TraceFile, others: list[str]) -> dict[str, Rows]:
    """What each row asked for, as far as the trace tells."""
    columns = {
        kind: name
        for kind in ASKS
        if (name := _column(path, others, getattr(trace, f"{kind}_column"), KNOWN[kind]))
    }
    numbers = list(dict.fromkeys(name for kind, name in columns.items() if kind in WHOLE))
    words = list(dict.fromkeys(name for kind, name in columns.items() if kind not in WHOLE))
    if not columns:
        return {}
    table = read_columns(path, numbers, words)
    asks: dict[str, Rows] = {}
    for kind, most in WHOLE.items():
        if name := columns.get(kind):
            asks[kind] = _whole(path, name, table.numbers[name], most)
    if name := columns.get("size"):
        asks |= _sizes(path, name, *table.words[name])
    if name := columns.get("user"):
        asks["user"] = (table.words[name][0] + 1).astype(np.uint32)
    return asks


def _whole(path: Path, name: str, values: Array, most: int) -> Rows:
    bad = np.flatnonzero((values < 1) | (values > most) | (values != np.floor(values)))
    if bad.size:
        at = int(bad[0])
        raise TraceError(
            f"{path}: row {at + first_row(path)}, column {name!r}: {values[at]:g} is no whole "
            f"number from 1 to {most:,}"
        )
    return values.astype(np.uint16)


def _sizes(
    path: Path, name: str, codes: npt.NDArray[np.int64], words: list[str]
) -> dict[str, Rows]:
    sides = np.empty((len(words), 2), np.uint32)
    for code, word in enumerate(words):
        try:
            sides[code] = parse_size(word)
        except ScenarioError as err:
            row = int(np.flatnonzero(codes == code)[0]) + first_row(path)
            raise TraceError(f"{path}: row {row}, column {name!r}: {err}") from err
    return {"width": sides[codes, 0], "height": sides[codes, 1]}


def _scaled(arrivals: Arrivals, trace: TraceFile, seed: int) -> Arrivals:
    """With batched stamps spread and the rate scaled."""
    if trace.jitter > 0:
        rng = np.random.Generator(np.random.PCG64([seed, 2]))
        moved = arrivals.times_s + trace.jitter * rng.random(arrivals.times_s.size)
        rows = np.argsort(moved, kind="stable")
        arrivals = arrivals.take(moved[rows] - moved[rows[0]], rows)
    if trace.rate_scale != 1:
        if trace.rate_scale * arrivals.times_s.size > MAX_ARRIVALS:
            raise TraceError(
                f"rate_scale {trace.rate_scale:g} makes more than {MAX_ARRIVALS:,} arrivals of "
                f"{arrivals.times_s.size:,} rows: lower it"
            )
        times, rows = resample(arrivals.times_s, trace.rate_scale, seed)
        if times.size < 2:
            raise TraceError(f"rate_scale {trace.rate_scale:g} leaves fewer than two arrivals")
        arrivals = arrivals.take(times - times[0], rows)
    return arrivals


def _evenly_spaced(times: Array) -> bool:
    gaps = np.diff(times)
    return times.size > 2 and bool(np.allclose(gaps, gaps[0], rtol=1e-6, atol=1e-9)) and gaps[0] > 0
