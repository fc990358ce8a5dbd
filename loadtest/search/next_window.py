"""The highest rate that still meets the SLO: which windows to play, and when enough is known. Pure.

A window is a stretch of Poisson arrivals at a constant rate; one follows the other without a pause,
so only a change of the rate has a warm-up (`profiles.stats.warmup`). First a geometric ramp
brackets the crossing with short windows, one of them at light load, whose miss share is the floor.
Then long windows alternate around the crossing as fitted so far (`profiles.search.crossing`): at it
the miss share is known best, and a little to both sides the slope is, too. It ends when the
interval is narrow enough, or time is out.
"""

import math
from collections.abc import Sequence

import msgspec

from profiles.search.crossing import (
    LIGHT,
    USUAL,
    Count,
    Crossing,
    all_met,
    crossing,
    guess,
    in_sight,
    none_met,
)

RAMP = 1.35  # from one window of the ramp to the next
RAMP_WINDOW = 0.3  # of a window's length ...
LIGHTER = 0.6  # of the crossing as it seems; `LIGHT` is still light load
RAMP_LIMITS = 5.0  # ... and at least so many limits of the SLO: what is slow must show
LIMITS = 80.0  # a window's length in limits of the SLO: queues relax in several of these
MIN_WINDOW_S = 15.0
MIN_MISSES = 10.0  # allowed ones, a window
WINDOWS_IN_TIME = 18.0  # that fit into the time, at least
DOUBTED = 4  # long windows that all met: what failed in the ramp above them is played again
GRID = 0.04  # ln of neighbouring rates: rates that followed every chance would bend the fit
# windows in sight after which it may end: each look is a chance to stop by luck, so few
LOOKS = tuple(round(14 * 1.4**k) for k in range(12))
APART = 1.0  # in ln of the miss share, from the crossing to either side
CLOSEST, WIDEST = 0.01, 0.06  # the same relative to the rate
APART_RATE = 0.1  # ln of two rates: beyond, the first one's queue is no beginning for the other


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked."""

    limit_s: float
    allowed: float  # share of the requests that may miss it, between 0 and 1
    precision: float  # relative half-width of the interval to reach
    time_s: float  # for all windows
    most_per_s: float = math.inf  # what the generator can send
    least_per_s: float = 0.0  # below it requests are alone


class Next(msgspec.Struct, frozen=True, kw_only=True):
    """The window to play next."""

    rate_per_s: float
    duration_s: float
    short: bool = False  # of the ramp
    fresh: bool = True  # after what is in flight has been answered


def window_s(goal: Goal, rate_per_s: float) -> float:
    """How long a window at that rate should be."""
    wanted = max(MIN_WINDOW_S, LIMITS * goal.limit_s, MIN_MISSES / goal.allowed / rate_per_s)
    return min(wanted, goal.time_s / WINDOWS_IN_TIME)


def is_met(seen: Count, allowed: float) -> bool:
    """Whether a window alone met the SLO."""
    return seen.missed <= allowed * seen.requests


def found(seen: Sequence[Count], goal: Goal) -> Crossing | None:
    """The crossing if it is known well enough to end."""
    at = crossing(list(seen), goal.allowed)
    if at is None or at.windows not in LOOKS or at.half_width > goal.precision:
        return None
    return at


def choose(seen: Sequence[Count], start_per_s: float, goal: Goal) -> Next | None:
    """The window to play next; None where no rate meets the SLO, or none that can be sent fails."""
    if not seen:
        return _ramp(min(start_per_s, goal.most_per_s), goal)
    met = [each.rate_per_s for each in seen if is_met(each, goal.allowed)]
    failed = [each.rate_per_s for each in seen if not is_met(each, goal.allowed)]
    highest, lowest = max([*met, *failed]), min([*met, *failed])
    if not failed and highest >= goal.most_per_s:
        return None
    if not met and lowest <= goal.least_per_s:
        return None
    # one window may fail by a mishap of the server: the ramp goes on while all of them together met
    if highest < goal.most_per_s and (not failed or all_met(seen, goal.allowed)):
        return _ramp(min(RAMP * highest, goal.most_per_s), goal)
    if lowest > goal.least_per_s and (not met or none_met(seen, goal.allowed)):
        return _ramp(max(lowest / RAMP, goal.least_per_s), goal)
    return _around(list(seen), goal)


def _ramp(rate_per_s: float, goal: Goal) -> Next:
    whole_s = window_s(goal, rate_per_s)
    duration_s = min(whole_s, max(RAMP_WINDOW * whole_s, RAMP_LIMITS * goal.limit_s))
    return Next(rate_per_s=rate_per_s, duration_s=duration_s, short=True)


def _around(seen: list[Count], goal: Goal) -> Next:
    """Alternately below and above the crossing as it seems so far."""
    rates = [each.rate_per_s for each in seen]
    met = max(each.rate_per_s for each in seen if is_met(each, goal.allowed))
    failed = min(each.rate_per_s for each in seen if not is_met(each, goal.allowed))
    long = [each for each in seen if not each.short]
    if len(long) >= DOUBTED and met < failed and all_met(long, goal.allowed):
        return _window(failed, rates[-1], goal)
    centre, slope = guess(seen, goal.allowed) or (math.sqrt(met * failed), USUAL)
    light = max(LIGHTER * centre, goal.least_per_s)
    if light <= LIGHT * centre < min(rates):
        return _ramp(light, goal)
    apart = min(max(APART / slope, CLOSEST), WIDEST)
    near = in_sight(seen, centre, slope)
    below = sum(each.rate_per_s < centre for each in near)
    sign = -1.0 if below <= len(near) - below else 1.0
    step = round(math.log(centre / rates[0]) / GRID + sign * apart / GRID)
    return _window(min(rates[0] * math.exp(GRID * step), goal.most_per_s), rates[-1], goal)


def _window(rate_per_s: float, last_per_s: float, goal: Goal) -> Next:
    return Next(
        rate_per_s=rate_per_s,
        duration_s=window_s(goal, rate_per_s),
        fresh=abs(math.log(rate_per_s / last_per_s)) > APART_RATE,
    )
