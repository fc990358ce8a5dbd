"""The plan of a run, drawn for people before the load is sent. Pure: values in, text out."""

import math
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np

from loadtest.plan.gates import says_too_little
from loadtest.plan.source import Source
from loadtest.scenario.prompts import PromptMix
from loadtest.scenario.scenario import Scenario, TraceFile
from loadtest.scenario.session import Session
from loadtest.traces.text import LONG_S, sent_lines, trace_lines
from loadtest.traces.trace import Arrivals
from loadtest.traffic.distributions import quantile
from loadtest.units import format_duration
from profiles import formats
from profiles.requests.threshold import DEFAULT_KEY
from profiles.schema import Demand, LoadPlan

EIGHTHS = " ▁▂▃▄▅▆▇█"
CHART_WIDTH = 60
MIN_CHART_WIDTH = 20
AXIS = 9  # columns before the chart
LABEL = 10
UNBROKEN = 10_000  # wider than any line
CHART_HEIGHT = 8


def plan_text(
    scenario: Scenario,
    source: Source,
    plan: LoadPlan,
    demand: Demand | None,
    relative: bool,
    width: int = UNBROKEN,
) -> str:
    """The whole plan.

    Args:
        scenario: what is replayed.
        source: its curve or trace.
        plan: the schedule in numbers.
        demand: the event at full size, if there is one.
        relative: the capacity is not known yet, so rates are multiples of it and counts unknown.
        width: columns to stay within.
    """
    unit = "x capacity" if relative else "images/s"
    lines = [f"{scenario.title}", ""]
    columns = max(MIN_CHART_WIDTH, min(CHART_WIDTH, width - AXIS))
    lines += draw(plan.curve_t_s, plan.curve_images_per_s, plan.duration_s, unit, columns)
    lines += [""]
    if demand is not None:
        lines.append(
            f"event     {formats.count(demand.images)} images in "
            f"{formats.seconds(demand.duration_s)}, "
            f"{formats.images_per_s(demand.peak_images_per_s)} at the peak: {demand.basis}"
        )
    lines.append(f"source    {source.how}")
    lines += _trace(scenario, source, plan, relative)
    lines.append(_peak(plan, unit, relative))
    lasts = format_duration(plan.duration_s)
    if plan.time_compression > 1:
        real, kappa = format_duration(plan.real_duration_s), _about(plan.time_compression)
        lasts += f": {real} compressed {kappa} x (service times stay real"
        slow = "; above 10 x, autoscaling looks worse than it is"
        lasts += (slow if plan.time_compression > 10 else "") + ")"
    lines.append(f"lasts     {lasts}")
    drawn = ""
    if scenario.session is not None:
        lines += _people(scenario.session, plan, relative)
    elif scenario.load.arrivals not in (None, "even", "trace"):
        # of bursts, one draw is not another
        drawn = f" ({plan.mean_images_per_s * plan.duration_s:,.0f} expected of all seeds)"
    if not relative:
        lines.append(f"schedule  {plan.requests:,} requests, {plan.images:,} images{drawn}")
    lines.append(f"arrivals  {plan.arrivals}, seed {scenario.seed}, open loop")
    asked = scenario.request
    told = source.shape.asks if isinstance(source.shape, Arrivals) else {}
    size = "its row's size" if "width" in told else asked.size or "the size the server makes"
    steps = "its row's" if "steps" in told else asked.steps or "its own number of"
    if scenario.session is not None and scenario.session.steps is not None:
        steps = "a mix of"
    lines.append(
        f"asks for  {size}, {steps} steps; "
        f"within {format_duration(scenario.slo.latency)} it counts, "
        f"after {format_duration(asked.timeout)} it is given up"
    )
    if isinstance(asked.prompts, PromptMix):
        lines.append(f"prompts   {asked.prompts.words}")
    if scenario.own_thresholds:
        lines.append(f"holds     {_held(scenario.own_thresholds)}")
    if scenario.default_thresholds:
        lines.append(f"default   {_held(scenario.default_thresholds)}")
    elif scenario.thresholds.get(DEFAULT_KEY) is False:
        lines.append("default   switched off: no other threshold can fail the run")
    if not relative:
        lines += [f"warning   {said}" for said in says_too_little(scenario, plan)]
    lines += [f"note      {note}" for note in scenario.notes]
    return "\n".join(part for line in lines for part in _laid_out(line, width)) + "\n"


def _laid_out(line: str, width: int) -> list[str]:
    """A line in as many as it takes, its text below itself; a row of the chart fits as it is."""
    if len(line) <= width:
        return [line]
    indent = " " * LABEL if line[LABEL - 1 : LABEL] == " " else ""
    return textwrap.wrap(line, width, subsequent_indent=indent, break_long_words=False)


def _trace(scenario: Scenario, source: Source, plan: LoadPlan, relative: bool) -> list[str]:
    """What the file was taken for and holds, and what is sent of it."""
    curve = scenario.curve
    if not isinstance(curve, TraceFile) or source.recorded is None:
        return []
    lines = [f"trace     {line}" for line in source.said]
    lines += [f"trace     {line}" for line in trace_lines(source.recorded, curve.rate_scale)]
    if source.window is not None:
        lines.append(f"window    {source.window}")
    elif plan.duration_s > LONG_S:
        lines.append(
            f"window    none: all {format_duration(plan.duration_s)} are played; "
            "--window 10min@peak plays the busiest ten minutes"
        )
    if relative:
        return [
            *lines,
            "sent      told when the capacity is known; now with --capacity IMAGES_PER_S",
        ]
    return lines + [f"sent      {line}" for line in sent_lines(plan)]


def _peak(plan: LoadPlan, unit: str, relative: bool) -> str:
    """The peak and the mean, in multiples of the capacity, too, where that is known."""
    peak, mean = plan.peak_images_per_s, plan.mean_images_per_s
    if relative:
        return (
            f"peak      {peak:.3g} {unit}, to be measured before the load; mean {mean:.3g} {unit}"
        )
    capacity = plan.capacity_images_per_s
    of_peak = of_mean = ""
    if capacity is not None:
        of_mean = f", {mean / capacity:.3g} x the capacity"
        if " x the capacity of " not in plan.peak_basis:
            of_peak = f", {peak / capacity:.3g} x the capacity"
    return (
        f"peak      {peak:.3g} {unit} ({plan.peak_basis}{of_peak}); mean {mean:.3g} {unit}{of_mean}"
    )


def _held(thresholds: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(f"{metric}: {text}" for metric, each in thresholds.items() for text in each)


def _people(session: Session, plan: LoadPlan, relative: bool) -> list[str]:
    """Who comes and how long they wait; think times and patience are never compressed."""
    retry = session.retry
    told = "geometric" if isinstance(session.requests, float) else "from a mix"
    who = "" if relative or plan.people is None else f"{plan.people:,}, "
    think = [format_duration(quantile(session.think, share)) for share in (0.1, 0.5, 0.9)]
    lines = [
        f"people    {who}requests each {told}; think p10/p50/p90 {' / '.join(think)} (real time)"
    ]
    waits = "for ever"
    if session.patience is not None:
        waits = f"{format_duration(quantile(session.patience, 0.5))} (median)"
    again = f", {retry.most_attempts} attempts at most" if retry.policy != "none" else ""
    lines.append(f"          wait {waits} for an image; retry {retry.policy}{again}")
    for name, one in session.classes.items():
        most = "any number of" if one.images_a_day is None else f"at most {one.images_a_day}"
        lines.append(
            f"          {name}: {one.share:g} parts, {most} images (a session lies in a day)"
        )
    return lines


def draw(
    t_s: Sequence[float],
    rates: Sequence[float],
    duration_s: float,
    unit: str,
    columns: int = CHART_WIDTH,
) -> list[str]:
    """The rate over time as lines of block characters, with both axes labelled."""
    centers = (np.arange(columns) + 0.5) * duration_s / columns
    heights = np.interp(centers, t_s, rates)
    top = _round_up(float(max(rates)))
    levels = np.round(heights / top * CHART_HEIGHT * 8).astype(int)
    lines = []
    for row in range(CHART_HEIGHT - 1, -1, -1):
        cells = "".join(EIGHTHS[int(np.clip(level - 8 * row, 0, 8))] for level in levels)
        value = top * (row + 1) / CHART_HEIGHT
        label = f"{value:7.3g}" if row in (CHART_HEIGHT - 1, CHART_HEIGHT // 2 - 1) else " " * 7
        lines.append(f"{label} ┤{cells}")
    lines.append(" " * 8 + "└" + "─" * columns)
    end = format_duration(duration_s)
    lines.append(" " * 9 + "0" + end.rjust(columns - 1))
    return [f"{unit:>8}", *lines]


def _about(value: float) -> str:
    """Four digits and no exponent: 2,829 or 40 or 58.39."""
    rounded = float(f"{value:.4g}")
    return f"{rounded:,.0f}" if rounded == int(rounded) else f"{rounded:,}"


def _round_up(value: float) -> float:
    """The next round number, for the top of an axis."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(
        step * power for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * power >= 0.999 * value
    )
