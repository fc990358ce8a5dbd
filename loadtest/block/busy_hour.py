"""A scenario's busiest hour as the arrivals of one cell of a block, for `viralload capacity`.

The hour is in the event's own time, whatever a node compressed; its curve's peak asks for more than
the cell's GPUs can do, for `profiles.capacity.utilization` to thin.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from loadtest.errors import ScenarioError
from loadtest.plan.source import Source
from loadtest.scenario.scenario import Scenario, image_weights, parse_size
from loadtest.traces.trace import Arrivals as Trace
from loadtest.traffic.arrivals import arrival_times, resample
from loadtest.traffic.curve import Array, Curve, peak_rate
from profiles.capacity import utilization
from profiles.requests import burstiness
from profiles.requests.request_mix import Mix
from profiles.requests.slo import MixedError

HOUR_S = 3600.0
ENOUGH = 1.25  # times what a full cell does: a draw that falls short still fills it
STARTS = 2000  # places at which the busiest hour is looked for
POINTS = 3601  # of its curve
APART = 0.05  # images a request, or shares of sizes and steps, that differ by more are another mix


def draws(scenario: Scenario, source: Source, full_per_s: float) -> tuple[burstiness.Arrivals, ...]:
    """`busy_hour` by seeds one after another from the scenario's on.

    Raises:
        ScenarioError: its arrivals cannot be drawn.
    """
    seeds = range(scenario.seed, scenario.seed + utilization.DRAWS)
    return tuple(busy_hour(scenario, source, full_per_s, seed) for seed in seeds)


def busy_hour(
    scenario: Scenario, source: Source, full_per_s: float, seed: int
) -> burstiness.Arrivals:
    """Arrivals of the busiest hour, its peak above `full_per_s`, what a full cell does a second.

    Shorter where the load is, or where an hour would hold more than are simulated at once.

    Raises:
        ScenarioError: its arrivals cannot be drawn.
    """
    shape, most_per_s = source.shape, ENOUGH * full_per_s
    span_s = min(HOUR_S, source.duration_s, utilization.MAX_ARRIVALS / most_per_s)
    told = f"the busiest {span_s:,.0f} s of {scenario.name}"
    if isinstance(shape, Trace):
        return _of_trace(shape, span_s, most_per_s, seed, told)
    scale = most_per_s / peak_rate(shape)
    begin_s = _busiest(shape.integral, source.duration_s, span_s)
    before = float(shape.integral(np.array([begin_s]))[0])

    def by(t: Array) -> Array:
        return (shape.integral(begin_s + t) - before) * scale

    process = scenario.load.arrivals or "poisson"
    try:
        times = arrival_times(process, by, span_s, seed)
    except ValueError as err:
        raise ScenarioError(f"scenario: $.load.arrivals: {err}") from err
    return _found(times, span_s, _drawn(shape, begin_s, span_s), told)


def _of_trace(
    shape: Trace, span_s: float, most_per_s: float, seed: int, told: str
) -> burstiness.Arrivals:
    """The recorded instants of the hour, repeated or left out as their peak needs."""

    def counted(t: Array) -> Array:
        return np.searchsorted(shape.times_s, t).astype(np.float64)

    begin_s = _busiest(counted, shape.duration_s, span_s)
    inside = (shape.times_s >= begin_s) & (shape.times_s < begin_s + span_s)
    times, _ = resample(shape.times_s[inside] - begin_s, most_per_s / shape.peak_per_s(), seed)
    flat = (np.array([0.0, span_s]), np.ones(2))  # no curve is known but the instants themselves
    return replace(_found(times, span_s, flat, told), peak_per_s=most_per_s)


def _busiest(integral: Callable[[Array], Array], duration_s: float, span_s: float) -> float:
    """Where the stretch of `span_s` with the most arrivals begins."""
    starts = np.linspace(0.0, max(0.0, duration_s - span_s), STARTS)
    return float(starts[int(np.argmax(integral(starts + span_s) - integral(starts)))])


def _drawn(shape: Curve, begin_s: float, span_s: float) -> tuple[Array, Array]:
    t = np.linspace(0.0, span_s, POINTS)
    return t, shape.rate(begin_s + t)


def _found(
    times: Array, span_s: float, curve: tuple[Array, Array], told: str
) -> burstiness.Arrivals:
    found = burstiness.arrivals(times, span_s, *curve, told)
    if found is None:
        raise ScenarioError(f"{told} holds no arrival: name a scenario with a busier curve")
    return found


def check_asks(scenario: Scenario, mix: Mix | None, runs: str) -> None:
    """What was measured must be what the scenario asks for, as far as both tell.

    Raises:
        MixedError: other sizes, steps or images a request; names both.
    """
    if mix is None:
        return
    request, asked = scenario.request, []
    weights = image_weights(request)
    mean = sum(n * weight for n, weight in weights.items()) / sum(weights.values())
    same = math.isclose(mean, mix.images_a_request, rel_tol=APART)
    asked.append(f"{mean:.3g} images per request")
    if request.size is not None:
        size = parse_size(request.size)
        same &= _other(mix, lambda kind: kind[1:3] in (size, (0, 0))) <= APART
        asked.append(request.size)
    if request.steps is not None:
        steps = request.steps
        same &= _other(mix, lambda kind: kind[3] in (steps, 0)) <= APART
        asked.append(f"{steps} steps")
    if not same:
        raise MixedError(
            f"{scenario.name} asks for {', '.join(asked)}, and {runs} measured {mix.told}: goodput "
            "of one says nothing of the other. Measure a run of that scenario, or leave out --curve"
        )


def _other(mix: Mix, holds: Callable[[tuple[int, int, int, int]], bool]) -> float:
    return sum(share for kind, share in mix.shares.items() if not holds(kind))
