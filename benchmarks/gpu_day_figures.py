"""What a GPU day finds: figures, appended to one file as they come, and their table. Pure but that.

A figure is one line of JSON in `figures.jsonl`, written whole and flushed, so that a part which is
killed keeps what it had found, and a later one can read it. One that cannot be had says why in its
note and has no value.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

Value = float | int | str | None


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One thing found.

    Attributes:
        part: Of the day.
        name: What it is; unique within its part.
        value: None where it could not be had.
        unit: Of the value, such as `s`; `text` for words.
        source: How it was got, such as `CUDA events, median of 40`.
        note: What a reader must know, or why there is no value.
    """

    part: str
    name: str
    value: Value
    unit: str
    source: str
    note: str = ""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What a figure is held against; `basis` says where the number comes from."""

    part: str
    name: str
    bound: float
    at_least: bool  # else at most
    basis: str

    def met(self, value: Value) -> bool | None:
        """Whether a value meets it; None where there is none."""
        if not isinstance(value, int | float):
            return None
        return value >= self.bound if self.at_least else value <= self.bound


# Of one H200 without caching. TensorRT's is NVIDIA's own in MLPerf Inference v5.1, SDXL, Offline,
# 1024 px, 20 steps with guidance; the rest are predictions of the model in docs/performance.md.
TARGETS = (
    Target(part="sdxl", name="images/s, always a full batch", bound=2.0, at_least=True,
           basis="on paper; TensorRT made 2.40 (MLPerf v5.1, Offline)"),
    Target(part="sd15", name="images/s, always a full batch", bound=13.0, at_least=True,
           basis="on paper"),
    Target(part="http", name="latency p99", bound=20.0, at_least=False,
           basis="MLPerf's limit for SDXL, Server"),
)  # fmt: skip


class Book:
    """The file of figures; every process of a day may hold it open.

    Args:
        path: Of `figures.jsonl`.
        part: Whose figures are written here.
    """

    def __init__(self, path: Path, part: str) -> None:
        self._path = path
        self._part = part

    def add(self, name: str, value: Value, unit: str, source: str, note: str = "") -> None:
        """Append a figure; it is on its way to the disk when this returns."""
        figure = Figure(
            part=self._part, name=name, value=value, unit=unit, source=source, note=note
        )
        line = msgspec.json.encode(figure) + b"\n"
        where = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(where, line)  # whole: other processes append, too
        finally:
            os.close(where)

    def lack(self, name: str, unit: str, why: str) -> None:
        """Append that a figure could not be had."""
        self.add(name, None, unit, "none", why)


def read(path: Path) -> list[Figure]:
    """The figures so far; the begun line of a process killed is left out."""
    if not path.is_file():
        return []
    whole = path.read_bytes().rpartition(b"\n")[0]
    return [msgspec.json.decode(line, type=Figure) for line in whole.splitlines()]


def value_of(figures: Sequence[Figure], part: str, name: str) -> float | None:
    """The number of that figure, the latest if told twice; None where there is none."""
    for figure in reversed(figures):
        if (figure.part, figure.name) == (part, name) and isinstance(figure.value, int | float):
            return float(figure.value)
    return None


def table(figures: Sequence[Figure], targets: Sequence[Target] = TARGETS) -> str:
    """All figures, part by part, beside their targets and with how each was got."""
    held: Mapping[tuple[str, str], Target] = {(one.part, one.name): one for one in targets}
    width = max((len(figure.name) for figure in figures), default=0)
    lines: list[str] = []
    part = None
    for figure in figures:
        if figure.part != part:
            part = figure.part
            lines.append(part)
        said = f"  {figure.name:<{width}}  {_shown(figure):>22}"
        target = held.get((figure.part, figure.name))
        if target is not None:
            said += f"  {_against(target, figure)}"
        if figure.value is not None:
            said += f"  [{figure.source}]"
        lines.append(said + (f"  {figure.note}" if figure.note else ""))
    told = {(figure.part, figure.name) for figure in figures}
    lines += [
        f"not measured: {one.part}, {one.name}: {_bound(one)}"
        for one in targets
        if (one.part, one.name) not in told
    ]
    return "\n".join(lines)


def _shown(figure: Figure) -> str:
    if figure.value is None:
        return "—"
    if isinstance(figure.value, str):
        return figure.value
    unit = "" if figure.unit == "text" else f" {figure.unit}"
    return f"{figure.value:,.4g}{unit}" if figure.value < 1e6 else f"{figure.value:.4g}{unit}"


def _against(target: Target, figure: Figure) -> str:
    word = {True: "met", False: "MISSED", None: "unknown"}[target.met(figure.value)]
    return f"{word}: {_bound(target)}"


def _bound(target: Target) -> str:
    return f"target {'>=' if target.at_least else '<='} {target.bound:g} ({target.basis})"
