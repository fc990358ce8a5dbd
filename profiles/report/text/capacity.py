"""A what-if in words, for a terminal. Pure."""

import textwrap
from collections.abc import Sequence

from profiles import formats
from profiles.capacity.bill import Line
from profiles.capacity.sweep import Point
from profiles.report.text import tables
from profiles.schema import Capacity

WIDTH = 96
BAR = 30


def capacity_text(capacity: Capacity, lines: Sequence[Line], record: str, notes: list[str]) -> str:
    """The block's figure, its interval, what moves it, what it stands on, and the bill."""
    block = formats.images_per_s(capacity.block_images_per_s)
    told = [f"{formats.count(capacity.block_gpus)} GPUs: {block}, {tables.reach(capacity)}"]
    for sentence in [*capacity.loud, *notes]:
        told += textwrap.wrap(f"! {sentence}", WIDTH, subsequent_indent="  ")
    told += ["", f"what it stands on, each between its {formats.share(capacity.level)} bounds"]
    told += [*_factors(capacity), "", "what moves it most", *_tornado(capacity)]
    if capacity.blocks_for_peak is not None:
        low = formats.number(capacity.blocks_for_peak_low)
        high = formats.number(capacity.blocks_for_peak_high)
        needs = f"the peak of {tables.peak_of(capacity)} needs {tables.blocks(capacity)}"
        told += ["", *textwrap.wrap(f"{needs}: {low} to {high} blocks", WIDTH)]
    if lines:
        told += ["", *_table(lines)]
    told += ["", *textwrap.wrap(f"ledger: {record}", WIDTH)]
    return "\n".join(told) + "\n"


def sweep_text(title: str, unit: str, points: Sequence[Point]) -> str:
    """A sweep as rows with bars: x, goodput, interval."""
    most = max((one.high or 0.0 for one in points), default=0.0) or 1.0
    rows = [title]
    for one in points:
        at = f"{formats.number(one.x):>10} {unit}"
        if one.value is None or one.low is None or one.high is None:
            rows.append(f"{at}  {'never met' if unit == 's' else formats.UNKNOWN}")
            continue
        bar = "█" * round(BAR * one.low / most)
        bar += "░" * round(BAR * (one.high - one.low) / most)
        span = f"{formats.number(one.low)} to {formats.number(one.high)}"
        rows.append(f"{at}  {formats.number(one.value):>10}  {span:<24} {bar}".rstrip())
    return "\n".join(rows) + "\n"


def _factors(capacity: Capacity) -> list[str]:
    rows = []
    for one in capacity.factors:
        head = f"{one.name:<26}{tables.factor_told(one, capacity.level):<24} {one.stand}: "
        rows += textwrap.wrap(head + one.source, WIDTH, subsequent_indent=" " * 51)
    return rows


def _tornado(capacity: Capacity) -> list[str]:
    rows = []
    for swing in tables.swings(capacity):
        left = round(swing.left_percent / 100.0 * BAR)
        width = max(1, round(swing.width_percent / 100.0 * BAR))
        drawn = (" " * left + "█" * width).ljust(BAR)[:BAR]
        middle = BAR // 2
        drawn = (
            drawn[:middle] + ("│" if drawn[middle] == " " else drawn[middle]) + drawn[middle + 1 :]
        )
        rows.append(f"{swing.name:<26}{drawn} {swing.told}")
    return rows


def _table(lines: Sequence[Line]) -> list[str]:
    wide = max(len(one.what) for one in lines)
    rows = []
    for one in lines:
        head = f"{one.what:<{wide}}  {one.told}  [{one.stand}] "
        rows += textwrap.wrap(head + one.why, WIDTH, subsequent_indent=" " * (wide + 2))
    return rows
