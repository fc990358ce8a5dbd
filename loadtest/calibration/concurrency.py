"""How many requests to keep in flight until a server completes no more: a closed loop's plan. Pure.

The requests in flight rise level by level. At each, once as many requests have ended as are in
flight, a window counts the images that come back. The server's capacity is reached where twice as
many in flight gain less than GAIN, and a further window as little: what starts slowly would gain by
waiting. A server that refuses what is too much has reached it as well.

For c servers that take D seconds a request, k in flight complete min(k, c) / D of them a second.
"""

import itertools
import math
import statistics
from collections.abc import Sequence

import msgspec
import numpy as np

from profiles.stats.student_t import t_quantile

GAIN = 0.05
STEP = 2  # what is in flight at the next level, times ...
LEAP = 4  # ... or where the last one took all of its step, as a server with room does
ALL_OF_IT = 0.9
WINDOW_S = 3.0
WINDOW_IMAGES = 24
SLOW_S, SLOW_IMAGES = 10.0, 8  # a window of so many seconds may hold fewer
WAVES = 2  # requests that end in a window, for each in flight; one where the level is confirmed
TIME_S = 120.0
MAX_IN_FLIGHT = 4096
MIN_BLOCKS = 4
MAX_BLOCKS = 20
LEVEL = 0.95


class Done(msgspec.Struct, frozen=True):
    """A request that came back in order."""

    t_s: float
    images: int
    latency_s: float


class Window(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What came back at one level.

    Attributes:
        in_flight: Requests.
        images_per_s: Between the first and the last completion, or clusters of them.
        images: Counted.
        seconds: Over which.
        latency_s: The median.
    """

    in_flight: int
    images_per_s: float
    images: int
    seconds: float
    latency_s: float


class Calibration(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What the closed loop found.

    Attributes:
        images_per_s: Completed at the last level.
        images: Counted there.
        seconds: Over which.
        in_flight: Requests, at the last level.
        low_images_per_s: Lower end of the 95% interval; None: too few blocks.
        high_images_per_s: Upper end.
        gain: What the last step up brought, relative; None: there was none.
        limit: What came first, where it was not the server; None: the server did.
    """

    images_per_s: float
    images: int
    seconds: float
    in_flight: int
    low_images_per_s: float | None = None
    high_images_per_s: float | None = None
    gain: float | None = None
    limit: str | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95% interval; None: too few blocks."""
        low, high = self.low_images_per_s, self.high_images_per_s
        return None if low is None or high is None else (low, high)

    @property
    def basis(self) -> str:
        """How it was measured, for people."""
        said = (
            f"measured: {self.images} images in {self.seconds:.1f} s with {self.in_flight} "
            "requests in flight"
        )
        if self.low_images_per_s is not None and self.high_images_per_s is not None:
            said += f", 95% interval {self.low_images_per_s:.3g} to {self.high_images_per_s:.3g}"
        return said


class Climb:
    """The closed loop's plan, told of all that comes back.

    Args:
        first: Requests in flight to begin with.
        begin_s: When it begins.
        time_s: Seconds it may take.

    Attributes:
        in_flight: Requests to keep in flight now.
        windows: Whole windows so far.
        is_over: Whether it has ended.
        limit: What ended it, if it was not the server.
    """

    def __init__(self, first: int, begin_s: float, time_s: float = TIME_S) -> None:
        self.in_flight = first
        self.windows: list[Window] = []
        self.is_over = False
        self.limit: str | None = None
        self._until_s = begin_s + time_s
        self._warm = 0  # requests of this level that ended before its window
        self._done: list[Done] = []  # in the window
        self._blocks: list[Done] = []  # of the last two windows
        self._refused = False
        self._confirms = False

    def completed(self, done: Done) -> None:
        """A request came back."""
        if self.is_over:
            return
        if self._warm < self.in_flight:
            self._warm += 1
            return
        if self._is_full() and done.t_s - self._done[-1].t_s > self._mean_gap_s() / 4:
            self._close()
        if not self.is_over and self._warm >= self.in_flight:
            self._done.append(done)

    def refused(self) -> None:
        """A request was refused: more in flight than the server takes."""
        self._refused = True

    def look(self, now_s: float, limit: str | None = None) -> None:
        """End it where its time is out, or what it stands on does not carry more (`limit`)."""
        if self.is_over or (limit is None and now_s < self._until_s):
            return
        if limit is not None or not self._confirms:  # else all it lacks is a second look
            self.limit = limit or f"its {TIME_S:.0f} s were out"
        self.is_over = True

    def result(self) -> Calibration | None:
        """What was found; None where nothing came back."""
        if not self.windows:
            counted = window(self._done, self.in_flight)
            if counted is None:
                return None
            self.windows.append(counted)
        last = self.windows[-1]
        same = [each for each in self.windows if each.in_flight == last.in_flight]
        images, seconds = sum(w.images for w in same), sum(w.seconds for w in same)
        before = [each for each in self.windows if each.in_flight < last.in_flight]
        wave_s = min(each.latency_s for each in self.windows)
        low, high = interval(self._blocks, images / seconds, wave_s)
        return Calibration(
            images_per_s=images / seconds,
            images=images,
            seconds=seconds,
            in_flight=last.in_flight,
            low_images_per_s=low,
            high_images_per_s=high,
            gain=images / seconds / before[-1].images_per_s - 1.0 if before else None,
            limit=self.limit,
        )

    def _is_full(self) -> bool:
        """Whether the window holds enough; it ends at the next gap between completions."""
        waves = 1 if self._confirms else WAVES
        if len(self._done) < max(waves * self.in_flight, 2):
            return False
        seconds = self._done[-1].t_s - self._done[0].t_s
        images = sum(done.images for done in self._done)
        least = WINDOW_IMAGES if seconds < SLOW_S else SLOW_IMAGES
        return seconds >= WINDOW_S and images >= least

    def _mean_gap_s(self) -> float:
        return (self._done[-1].t_s - self._done[0].t_s) / (len(self._done) - 1)

    def _close(self) -> None:
        """Take the window, and decide what comes next."""
        counted = window(self._done, self.in_flight)
        assert counted is not None
        before = self.windows[-1] if self.windows else None
        self.windows.append(counted)
        is_same = before is not None and before.in_flight == counted.in_flight
        self._blocks = [*(self._blocks if is_same else []), *self._done]
        self._done = []
        if self._refused:
            self.is_over = True
        elif before is None:
            self._rise(STEP)
        elif counted.images_per_s < (1.0 + GAIN) * before.images_per_s:
            if self._confirms:
                self.is_over = True
            self._confirms = True  # the next window is of the same level
        else:
            step = counted.in_flight / before.in_flight
            gained = counted.images_per_s / before.images_per_s
            self._rise(LEAP if not is_same and gained >= ALL_OF_IT * step else STEP)

    def _rise(self, step: int) -> None:
        self._confirms = False
        if self.in_flight >= MAX_IN_FLIGHT:
            self.look(-math.inf, f"no more than {MAX_IN_FLIGHT:,} requests are kept in flight")
            return
        self.in_flight = min(step * self.in_flight, MAX_IN_FLIGHT)
        self._warm = 0


def window(done: Sequence[Done], in_flight: int) -> Window | None:
    """Images/s of what came back, one after the other; None of fewer than two requests.

    The images of a batch complete together, so counting starts at the end of the first such
    cluster: rate = (images after it) / (last completion - its end). A cluster ends at the first
    gap wider than a quarter of the mean gap.
    """
    if len(done) < 2 or done[-1].t_s <= done[0].t_s:
        return None
    first = _end_of_first_cluster(done)
    images = sum(each.images for each in done[first + 1 :])
    seconds = done[-1].t_s - done[first].t_s
    if seconds <= 0 or not images:
        return None
    return Window(
        in_flight=in_flight,
        images_per_s=images / seconds,
        images=images,
        seconds=seconds,
        latency_s=statistics.median(each.latency_s for each in done),
    )


def interval(
    done: Sequence[Done], mean_per_s: float, wave_s: float
) -> tuple[float | None, float | None]:
    """The 95% interval of a rate around its mean, from blocks of what came back.

    mean ± t s / sqrt(n): s is the standard deviation of the rates of n blocks, t Student's. A block
    is as long as a request takes that waits for none, so that each holds about one wave of them; it
    begins between two. Images come back in batches: a block holds its part of the batch that is
    under way at its edges, else blocks of equally many whole batches would say the rate to a hair.

    Args:
        done: One after the other.
        mean_per_s: Images/s over all of it.
        wave_s: Seconds of a request, at the lowest level there was.
    """
    if len(done) < 2:
        return None, None
    first = _end_of_first_cluster(done)
    begin_s = 0.5 * (done[first].t_s + done[min(first + 1, len(done) - 1)].t_s)
    span_s = done[-1].t_s - begin_s
    block_s = max(wave_s, span_s / MAX_BLOCKS)
    blocks = int(span_s / block_s) if block_s > 0 else 0
    if blocks < MIN_BLOCKS:
        return None, None
    edges = begin_s + block_s * np.arange(blocks + 1)
    ends = _ends_of_clusters(done)
    came_back = np.cumsum([each.images for each in done])[ends]
    counts = np.diff(np.interp(edges, [done[end].t_s for end in ends], came_back))
    half = t_quantile(LEVEL, blocks - 1) * float(np.std(counts, ddof=1)) / block_s
    half /= math.sqrt(blocks)
    return max(0.0, mean_per_s - half), mean_per_s + half


def _end_of_first_cluster(done: Sequence[Done]) -> int:
    first = _ends_of_clusters(done)[0]
    return first if first < len(done) - 1 else 0


def _ends_of_clusters(done: Sequence[Done]) -> list[int]:
    """Where a gap wider than a quarter of the mean gap follows, and the last."""
    wide = (done[-1].t_s - done[0].t_s) / (len(done) - 1) / 4
    pairs = enumerate(itertools.pairwise(done))
    return [k for k, (one, other) in pairs if other.t_s - one.t_s > wide] + [len(done) - 1]
