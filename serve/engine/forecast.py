"""How long the denoising of what is queued will take, from how long steps took. Pure."""

import heapq
from collections.abc import Callable, Sequence

import msgspec

# A step's weight halves after about 140 later ones: some seconds, so that one stall tells little.
DECAY = 0.995
TAIL_SMOOTHING = 0.2
# Steps that a warm-up counts as, always: 200 recent ones at most stand against it.
ANCHOR = 5.0
# Below this relative spread of FLOPs, a slope is noise.
SPREAD_MIN = 0.01


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """An image still to be denoised: the steps it has left, and FLOPs a step."""

    steps: int
    step_flop: float


# Sums over steps of 1, F, s, F F and F s.
Sums = tuple[float, float, float, float, float]
NOTHING: Sums = (0.0, 0.0, 0.0, 0.0, 0.0)


class StepRate:
    """Seconds of a step as a line in its FLOPs, fitted to the steps measured so far.

        s = a + b F,  a, b >= 0

    by least squares with weights that decay by `DECAY` a step. F is the step's FLOPs, a what a
    step costs however small (launches, Python), b the reciprocal of the sustained rate. Where all
    steps had nearly the same F, a larger one is taken to cost in proportion, a smaller the same.
    """

    def __init__(self) -> None:
        self._recent = NOTHING
        self._anchor = NOTHING

    @property
    def is_known(self) -> bool:
        """Whether any step was measured."""
        return self._recent[0] + self._anchor[0] > 0

    def observe(self, step_flop: float, seconds: float) -> None:
        """Learn from one step."""
        step = (1.0, step_flop, seconds, step_flop * step_flop, step_flop * seconds)
        self._recent = _sum(step, self._recent, DECAY)

    def anchor(self) -> None:
        """Keep what is known now, for ever, at the weight of `ANCHOR` steps.

        Steps that all have one size would in time leave the line without a slope.
        """
        if self._recent[0] > 0:
            self._anchor = _sum(NOTHING, self._recent, ANCHOR / self._recent[0])
            self._recent = NOTHING

    def seconds(self, step_flop: float) -> float:
        """Predicted seconds of a step of so many FLOPs; 0 while nothing is known."""
        if not self.is_known:
            return 0.0
        weight, flop, seconds, flop_flop, flop_seconds = _sum(self._recent, self._anchor, 1.0)
        flop, seconds = flop / weight, seconds / weight
        variance = flop_flop / weight - flop * flop
        if variance <= (SPREAD_MIN * flop) ** 2:
            return seconds * max(1.0, step_flop / flop) if flop > 0 else seconds
        slope = (flop_seconds / weight - flop * seconds) / variance
        slope = min(max(slope, 0.0), seconds / flop)  # both a and b stay at 0 or above
        return max(0.0, seconds + slope * (step_flop - flop))  # rounding may dip below a = 0


class Tail:
    """Seconds from an image's last step to its pixels.

        m <- (1 - a) m + a s

    m is the mean, s an image's seconds, a the smoothing (0.2: the last five or so count).

    Attributes:
        mean_s: Of late; 0 while nothing is known.
        least_s: Ever; 0 while nothing is known.
    """

    def __init__(self) -> None:
        self.mean_s = 0.0
        self.least_s = 0.0
        self._is_known = False

    def observe(self, seconds: float) -> None:
        """Learn from one image."""
        if not self._is_known:
            self.mean_s = self.least_s = seconds
            self._is_known = True
        self.mean_s += TAIL_SMOOTHING * (seconds - self.mean_s)
        self.least_s = min(self.least_s, seconds)


def completion_s(
    running: Sequence[Load],
    waiting: Sequence[Load],
    *,
    slots: int,
    step_s: Callable[[float], float],
) -> list[float]:
    """Seconds from now until each waiting image is denoised, in the order given.

    Plays the engine's own rule: all running images advance by one step together, an image leaves
    with its last step, and the next one waiting takes its slot. A step takes `step_s` of the
    running images' FLOPs. Between two departures nothing changes, so it leaps from one to the
    next: O((running + waiting) log slots).

    Args:
        running: What holds slots now.
        waiting: What waits, first to start first.
        slots: Most images that run at once.
        step_s: Seconds of a step of so many FLOPs.
    """
    done_s = [0.0] * len(waiting)
    heap = [(load.steps, -1, load.step_flop) for load in running]  # last step, whose, FLOPs
    heapq.heapify(heap)
    flop = sum(load.step_flop for load in running)
    step, now_s, following, left = 0, 0.0, 0, len(waiting)
    while left:
        while following < len(waiting) and len(heap) < slots:
            load = waiting[following]
            heapq.heappush(heap, (step + load.steps, following, load.step_flop))
            flop += load.step_flop
            following += 1
        last, index, step_flop = heapq.heappop(heap)
        now_s += (last - step) * step_s(flop)
        step = last
        flop -= step_flop
        if index >= 0:
            done_s[index] = now_s
            left -= 1
    return done_s


def _sum(one: Sums, other: Sums, factor: float) -> Sums:
    """One + factor other, number by number."""
    a, b, c, d, e = (x + factor * y for x, y in zip(one, other, strict=True))
    return a, b, c, d, e
