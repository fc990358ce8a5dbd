"""Whether a trace's rows are arrivals or bins. Pure.

Nothing is taken for bins because it is evenly spaced, or for arrivals because it is not. The
columns decide: one that counts requests (by its name) makes bins where the times lie on a grid,
with rows missing or not; what describes single requests makes arrivals. Whatever is left is
refused, with both ways out.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NoReturn

import msgspec
import numpy as np
import numpy.typing as npt

from loadtest.errors import TraceError
from loadtest.scenario.scenario import TraceFile
from loadtest.traces import columns

Array = npt.NDArray[np.float64]

ASKS = ("steps", "images", "prompt_chars", "size", "user")
ON_GRID = 0.1  # of a step: so far off is the clock's doing
USUAL = 0.5  # at least this share of the gaps is one step
PANEL = 0.8  # share of instants with equally many rows: as many series side by side


class Grid(msgspec.Struct, frozen=True):
    """Evenly spaced times, some perhaps missing."""

    step_s: float
    missing: int
    usual: float  # share of the gaps that are one step


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What the rows are."""

    rows: Literal["arrivals", "bins"]
    column: str | None = None  # of bins: what counts
    unit_s: float | None = None  # of a rate: the seconds it is told for; None: a count of the bin
    told: bool = False  # by the user


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a trace before its rows are taken for something."""

    path: Path
    time_name: str
    times: Array  # sorted
    others: tuple[str, ...]  # names of the other columns
    numeric: frozenset[str]  # those whose first row is a number
    known_as: str | None = None  # bins by a published format


def grid_of(times: Array, usual: float = USUAL) -> Grid | None:
    """The grid that sorted times without repeats lie on, None where they do not.

    Its step is the median of the gaps that are near the smallest; every gap is a whole number of
    steps within ON_GRID, and at least the share `usual` of them are one.
    """
    gaps = np.diff(times)
    if gaps.size == 0 or gaps[0] <= 0:
        return None
    step = float(np.median(gaps[gaps < 1.5 * gaps.min()]))
    steps = np.rint(gaps / step)
    found = float(np.mean(steps == 1))
    if np.any(np.abs(gaps - steps * step) > ON_GRID * step) or found < usual:
        return None
    return Grid(step, int(steps.sum()) - steps.size, found)


def take(seen: Seen, trace: TraceFile) -> Taken:
    """What the rows are.

    Raises:
        TraceError: words that contradict each other, or it is not certain.
    """
    named = trace.rate_column or trace.count_column
    if trace.rate_column and trace.count_column:
        raise TraceError(f"{seen.path}: give rate_column or count_column, not both")
    if named is not None:
        if trace.rows == "arrivals":
            raise TraceError(
                f'{seen.path}: rows = "arrivals" (--rows) has no rate_column or count_column: '
                "leave one of the two out"
            )
        unit_s = None if trace.count_column else columns.rate_unit_s(named) or 1.0
        return Taken(rows="bins", column=named, unit_s=unit_s, told=True)
    if seen.known_as is not None:
        return Taken(rows="bins", column="rps", unit_s=1.0)
    asked = [kind for kind in ASKS if getattr(trace, f"{kind}_column")]
    if trace.rows == "arrivals" or (asked and trace.rows is None):
        return Taken(rows="arrivals", told=True)
    return _by_columns(seen, trace.rows == "bins")


def _by_columns(seen: Seen, must_be_bins: bool) -> Taken:
    instants = np.unique(seen.times)
    grid = grid_of(instants)
    repeated = instants.size < seen.times.size
    rates = [name for name in seen.others if columns.rate_unit_s(name)]
    counting = [name for name in seen.others if name not in rates and columns.counts(name)]
    counters = [name for name in (*rates, *counting) if name in seen.numeric]
    asks = [name for kind in ASKS if (name := columns.known_column(seen.others, kind))]
    if counters:
        labels = [name for name in seen.others if name not in seen.numeric]
        certain = grid is not None or must_be_bins
        if repeated and not labels and not must_be_bins:
            certain = False
        if asks and not rates and not must_be_bins:
            certain = False
        if len(counting) > 1 and not rates:
            numeric = [name for name in counting if name in seen.numeric]
            if len(numeric) > 1:
                told = f"{numeric[0]!r} and {numeric[1]!r} both count by their names"
                _refuse(seen, told, numeric)
        if certain:
            name = counters[0]
            return Taken(rows="bins", column=name, unit_s=columns.rate_unit_s(name))
        spaced = "its times are on no grid" if grid is None else "some rows have the same time"
        if asks and grid is not None and not repeated:
            spaced = f"{asks[0]!r} is of one request"
        _refuse(seen, f"{counters[0]!r} counts by its name, but {spaced}", counters)
    figures = [name for name in seen.others if name in seen.numeric and name not in asks]
    vague = [name for name in figures if columns.is_vague(name)]
    unknown = [name for name in figures if not columns.describes_request(name)]
    describing = [name for name in seen.others if columns.describes_request(name)]
    if must_be_bins or (columns.is_bin_time(seen.time_name) and not asks):
        _refuse(seen, "no column counts requests by its name", figures or list(seen.others))
    if vague:
        _refuse(seen, f"{vague[0]!r} may count requests, or anything else", figures)
    if unknown and repeated and _is_panel(seen.times, instants):
        _refuse(seen, "every time has equally many rows, as series side by side have", unknown)
    is_even = not repeated and grid is not None and grid.usual > USUAL and instants.size > 2
    if unknown and is_even and not asks:
        _refuse(seen, "its times are evenly spaced", unknown)
    if is_even and asks == [columns.known_column(seen.others, "images")] and not describing:
        _refuse(seen, f"its times are evenly spaced and {asks[0]!r} may be of a bin", asks)
    return Taken(rows="arrivals")


def _is_panel(times: Array, instants: Array) -> bool:
    """Whether nearly every instant has the same number of rows."""
    rows = np.diff(np.searchsorted(times, instants), append=times.size)
    return instants.size > 2 and float(np.mean(rows == np.median(rows))) >= PANEL


def _refuse(seen: Seen, why: str, candidates: Sequence[str]) -> NoReturn:
    names = ", ".join(candidates) or "there is none"
    raise TraceError(
        f"{seen.path}: {why}, so its rows may be bins or arrivals. If bins, which column counts "
        f"requests? Name it with rate_column or count_column ({names}): --rate-column or "
        '--count-column. If each row is one arrival: rows = "arrivals" (--rows arrivals)'
    )
