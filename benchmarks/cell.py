"""One cell of the engine benchmark: seeded arrivals in, figures of their outcomes out. Pure."""

import math
import random
from collections.abc import Sequence

import msgspec

# Of the window: arrivals before it fill the engine and are not counted.
WARM_UP_SHARE = 0.2
ROUNDING = 1e-9  # of a share such as 0.07, times a count
QUANTILES = {"latency_p50_s": 0.5, "latency_p95_s": 0.95, "latency_p99_s": 0.99}


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one request of one image; instants in seconds from the cell's begin.

    Attributes:
        due_s: When it was to be sent.
        done_s: When its answer was there; None if it got no image.
        batch: Images in its calls of the denoiser, the mean over its steps.
        flop: Floating point operations that it took.
    """

    due_s: float
    done_s: float | None = None
    batch: float | None = None
    flop: float | None = None


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """The time whose arrivals and completions count."""

    begin_s: float
    end_s: float

    @property
    def length_s(self) -> float:
        """Seconds."""
        return self.end_s - self.begin_s


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """A cell's result.

    Rates are over the window; latencies are of the requests that were due in it and got their
    image, from when they were due. Goodput counts those due in the window that got it within the
    SLO. In a burst the window runs from the burst to the last image.
    """

    goodput_images_per_s: float
    latency_p50_s: float | None
    latency_p95_s: float | None
    latency_p99_s: float | None
    batch_mean: float | None
    images_per_s: float
    tflops: float | None
    limit_percent: float | None
    offered_images_per_s: float
    requests: int
    refused_share: float


def poisson(rate_per_s: float, duration_s: float, seed: int) -> list[float]:
    """Arrival times of a Poisson process over [0, duration), seconds."""
    source = random.Random(seed)
    times: list[float] = []
    now_s = source.expovariate(rate_per_s)
    while now_s < duration_s:
        times.append(now_s)
        now_s += source.expovariate(rate_per_s)
    return times


def steady_window(duration_s: float) -> Window:
    """What counts of Poisson arrivals over so many seconds."""
    return Window(begin_s=WARM_UP_SHARE * duration_s, end_s=duration_s)


def burst_window(outcomes: Sequence[Outcome]) -> Window:
    """What counts of a burst: until its last image."""
    last_s = max((each.done_s for each in outcomes if each.done_s is not None), default=0.0)
    return Window(begin_s=0.0, end_s=max(last_s, 1e-9))


def quantile(values: Sequence[float], share: float) -> float | None:
    """The value that `share` of the values do not exceed (nearest rank); None of none."""
    ranked = sorted(values)
    if not ranked:
        return None
    rank = math.ceil(share * len(ranked) - ROUNDING)
    return ranked[max(0, rank - 1)]


def summarize(
    outcomes: Sequence[Outcome], window: Window, *, slo_s: float, limit_flop_per_s: float | None
) -> Figures:
    """The figures of one cell.

    Args:
        outcomes: One a request, refused ones too.
        window: What counts.
        slo_s: Latency within which an image is good.
        limit_flop_per_s: The device's measured matmul rate; None if unknown.
    """
    length_s = window.length_s
    due = [each for each in outcomes if window.begin_s <= each.due_s < window.end_s]
    latencies = [each.done_s - each.due_s for each in due if each.done_s is not None]
    done = [
        each
        for each in outcomes
        if each.done_s is not None and window.begin_s <= each.done_s <= window.end_s
    ]
    flops = [each.flop for each in done if each.flop is not None]
    batches = [each.batch for each in done if each.batch is not None]
    rate = sum(flops) / length_s if done and len(flops) == len(done) else None
    return Figures(
        goodput_images_per_s=sum(1 for latency in latencies if latency <= slo_s) / length_s,
        **{name: quantile(latencies, share) for name, share in QUANTILES.items()},
        batch_mean=sum(batches) / len(batches) if batches else None,
        images_per_s=len(done) / length_s,
        tflops=None if rate is None else rate / 1e12,
        limit_percent=None
        if rate is None or not limit_flop_per_s
        else 100 * rate / limit_flop_per_s,
        offered_images_per_s=len(due) / length_s,
        requests=len(due),
        refused_share=1 - len(latencies) / len(due) if due else 0.0,
    )
