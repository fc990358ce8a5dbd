"""Recorded arrivals as a value: instants, and what each asked for. Pure."""

import functools
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Rows = npt.NDArray[Any]

MAX_PARTS = 60  # a trace's rate is looked at in so many equal parts ...
MIN_IN_PEAK = 100  # ... or in fewer, until the busiest holds so many: of 7, chance makes 12


class Arrivals(msgspec.Struct, frozen=True, dict=True):
    """Recorded instants, seconds from the first, sorted; and what each row asked for.

    `asks` maps "steps", "images", "width", "height", "prompt_chars" and "user" (a number for each
    different one, from 1) to an array as long as `times_s`, as far as the trace tells; 0 where a
    row does not tell. Of a stretch of a trace, `times_s` counts from its begin and `span_s` is its
    length.
    """

    times_s: Array
    asks: dict[str, Rows] = {}
    span_s: float | None = None

    @property
    def duration_s(self) -> float:
        """From the first arrival to the last, and the mean gap beyond it; or the stretch's."""
        if self.span_s is not None:
            return self.span_s
        return float(self.times_s[-1]) * self.times_s.size / (self.times_s.size - 1)

    def peak_per_s(self) -> float:
        """The highest rate among `parts` equal parts of the duration."""
        return self._peak[0]

    @property
    def parts(self) -> int:
        """The most equal parts, up to MAX_PARTS, whose busiest holds MIN_IN_PEAK arrivals; or 1.

        The busiest of bins of 7 Poisson arrivals each has 14: a peak that is chance, by which
        everything else would be scaled.
        """
        return self._peak[1]

    @functools.cached_property
    def _peak(self) -> tuple[float, int]:
        return busiest_part(self.times_s, self.duration_s)

    @property
    def batched_share(self) -> float:
        """Share of the rows that came at the very instant of the one before."""
        return float(np.mean(np.diff(self.times_s) == 0))

    def take(self, times_s: Array, rows: npt.NDArray[np.int64]) -> "Arrivals":
        """Arrivals at `times_s` that ask for what `rows` asked for."""
        asks = {name: values[rows] for name, values in self.asks.items()}
        return Arrivals(times_s, asks, self.span_s)


def busiest_part(times_s: Array, duration_s: float) -> tuple[float, int]:
    """Arrivals/s in the busiest of equal parts of the duration, and how many parts there are.

    As many as MAX_PARTS, or fewer, so that the busiest holds MIN_IN_PEAK arrivals.
    """
    most = min(MAX_PARTS, max(1, times_s.size // 2))
    for parts in range(most, 0, -1):
        counts, _ = np.histogram(times_s, bins=parts, range=(0.0, duration_s))
        if counts.max() >= MIN_IN_PEAK or parts == 1:
            break
    return float(counts.max()) * parts / duration_s, parts
