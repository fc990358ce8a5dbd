"""A stretch of a trace, at real speed: so long, at its busiest or from a given time. Pure."""

import re

import msgspec
import numpy as np
import numpy.typing as npt

from loadtest.errors import TraceError
from loadtest.traffic.curve import Bins
from loadtest.traffic.recorded import Arrivals
from loadtest.units import format_duration, parse_duration

Array = npt.NDArray[np.float64]


class Stretch(msgspec.Struct, frozen=True):
    """How long, and from when."""

    length_s: float
    begin_s: float | None = None  # from the trace's begin; None: where most arrivals are


def parse_stretch(text: str) -> Stretch:
    """The stretch of "10min@peak", "10min@02:30:00" or "10min@2.5h".

    Raises:
        ValueError: not of that form.
    """
    length, at, where = text.partition("@")
    try:
        length_s = float(parse_duration(length))
        if not at or length_s <= 0:
            raise ValueError
        begin_s = None if where.strip().lower() == "peak" else _offset_s(where)
    except ValueError:
        raise ValueError(
            'expected a length and a place in the trace such as "10min@peak" or "10min@02:30:00" '
            f"(from its begin), got {text!r}"
        ) from None
    return Stretch(length_s, begin_s)


def _offset_s(text: str) -> float:
    if match := re.fullmatch(r"\s*([0-9]+):([0-5][0-9])(?::([0-5][0-9](?:\.[0-9]+)?))?\s*", text):
        return 3600.0 * int(match[1]) + 60.0 * int(match[2]) + float(match[3] or 0)
    return float(parse_duration(text))


def cut(shape: Arrivals | Bins, stretch: Stretch) -> tuple[Arrivals | Bins, str]:
    """The stretch alone, its time from 0, and which it is, in words.

    Raises:
        TraceError: it reaches beyond the trace's end, or holds fewer than two arrivals.
    """
    length_s = stretch.length_s
    end_s = length_s + (stretch.begin_s or 0.0)
    if end_s > shape.duration_s * (1 + 1e-9):
        where = "" if stretch.begin_s is None else f" from {format_duration(stretch.begin_s)} on"
        raise TraceError(
            f"window: {format_duration(length_s)}{where} reaches beyond the trace, which lasts "
            f"{format_duration(shape.duration_s)}: name a shorter or an earlier one (--window)"
        )
    begin_s = _busiest(shape, length_s) if stretch.begin_s is None else stretch.begin_s
    part = _arrivals(shape, begin_s, length_s) if isinstance(shape, Arrivals) else (
        _bins(shape, begin_s, length_s)
    )  # fmt: skip
    which = "busiest " if stretch.begin_s is None else ""
    words = (
        f"the {which}{format_duration(length_s)} of its {format_duration(shape.duration_s)}, "
        f"from {clock(begin_s)} on"
    )
    return part, words


def clock(seconds: float) -> str:
    """`9000.0` as "02:30:00"."""
    whole = round(seconds)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"


def _busiest(shape: Arrivals | Bins, length_s: float) -> float:
    """Where the stretch with the most arrivals begins: at an arrival, or at a bin's edge."""
    latest = max(0.0, shape.duration_s - length_s)
    if isinstance(shape, Arrivals):
        begins = np.minimum(shape.times_s, latest)
        ends = np.searchsorted(shape.times_s, begins + length_s, side="right")
        inside = ends - np.searchsorted(shape.times_s, begins)
        return float(begins[int(np.argmax(inside))])
    edges = np.asarray(shape.edges_s)
    begins = np.unique(np.clip(np.concatenate([edges, edges - length_s]), 0.0, latest))
    counted = shape.integral(begins + length_s) - shape.integral(begins)
    return float(begins[int(np.argmax(counted))])


def _arrivals(shape: Arrivals, begin_s: float, length_s: float) -> Arrivals:
    rows = np.flatnonzero((shape.times_s >= begin_s) & (shape.times_s < begin_s + length_s))
    if rows.size < 2:
        raise TraceError(
            f"window: from {clock(begin_s)} on, {format_duration(length_s)} of the trace hold "
            f"{rows.size} arrivals: name a longer one, or 'peak' (--window)"
        )
    part = shape.take(shape.times_s[rows] - begin_s, rows)
    return Arrivals(part.times_s, part.asks, length_s)


def _bins(shape: Bins, begin_s: float, length_s: float) -> Bins:
    edges = np.asarray(shape.edges_s)
    inner = edges[(edges > begin_s) & (edges < begin_s + length_s)]
    cuts = np.concatenate([[begin_s], inner, [begin_s + length_s]])
    rates = shape.rate((cuts[:-1] + cuts[1:]) / 2)
    if not rates.any():
        raise TraceError(
            f"window: from {clock(begin_s)} on, {format_duration(length_s)} of the trace hold no "
            "arrival: name another, or 'peak' (--window)"
        )
    return Bins(edges_s=tuple((cuts - begin_s).tolist()), rates_per_s=tuple(rates.tolist()))
