"""The parts of a GPU day: their order, time-outs and command lines. Pure.

The order is what a day that breaks off should have found first. Each part may use a figure of an
earlier one, with a fallback of its own, and none needs another to have run.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

END_S = 8.0  # kept for the table and the archive


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One part.

    Attributes:
        name: Of it.
        module: Of this package, run as `python -m benchmarks.` and its name.
        words: Its arguments.
        expected_s: What it should take on an H200, on paper: with less left it is not begun.
        limit_s: Its time-out, where the budget has so much left.
        rehearsal_s: Its time-out on a CPU with the tiny models.
    """

    name: str
    module: str
    words: tuple[str, ...] = ()
    expected_s: float
    limit_s: float
    rehearsal_s: float


PARTS = (
    Part(name="environment", module="gpu_day_environment",
         expected_s=15, limit_s=40, rehearsal_s=40),
    Part(name="smoke", module="gpu_day_smoke",
         expected_s=25, limit_s=60, rehearsal_s=90),
    Part(name="sdxl", module="gpu_day_model", words=("sdxl",),
         expected_s=90, limit_s=140, rehearsal_s=120),
    Part(name="http", module="gpu_day_http",
         expected_s=150, limit_s=210, rehearsal_s=180),
    Part(name="sd15", module="gpu_day_model", words=("sd15",),
         expected_s=45, limit_s=80, rehearsal_s=120),
    Part(name="ablation", module="gpu_day_ablation",
         expected_s=120, limit_s=170, rehearsal_s=180),
    Part(name="sampler", module="gpu_day_sampler",
         expected_s=50, limit_s=75, rehearsal_s=120),
    Part(name="tests", module="gpu_day_tests",
         expected_s=35, limit_s=90, rehearsal_s=90),
)  # fmt: skip
NAMES = tuple(part.name for part in PARTS)


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line decides."""

    out: Path
    only: tuple[str, ...] = ()
    rehearse: bool = False
    device: str = "cuda"
    budget_s: float = 590.0


def chosen(asked: Asked, parts: Sequence[Part] = PARTS) -> list[Part]:
    """The parts that are asked for, in their order."""
    return [part for part in parts if not asked.only or part.name in asked.only]


def time_for(part: Part, left_s: float, *, rehearse: bool) -> float | None:
    """The time-out of a part with so many seconds left of the budget; None: it does not fit.

    A rehearsal's parts have no expected time, and begin while any is left.
    """
    room_s = left_s - END_S
    if room_s < (1.0 if rehearse else part.expected_s):
        return None
    return min(room_s, part.rehearsal_s if rehearse else part.limit_s)


def command(part: Part, asked: Asked) -> list[str]:
    """The part's command line."""
    line = [sys.executable, "-m", f"benchmarks.{part.module}", *part.words]
    line += ["--part", part.name, "--out", str(asked.out), "--device", asked.device]
    return [*line, "--rehearse"] if asked.rehearse else line
