"""Recorded traffic: a table in, arrivals or a rate curve out; and what its rows were taken for.

Two shapes are read, told apart by the columns and said in the plan:

    arrivals   one row a request; the time column holds its instant. More columns say what it asked
               for: steps, images, size ("512x512"), prompt_chars (the prompt's length), user
    bins       one row a bin; the time column holds its start, another column the number of
               requests in it (`count_column`) or its rate (`rate_column`: requests/s, unless its
               name says "per minute" or the like). Bins that are missing are 0; several rows of one
               time that a column of words tells apart are added up

With no column named, they are found by `loadtest.traces.columns`; `loadtest.traces.rows` decides
which of the two the rows are, or that it is not certain.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from loadtest.errors import ScenarioError, TraceError
from loadtest.scenario.scenario import TraceFile, parse_size
from loadtest.tables.table import Layout, first_row, first_values, layout_of, read_columns
from loadtest.traces import columns as trace_columns
from loadtest.traces import timestamps
from loadtest.traces.column_names import tokens
from loadtest.traces.columns import KNOWN
from loadtest.traces.rows import ASKS, Grid, Seen, Taken, grid_of, take
from loadtest.traffic import trace_window
from loadtest.traffic.arrivals import resample
from loadtest.traffic.curve import Bins
from loadtest.traffic.recorded import Arrivals
from loadtest.units import format_duration, nearest

__all__ = ["KNOWN", "MAX_ARRIVALS", "Arrivals", "Reading", "Rows", "read", "read_trace"]

Array = npt.NDArray[np.float64]
Rows = npt.NDArray[Any]

WHOLE = {"steps": (1, 1000), "images": (1, 10), "prompt_chars": (0, 32_000)}  # from ... to ...
MAX_ARRIVALS = 20_000_000  # as many as a plan may hold
LONGEST_S = 20 * 365.25 * 86400.0  # of a trace: beyond, its unit of time is another
FIGURE = re.compile(r"[-+\s0-9.,'’_%eE]*")
ASKED_FOR = "asked for:"  # begins the line that says so
NAMED = 6  # columns that are left out, by name


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """A trace, and what was taken for what, in a line each."""

    shape: Arrivals | Bins
    whole: Arrivals | Bins  # the trace, where `shape` is a stretch of it
    window: str | None = None  # which stretch, in words
    said: tuple[str, ...] = ()


def read_trace(path: Path, trace: TraceFile, seed: int = 1) -> Arrivals | Bins:
    """The trace in `path`, as `read` gives it, without what was said of it."""
    return read(path, trace, seed).shape


def read(path: Path, trace: TraceFile, seed: int = 1) -> Reading:
    """The trace in `path`, scaled as `trace` says; times are shifted so that the first is 0.

    `seed` decides the jitter and which arrivals are repeated or left out.

    Raises:
        TraceError: unreadable, empty, a column missing, a row whose value is not a finite number,
            is negative, out of range, or goes back in time; or it is not certain what its rows are.
    """
    layout = layout_of(path)
    doubled = next((name for name in layout.names if name and layout.names.count(name) > 1), None)
    if doubled is not None:
        raise TraceError(f"{path}: two columns are named {doubled!r}: rename one")
    first = first_values(path)
    time_name, found = _time_column(path, layout, trace, first)
    column = timestamps.read_stamps(path, time_name)
    if column.values.size < 2:
        rows = column.values.size
        raise TraceError(f"{path} holds {rows} rows of data: a trace needs at least two")
    assumed = None
    if trace.time_scale is None and not column.are_dates:
        is_whole = bool((column.values == np.floor(column.values)).all())
        assumed = trace_columns.published_unit(layout.names, is_whole)
    times, how = timestamps.seconds_of(path, time_name, column, trace.time_scale, assumed)
    order = _order(path, trace, time_name, column.values)
    times = times[order] - times[order[0]]
    _check_span(path, time_name, times)
    seen = Seen(
        path=path,
        time_name=time_name,
        times=times,
        others=tuple(name for name in layout.names if name != time_name),
        numeric=frozenset(name for name, value in first.items() if _may_be_number(value)),
        known_as=layout.known_as,
    )
    taken = take(seen, trace)
    said = [f"time: {how}{found}"]
    shape: Arrivals | Bins
    if taken.rows == "bins":
        _check_bins(path, trace, seen.others)
        shape, told = _bins(seen, trace, order, taken)
    else:
        shape, told = _arrivals(seen, trace, order, seed)
    said += told
    whole, window = shape, None
    if trace.window is not None:
        shape, window = trace_window.cut(whole, trace_window.parse_stretch(trace.window))
    return Reading(shape=shape, whole=whole, window=window, said=tuple(said))


def _time_column(
    path: Path, layout: Layout, trace: TraceFile, first: dict[str, Any]
) -> tuple[str, str]:
    """The column that was named, is known, or alone holds dates; and how it was found."""
    if trace.time_column is not None:
        return _named(path, layout.names, trace.time_column), ""
    known = trace_columns.time_column(layout.names)
    if known is not None:
        return known, ""
    if len(layout.names) == 1:
        return layout.names[0], ", the only column"
    by_value = [name for name, value in first.items() if timestamps.is_date(value)]
    by_value = by_value or [name for name, value in first.items() if timestamps.is_epoch(value)]
    if len(by_value) == 1:
        return by_value[0], ", the one column that may be a time"
    raise TraceError(
        f"{path}: which column is the time? Name it with time_column (--time-column): "
        f"{', '.join(layout.names)}"
    )


def _named(path: Path, header: Sequence[str], wanted: str) -> str:
    if wanted not in header:
        raise TraceError(f"{path} has no column {wanted!r}{nearest(wanted, header)}")
    return wanted


def _may_be_number(value: Any) -> bool:
    """Whether a column that begins with it may hold numbers, if not as they should be written."""
    if value is None or isinstance(value, str):  # one that is written oddly is no word for that
        return FIGURE.fullmatch(value or "") is not None
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _check_span(path: Path, name: str, times: Array) -> None:
    if times[-1] == 0:
        raise TraceError(
            f"{path}: all {times.size} rows have the same time; a trace needs a span (a "
            "spreadsheet that writes 1.76E+12 has rounded them: save them with all their digits)"
        )
    if times[-1] > LONGEST_S:
        raise TraceError(
            f"{path}: column {name!r} spans {times[-1] / 86400:,.0f} days; see time_scale "
            "(--time-scale 0.001 where it is in milliseconds)"
        )


def _order(path: Path, trace: TraceFile, name: str, values: Array) -> npt.NDArray[np.int64]:
    """The rows in the order of their times."""
    back = np.flatnonzero(np.diff(values) < 0)
    if back.size and not trace.sort:
        at = int(back[0])
        raise TraceError(
            f"{path}: row {at + 1 + first_row(path)}, column {name!r}: {values[at + 1]:.15g} comes "
            f"after {values[at]:.15g}. Sort the rows by time, or let it be done with sort (--sort)"
        )
    return np.argsort(values, kind="stable")


def _check_bins(path: Path, trace: TraceFile, others: Sequence[str]) -> None:
    """That nothing is asked of bins which only arrivals can have."""
    for kind in ("rate", "count", *ASKS):
        if wanted := getattr(trace, f"{kind}_column"):
            _named(path, others, wanted)
    needless = [f"{kind}_column" for kind in ASKS if getattr(trace, f"{kind}_column")]
    needless += ["jitter"] if trace.jitter > 0 else []
    if needless:
        raise TraceError(
            f"{path}: its rows are bins, and {needless[0]} is of rows that are arrivals: leave it "
            "out"
        )


def _bins(
    seen: Seen, trace: TraceFile, order: npt.NDArray[np.int64], taken: Taken
) -> tuple[Bins, list[str]]:
    name = taken.column or ""
    path = seen.path
    values = read_columns(path, [name]).numbers[name][order]
    begins, firsts = np.unique(seen.times, return_index=True)
    labels = [each for each in seen.others if each not in seen.numeric]
    if begins.size < seen.times.size and not labels:
        row = int(order[np.flatnonzero(np.diff(seen.times) == 0)[0] + 1]) + first_row(path)
        raise TraceError(
            f"{path}: row {row}, column {seen.time_name!r}: two bins start at once; each row of a "
            "rate or count needs a time of its own"
        )
    sums = np.add.reduceat(values, firsts)
    if not sums.any():
        raise TraceError(f"{path}: column {name!r} is 0 in every row")
    _check_counter(path, name, sums)
    grid = grid_of(begins, usual=0.0)
    edges, per_bin = _edges(begins, sums, grid)
    widths = np.diff(edges)
    rates = per_bin / (widths if taken.unit_s is None else taken.unit_s) * trace.rate_scale
    try:
        bins = Bins(edges_s=tuple(edges.tolist()), rates_per_s=tuple(rates.tolist()))
    except ValueError as err:  # a scale took them out of any range
        raise TraceError(f"{path}: column {name!r}: {err}") from err
    unit = {1.0: "second", 60.0: "minute", 3600.0: "hour", 86400.0: "day"}.get(taken.unit_s or 0.0)
    what = f"{name!r} " + ("counts its requests" if unit is None else f"is requests a {unit}")
    if grid is None:
        line = f"rows: each is a bin that lasts until the next, and {what}"
    else:
        line = f"rows: each is a bin of {format_duration(grid.step_s)}, and {what}"
    if grid is not None and grid.missing:
        total = begins.size + grid.missing
        line += f"; {grid.missing:,} of {total:,} bins have no row and are taken as 0"
    if begins.size < seen.times.size:
        line += f"; rows of one time ({', '.join(labels[:NAMED])}) are added up"
    return bins, [line, *_left_out([each for each in seen.others if each != name])]


def _check_counter(path: Path, name: str, values: Array) -> None:
    grows = values.size > 2 and bool((np.diff(values) >= 0).all()) and values[-1] > values[0]
    if grows and {"total", "cumulative", "cum"} & set(tokens(name)):
        raise TraceError(
            f"{path}: column {name!r} grows from row to row, as a running total does: write what "
            "came in each bin (the differences)"
        )


def _edges(begins: Array, values: Array, grid: Grid | None) -> tuple[Array, Array]:
    """Edges and values of bins, those that are missing on their grid put in as 0."""
    gaps = np.diff(begins)
    if grid is None:
        return np.append(begins, begins[-1] + gaps[-1]), values
    holes = np.flatnonzero(np.rint(gaps / grid.step_s) > 1)
    edges = np.append(begins, begins[-1] + grid.step_s)
    edges = np.insert(edges, holes + 1, begins[holes] + grid.step_s)
    return edges, np.insert(values, holes + 1, 0.0)


def _arrivals(
    seen: Seen, trace: TraceFile, order: npt.NDArray[np.int64], seed: int
) -> tuple[Arrivals, list[str]]:
    columns = _asked_columns(seen, trace)
    asks = {name: values[order] for name, values in _asks(seen.path, columns).items()}
    said = ["rows: each is an arrival"]
    if columns:
        said.append(f"{ASKED_FOR} what {', '.join(map(repr, columns.values()))} tell")
    silent = {kind: int((asks[kind] == 0).sum()) for kind in WHOLE if kind in asks}
    said += [
        f"{rows:,} rows tell nothing in {columns[kind]!r}: the scenario's is asked for"
        for kind, rows in silent.items()
        if rows
    ]
    left = [name for name in seen.others if name not in columns.values()]
    return _scaled(Arrivals(seen.times, asks), trace, seed), [*said, *_left_out(left)]


def _left_out(names: Sequence[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return [f"left out: {', '.join(map(repr, names[:NAMED]))}{more}"]


def _asked_columns(seen: Seen, trace: TraceFile) -> dict[str, str]:
    """What kind of thing each row asked for -> the column that tells."""
    columns = {}
    names = [each for each in seen.others if each not in trace_columns.of_the_input(seen.others)]
    for kind in ASKS:
        wanted = getattr(trace, f"{kind}_column")
        name = trace_columns.known_column(names, kind)
        if wanted is not None:
            name = _named(seen.path, seen.others, wanted)
        if name is not None:
            columns[kind] = name
    return columns


def _asks(path: Path, columns: dict[str, str]) -> dict[str, Rows]:
    """What each row asked for, as far as the trace tells; 0 where it does not."""
    numbers = list(dict.fromkeys(name for kind, name in columns.items() if kind in WHOLE))
    words = list(dict.fromkeys(name for kind, name in columns.items() if kind not in WHOLE))
    if not columns:
        return {}
    table = read_columns(path, numbers, words, optional=numbers)
    asks: dict[str, Rows] = {}
    for kind, (least, most) in WHOLE.items():
        if name := columns.get(kind):
            asks[kind] = _whole(path, name, table.numbers[name], least, most)
    if name := columns.get("size"):
        asks |= _sizes(path, name, *table.words[name])
    if name := columns.get("user"):
        asks["user"] = (table.words[name][0] + 1).astype(np.uint32)
    return asks


def _whole(path: Path, name: str, values: Array, least: int, most: int) -> Rows:
    bad = np.flatnonzero((values < least) | (values > most) | (values != np.floor(values)))
    bad = bad[~np.isnan(values[bad])]
    if bad.size:
        at = int(bad[0])
        raise TraceError(
            f"{path}: row {at + first_row(path)}, column {name!r}: {values[at]:g} is no whole "
            f"number from {least} to {most:,}"
        )
    return np.nan_to_num(values).astype(np.uint16)


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
