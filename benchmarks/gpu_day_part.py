"""What every part of a GPU day shares: its command line, its figures, and attempts that may fail.

Each measurement is an attempt: what it raises becomes the note of the figure that is lacking, the
log gets the traceback, the next one begins, and the part's exit code is 1 at its end. A measurement
that this machine cannot make is no failure: its figure says what it needs.
"""

import argparse
import contextlib
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from benchmarks.gpu_day_figures import Book, Figure, read, value_of

Result = TypeVar("Result")
NEEDS_GPU = "needs a GPU"
CLOCK = "wall clock"


class Overdue(Exception):  # noqa: N818 - not an error of what is measured
    """An attempt took longer than it may."""


class Session:
    """One part as it runs.

    Args:
        name: Of the part.
        out: The day's folder.
        device: `cuda` or `cpu`.
        rehearse: Whether tiny models and short times stand in.

    Attributes:
        book: Where its figures go.
    """

    def __init__(self, name: str, out: Path, device: str, *, rehearse: bool) -> None:
        self.name = name
        self.out = out
        self.device = device
        self.rehearse = rehearse
        self.book = Book(out / "figures.jsonl", name)
        self._began_s = time.monotonic()
        self._failed = False

    @property
    def on_gpu(self) -> bool:
        """Whether CUDA is there to be measured."""
        return self.device == "cuda"

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._began_s

    def earlier(self) -> list[Figure]:
        """All figures of the day so far."""
        return read(self.book_path)

    @property
    def book_path(self) -> Path:
        """The day's file of figures."""
        return self.out / "figures.jsonl"

    def value(self, part: str, name: str) -> float | None:
        """An earlier part's figure; None where it is not there."""
        return value_of(self.earlier(), part, name)

    def attempt(
        self, name: str, unit: str, run: Callable[[], Result], limit_s: float = 3600.0
    ) -> Result | None:
        """What it returns; None if it raises, or takes longer than `limit_s`, which is noted."""
        try:
            with limited(limit_s):
                return run()
        except Exception as err:  # noqa: BLE001 - the other figures must not be lost to it
            traceback.print_exc()
            reason = (str(err).strip() or "no reason given").splitlines()[0]
            self.book.lack(name, unit, f"{type(err).__name__}: {reason}")
            self._failed = True
            return None

    def end(self) -> int:
        """The part's exit code."""
        return 1 if self._failed else 0


def session(module: str, doc: str | None, argv: list[str] | None) -> tuple[Session, list[str]]:
    """A part's session and the words of its own, from its command line."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{module}", description=doc)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("words", nargs="*")
    parser.add_argument("--part", required=True, help="its name in the figures")
    parser.add_argument("--out", type=Path, required=True, help="the day's folder")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--rehearse", action="store_true", help="tiny models, short times")
    told = parser.parse_args(argv)
    return Session(told.part, told.out, told.device, rehearse=told.rehearse), told.words


@contextlib.contextmanager
def limited(limit_s: float) -> Iterator[None]:
    """Within, what takes longer is broken off between two lines of Python; main thread only.

    Raises:
        Overdue: It took longer.
    """

    def overdue(_number: int, _frame: object) -> None:
        raise Overdue(f"broken off after {limit_s:g} s")

    before = signal.signal(signal.SIGALRM, overdue)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
