"""How far another machine's clock is off this one's, by asking it the time. Pure.

As NTP does it (Mills, RFC 5905, section 8), with one stamp of the other side in place of two: asked
at t0, answered at t1, and the other clock showed T in between, at an instant nobody here knows. So

    offset = T - (t0 + t1) / 2,     uncertainty = (t1 - t0) / 2

and the true offset is within the uncertainty of it, however unlike the ways there and back were.
The exchange with the smallest round trip tells most, so of several that one is kept.
"""

from collections.abc import Callable

import msgspec

ROUNDS = 30


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """Another clock's reading less one's own, and how wrong that may be, in seconds."""

    offset_s: float
    uncertainty_s: float


def read_offset(
    ask: Callable[[], float], clock: Callable[[], float], rounds: int = ROUNDS
) -> Reading:
    """The best of so many exchanges.

    Args:
        ask: gives what the other clock shows.
        clock: this machine's, in seconds.
        rounds: exchanges, 1 at least.
    """
    best: Reading | None = None
    for _ in range(rounds):
        asked_s = clock()
        other_s = ask()
        answered_s = clock()
        uncertainty_s = (answered_s - asked_s) / 2
        if best is None or uncertainty_s < best.uncertainty_s:
            offset_s = other_s - (asked_s + answered_s) / 2
            best = Reading(offset_s=offset_s, uncertainty_s=uncertainty_s)
    assert best is not None
    return best
