"""The phases of a planned load: rise, peak, decay. Pure.

The peak is the time around the planned curve's maximum in which it stays above PEAK_SHARE of it;
the rise is what comes before, the decay what comes after.
"""

import numpy as np

from profiles.schema import LoadPlan

PEAK_SHARE = 0.8


def phase_spans(plan: LoadPlan, duration_s: float) -> list[tuple[str, float, float]]:
    """Name, start and end of each phase in seconds since the load began, none empty."""
    t_s = np.array(plan.curve_t_s, dtype=np.float64)
    rate = np.array(plan.curve_images_per_s, dtype=np.float64)
    if t_s.size < 2 or duration_s <= 0:
        return []
    high = rate >= PEAK_SHARE * rate.max()
    first = last = int(rate.argmax())
    while first > 0 and high[first - 1]:
        first -= 1
    while last < rate.size - 1 and high[last + 1]:
        last += 1
    begin_s = float(t_s[first]) if first else 0.0
    end_s = float(t_s[last]) if last < rate.size - 1 else duration_s
    cuts = [0.0, min(begin_s, duration_s), min(end_s, duration_s), duration_s]
    names = ("rise", "peak", "decay")
    spans = zip(names, cuts[:-1], cuts[1:], strict=True)
    return [(name, start, end) for name, start, end in spans if end > start]
