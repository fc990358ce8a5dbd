"""Energy an image with its interval, gross and without what idling costs. Pure.

    e  = E / n                                gross: all GPUs' energy over the images of the load
    e' = (E - P_idle T) / n                   idle-subtracted: what the images added

P_idle is the GPUs' power just before the load, with the model loaded and nothing to do. The
interval is a jackknife over k equal blocks of time (Tukey 1958; Miller, Biometrika 61, 1974):
with r_i the ratio without block i and r their mean,

    se^2 = (k - 1) / k sum (r_i - r)^2,       interval e +- t(0.975, k - 1) se

Blocks of time, because neighbouring images share batches and load. What the load's curve does to
an image's cost is in the interval too: a node that idles between peaks spends more on each.
"""

from collections.abc import Callable
from itertools import pairwise

import msgspec
import numpy as np

from profiles.record.columns import Gpu
from profiles.stats import arrays
from profiles.stats.arrays import Floats
from profiles.stats.student_t import t_quantile
from profiles.telemetry.energy import Energy

BLOCKS = 10
MIN_BLOCKS = 3
STEPS_A_BLOCK = 5  # a block is at least so many of the meter's steps long
IDLE_MIN_S = 2.0  # power before the load is idle power if it was sampled for so long
J_PER_KWH = 3.6e6


class PerImage(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a Summary about energy an image, under their names there; None: unknown."""

    energy_j_per_image: float | None = None
    energy_low_j_per_image: float | None = None
    energy_high_j_per_image: float | None = None
    energy_net_j_per_image: float | None = None
    energy_net_low_j_per_image: float | None = None
    energy_net_high_j_per_image: float | None = None
    idle_power_w: float | None = None
    carbon_g_per_kwh: float | None = None
    carbon_g_per_image: float | None = None


def per_image(
    energy: Energy,
    idle_w: float | None,
    done_s: Floats,
    images: Floats,
    window: tuple[float, float],
    carbon_g_per_kwh: float | None = None,
) -> PerImage:
    """Energy over the images done in the window.

    Args:
        energy: of all GPUs over the window.
        idle_w: what they draw with nothing to do, together; None if unknown.
        done_s: when each request was done, shape (requests,).
        images: how many it made, shape (requests,).
        window: start and end, seconds.
        carbon_g_per_kwh: of the electricity, as stated by the user; None: no carbon is told.
    """
    start_s, end_s = window
    total = float(images.sum())
    if energy.joules is None or not total:
        return PerImage()
    gross = energy.joules / total
    low, high = _interval(energy, done_s, images, window, gross, 0.0)
    net = net_low = net_high = None
    if idle_w is not None:
        net = (energy.joules - idle_w * (end_s - start_s)) / total
        net_low, net_high = _interval(energy, done_s, images, window, net, idle_w)
    carbon = None if carbon_g_per_kwh is None else gross / J_PER_KWH * carbon_g_per_kwh
    return PerImage(
        energy_j_per_image=gross,
        energy_low_j_per_image=low,
        energy_high_j_per_image=high,
        energy_net_j_per_image=net,
        energy_net_low_j_per_image=net_low,
        energy_net_high_j_per_image=net_high,
        idle_power_w=idle_w,
        carbon_g_per_kwh=carbon_g_per_kwh,
        carbon_g_per_image=carbon,
    )


def idle_power_w(gpus: list[Gpu], before_s: float) -> float | None:
    """All GPUs' median power before the load, W; None where one was not sampled long enough.

    The median, so that the end of the warm-up does not count as idling.
    """
    total = 0.0
    for gpu in gpus:
        before = gpu.t_s < before_s
        t_s, watts = gpu.t_s[before], gpu.power_w[before]
        there = ~np.isnan(watts)
        if not there.any() or t_s[there][-1] - t_s[there][0] < IDLE_MIN_S:
            return None
        total += float(np.median(watts[there]))
    return total if gpus else None


def _interval(
    energy: Energy,
    done_s: Floats,
    images: Floats,
    window: tuple[float, float],
    ratio: float,
    idle_w: float,
) -> tuple[float | None, float | None]:
    """The 95% interval of the ratio; none where the window is too short for blocks."""
    start_s, end_s = window
    shortest_s = STEPS_A_BLOCK * energy.step_s
    count = min(BLOCKS, int((end_s - start_s) / shortest_s) if shortest_s else BLOCKS)
    if count < MIN_BLOCKS:
        return None, None
    edges = np.linspace(start_s, end_s, count + 1)
    joules = _each(energy.between, edges)
    if joules is None:
        return None, None
    joules = joules - idle_w * np.diff(edges)
    made = arrays.binned_sum(done_s, images, edges)
    left = made.sum() - made
    if (left <= 0).any():
        return None, None
    without = (joules.sum() - joules) / left
    deviation = np.sqrt((count - 1) / count * ((without - without.mean()) ** 2).sum())
    half = t_quantile(0.95, count - 1) * float(deviation)
    return ratio - half, ratio + half


def _each(between: Callable[[float, float], float | None], edges: Floats) -> Floats | None:
    found = [between(float(a), float(b)) for a, b in pairwise(edges)]
    if any(one is None for one in found):
        return None
    return np.array(found, dtype=np.float64)
