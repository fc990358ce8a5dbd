"""How far long work is, on stderr: a line redrawn in place on a terminal, else one now and then."""

import os
import time
from collections.abc import Callable
from typing import TextIO

from loadtest.units import format_duration

DUMB = ("dumb", "unknown")  # terminals that can redraw nothing, as rich has them
REDRAWN_EVERY_S = 0.2
PLAIN_EVERY_S = 10.0


class Progress:
    """Shares of one piece of work after another.

    Args:
        stream: Where it is shown.
        clock: Monotonic seconds.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._is_terminal = stream.isatty() and os.environ.get("TERM") not in DUMB
        self._every_s = REDRAWN_EVERY_S if self._is_terminal else PLAIN_EVERY_S
        self._begun_s = self._shown_s = clock()
        self._is_drawn = False
        self._what = ""

    def show(self, what: str, share: float) -> None:
        """Tell the share done, 0 .. 1, unless something was told a moment ago."""
        now_s = self._clock()
        if what != self._what:  # what is left of it is told from its own pace
            self._what, self._begun_s = what, now_s
        if now_s - self._shown_s < self._every_s:
            return
        self._shown_s = now_s
        words = f"{what}: {100 * share:.0f}%"
        if share > 0.02:
            left_s = (now_s - self._begun_s) * (1.0 - share) / share
            words += f", about {format_duration(round(left_s))} left"
        self._stream.write(f"\r{words}\x1b[K" if self._is_terminal else f"{words}\n")
        self._stream.flush()
        self._is_drawn = self._is_terminal

    def clear(self) -> None:
        """Take the redrawn line away, so that others can write."""
        if self._is_drawn:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._is_drawn = False
