"""Whether a soak held: memory flat, the record whole, nothing left. Pure.

A process is flat if the median of its memory in the last sixth of the load, warm-up left out, is at
most `GROWTH`, or `SMALL_MIB` of a small one, above that of the first sixth. Medians do not see
single looks that fell into a burst or an outage. The slope beside it is Theil's and Sen's, the
median of the slopes between all pairs of points (Sen, Estimates of the Regression Coefficient Based
on Kendall's Tau, JASA 1968).
"""

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

GROWTH = 0.05  # of memory
SMALL_MIB = 1.0  # 5 % of HAProxy's own are two hundred kilobytes
MORE = 16  # threads or open files beyond `GROWTH` that are no growth
PARTS = 6
POINTS = 120  # at most, whose slopes are taken in pairs
LASTING = (
    "driver", "generator", "sampler", "server", "haproxy", "replica", "replica-2", "controller",
    "proxy", "raylet", "gcs",
)  # fmt: skip

Array = npt.NDArray[np.float64]


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """A process at one instant."""

    t_s: float  # since the load began
    process: str
    rss_bytes: int
    anonymous_bytes: int
    threads: int
    files: int
    files_limit: int


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One reading of a process over a soak: medians of its first and last sixth."""

    first: float
    last: float
    most: float
    per_hour: float  # Theil-Sen slope


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """A process over a soak."""

    looks: int
    rss_mib: Change
    anonymous_mib: Change
    threads: Change
    files: Change
    files_limit: int


class Records(msgspec.Struct, frozen=True, kw_only=True):
    """What the run folder holds."""

    scheduled: int
    outcomes: dict[str, int]  # of requests
    attempts: int
    missing: int
    duplicates: int
    strangers: int
    contradictions: int
    damaged_lines: int
    unsent: int


def over_time(looks: Sequence[Look], warm_up_s: float, end_s: float) -> dict[str, Process]:
    """Each process by name, from the warm-up's end to the load's; one hardly seen is left out."""
    found = {}
    for name in dict.fromkeys(look.process for look in looks):
        own = [look for look in looks if look.process == name and warm_up_s <= look.t_s <= end_s]
        if len(own) >= PARTS:
            found[name] = _process(own, warm_up_s, end_s)
    return found


def change(t_s: Array, values: Array, begin_s: float, end_s: float) -> Change:
    """A reading's change from the first sixth of a span to the last.

    A sixth without a point takes the nearest one.
    """
    part_s = (end_s - begin_s) / PARTS
    early = values[t_s <= max(begin_s + part_s, t_s[0])]
    late = values[t_s >= min(end_s - part_s, t_s[-1])]
    return Change(
        first=float(np.median(early)),
        last=float(np.median(late)),
        most=float(values.max()),
        per_hour=3600 * slope(t_s, values),
    )


def slope(t_s: Array, values: Array) -> float:
    """The median of the slopes between all pairs of `POINTS` points at most; 0 of one point."""
    rows = np.unique(np.linspace(0, len(t_s) - 1, min(len(t_s), POINTS)).astype(np.int64))
    one, two = np.triu_indices(len(rows), k=1)
    if not one.size:
        return 0.0
    run = t_s[rows][two] - t_s[rows][one]
    return float(np.median((values[rows][two] - values[rows][one]) / run))


def faults(
    processes: dict[str, Process], records: Records, left: Sequence[str], looks: Sequence[Look]
) -> list[str]:
    """What did not hold, in words; empty where all did."""
    return [
        *(f"{name}: was not seen from the warm-up on" for name in LASTING if name not in processes),
        *_changed(looks),
        *(said for name in processes for said in _grown(name, processes[name])),
        *_of_records(records),
        *(f"left behind: {name}" for name in left),
    ]


def _changed(looks: Sequence[Look]) -> list[str]:
    """Those that should last and ended, or came anew."""
    if not looks:
        return []
    last_s = max(look.t_s for look in looks)
    there = {look.process for look in looks if look.t_s == last_s}
    ended = [name for name in LASTING if name not in there]
    seen = dict.fromkeys(look.process for look in looks)
    more = [n for n in seen if n.rpartition("-")[0] in LASTING and n not in LASTING]
    return [
        *(f"{name}: ended before the load did" for name in ended),
        *(f"{name}: came while the load was on" for name in more),
    ]


def _grown(name: str, process: Process) -> list[str]:
    said = []
    for field, unit in (("rss_mib", "MiB resident"), ("anonymous_mib", "MiB anonymous")):
        reading: Change = getattr(process, field)
        if reading.last > reading.first + max(GROWTH * reading.first, SMALL_MIB):
            said.append(
                f"{name}: {reading.first:.1f} to {reading.last:.1f} {unit}, "
                f"{100 * (reading.last / reading.first - 1):.1f} % more"
            )
    for field in ("threads", "files"):
        reading = getattr(process, field)
        if reading.last > (1 + GROWTH) * reading.first + MORE:
            said.append(f"{name}: {reading.first:.0f} to {reading.last:.0f} {field}")
    return said


def _of_records(records: Records) -> list[str]:
    said = [
        f"record: {getattr(records, field):,} {field.replace('_', ' ')}"
        for field in ("missing", "duplicates", "strangers", "contradictions", "damaged_lines")
        if getattr(records, field)
    ]
    ended = sum(records.outcomes.values())
    if ended != records.scheduled:
        said.append(f"record: {ended:,} outcomes of {records.scheduled:,} scheduled requests")
    return said


def _process(looks: Sequence[Look], begin_s: float, end_s: float) -> Process:
    t_s = np.array([look.t_s for look in looks])

    def of(field: str, unit: float = 1.0) -> Change:
        values = np.array([getattr(look, field) for look in looks], np.float64) / unit
        return change(t_s, values, begin_s, end_s)

    return Process(
        looks=len(looks),
        rss_mib=of("rss_bytes", 2.0**20),
        anonymous_mib=of("anonymous_bytes", 2.0**20),
        threads=of("threads"),
        files=of("files"),
        files_limit=min(look.files_limit for look in looks),
    )
