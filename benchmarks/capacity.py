"""Does the 95% interval hold 95%? Synthetic worlds whose block goodput is known.

python -m benchmarks.capacity [--worlds 200] [--seed 0]

A world draws its own truth: what its GPUs do, how far they scatter, how a repeat and a site differ,
what is out of service. Some of its GPUs are then measured, either by repeats or by the windows of
one run whose neighbours resemble each other (AR(1)), and extrapolated with profiles.capacity.block.
The share of worlds whose true block lies in the interval is the coverage. Scatter that the estimate
assumes (GPU to GPU, site, one run's next) is drawn around what is assumed, half to one and a half
times it, so that the assumption itself is wrong in every world.

JSON last: coverage by kind of evidence, mean width, and how often the block lies below and above.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.options import environment
from profiles.capacity import factors
from profiles.capacity.block import ExtrapolationOptions, extrapolate
from profiles.capacity.evidence import SATURATED, Evidence, repeated
from profiles.capacity.factors import known
from profiles.requests.slo import Slo
from profiles.schema import Factor
from profiles.stats import bootstrap
from profiles.stats.arrays import Floats

BLOCK = 100_000
KINDS = ("repeats", "windows")


@dataclass(frozen=True)
class Told:
    """One world: the truth, and the interval."""

    truth: float
    low: float
    high: float

    @property
    def covered(self) -> bool:
        """Whether the truth is in the interval."""
        return self.low <= self.truth <= self.high


def world(kind: str, seed: int) -> Told:
    """Draw a world, measure some of it, extrapolate, and tell what was true."""
    random = np.random.default_rng([seed, KINDS.index(kind)])
    mean = math.log(random.uniform(0.5, 20.0))
    gpus = int(random.choice([1, 2, 4, 8]))

    def about(assumed: float) -> float:
        return assumed * float(random.uniform(0.5, 1.5))

    node = random.normal(0.0, about(factors.GPU_SPREAD), gpus).mean()  # this node's luck
    repeat = about(factors.REPEAT_SPREAD)
    if kind == "repeats":
        repeat = float(random.uniform(0.005, 0.08))
        m = int(random.choice([2, 3, 5, 8]))
        rate = repeated(mean + node + random.normal(0.0, repeat, m), f"{m} repeats", SATURATED)
    else:
        m = 1
        rate = _windows(random, mean + node + float(random.normal(0.0, repeat)))
    evidence = Evidence(
        rate=rate,
        tested_gpus=gpus,
        repeats=m,
        saturated=False,
        slo=Slo(10.0, 0.95, "p(95) < 10s"),
        slack=20.0,
    )
    found = extrapolate(evidence, ExtrapolationOptions(gpus=BLOCK))
    out = factors.availability()
    truth = (
        mean
        + random.normal(0.0, about(factors.SITE_SPREAD))
        + random.normal(0.0, repeat)  # the block's own day
        + math.log(out.value)
        + random.normal(0.0, about(out.log_sd))
    )
    low, high = found.block_low_images_per_s, found.block_high_images_per_s
    assert low is not None
    assert high is not None
    return Told(BLOCK * math.exp(truth), low, high)


def _windows(random: np.random.Generator, log_mean: float) -> Factor:
    """The windows of one run: AR(1) of a few to 30% about its mean."""
    count = int(random.integers(15, 61))
    likeness, scatter = random.uniform(0.0, 0.6), random.uniform(0.02, 0.3)
    noise = random.normal(0.0, math.sqrt(1.0 - likeness**2), count)
    series = np.empty(count)
    series[0] = random.normal()
    for at in range(1, count):
        series[at] = likeness * series[at - 1] + noise[at]
    windows: Floats = math.exp(log_mean) * np.clip(1.0 + scatter * series, 0.0, None)
    spread = bootstrap.spread(windows, resamples=400)
    return known(
        SATURATED, spread.mean, spread.sd / spread.mean, "measured", "windows", spread.degrees
    )


def measure(worlds: int, seed: int, draw: Callable[[str, int], Told] = world) -> dict[str, object]:
    """Coverage over so many worlds of each kind."""
    result: dict[str, object] = {"worlds": worlds, "seed": seed, "level": factors.LEVEL}
    every = []
    for kind in KINDS:
        told = [draw(kind, seed * 100_003 + index) for index in range(worlds)]
        every += told
        result[kind] = _summed(told)
    return result | {"coverage": _summed(every)["coverage"]}


def _summed(told: list[Told]) -> dict[str, float]:
    return {
        "coverage": sum(one.covered for one in told) / len(told),
        "below": sum(one.truth < one.low for one in told) / len(told),
        "above": sum(one.truth > one.high for one in told) / len(told),
        "median_high_over_low": float(np.median([one.high / one.low for one in told])),
    }


def main() -> int:
    """Measure and print; exit code 1 where a coverage is outside 90 to 99%."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.capacity",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--worlds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    result = measure(options.worlds, options.seed)
    print(json.dumps(result | environment("benchmarks.capacity")))  # noqa: T201
    coverage = result["coverage"]
    return 0 if isinstance(coverage, float) and 0.90 <= coverage <= 0.99 else 1


if __name__ == "__main__":
    sys.exit(main())
