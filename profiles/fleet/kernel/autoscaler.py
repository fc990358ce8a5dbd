"""Ray Serve's rule for the number of replicas, as `ray.serve.autoscaling_policy` 2.60 has it. Pure.

Every control loop: desired = requests / target_ongoing_requests, moved from the current number by
the up- or downscaling factor, and acted on once it has pointed the same way for the delay. From the
metrics' interval on, requests are the mean of what was ongoing over the look-back.
"""

import math

import numpy as np
import numpy.typing as npt

from profiles.fleet.kernel.jit import compiled

EPSILON_S = 1e-6  # Ray's tolerance for a delay that has passed


@compiled
def desired(
    requests: float, current: int, target_ongoing: float, up_factor: float, down_factor: float
) -> int:
    """Replicas wanted now, before delays and bounds (`_apply_scaling_factors`)."""
    wanted = current * (requests / (target_ongoing * current))
    delta = wanted - current
    factor = up_factor if delta > 0 else down_factor
    scaled = math.ceil(current + factor * delta)
    if math.ceil(wanted) < current and scaled == current:
        scaled -= 1
    return int(scaled)


@compiled
def delayed(
    wanted: int,
    target: int,
    now_s: float,
    direction: int,
    since_s: float,
    up_delay_s: float,
    down_delay_s: float,
) -> tuple[int, int, float]:
    """Target, direction (1 up, -1 down, 0 none) and since when it points so (`_apply_delay_logic`).

    Args:
        wanted: From `desired`.
        target: Replicas aimed at so far.
        now_s: Seconds.
        direction: Of the loops before.
        since_s: When that direction was first wanted.
        up_delay_s: How long up must be wanted.
        down_delay_s: How long down must be wanted.
    """
    pointing = int(np.sign(wanted - target))
    if pointing == 0:
        return target, 0, 0.0
    if pointing != direction:
        since_s = now_s
    if pointing < 0:
        wanted = max(1, wanted)
    delay_s = up_delay_s if pointing > 0 else down_delay_s
    if now_s - since_s + EPSILON_S >= delay_s:
        return wanted, 0, 0.0
    return target, pointing, since_s


@compiled
def mean_of_last(ring: npt.NDArray[np.float64], count: int) -> float:
    """Mean of the last samples, at most as many as the ring holds; 0 for none."""
    held = min(count, ring.size)
    total = 0.0
    for i in range(held):
        total += ring[(count - 1 - i) % ring.size]
    return total / held if held else 0.0
