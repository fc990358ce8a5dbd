"""A fixed cadence on an absolute schedule: what a sampler keeps, and by how much it misses."""

import math
from collections.abc import Callable
from typing import NamedTuple


class Tick(NamedTuple):
    """One cycle."""

    k: int  # its place in the schedule: it was due at k / hz
    due_s: float
    lag_s: float  # how late it begins
    skipped: int  # later deadlines that had already passed too: they get no cycle


class Cadence:
    """Deadlines at every k/hz of a clock (k whole), whatever the work between takes.

    Errors do not add up, since each deadline comes from k alone; and samplers that share a clock
    sample at the same instants. A late cycle begins at once and its lag is stated; deadlines
    missed meanwhile are skipped, never bunched.

    Args:
        hz: cycles a second.
        clock: seconds, monotonic.
        sleep: waits that many seconds, or less; true to stop.
    """

    def __init__(
        self, hz: float, clock: Callable[[], float], sleep: Callable[[float], bool]
    ) -> None:
        self.hz = hz
        self._clock = clock
        self._sleep = sleep
        self._next_k = math.ceil(clock() * hz)

    def wait(self) -> Tick | None:
        """Wait for the next cycle; None when told to stop."""
        due_s = self._next_k / self.hz
        while True:
            remaining_s = due_s - self._clock()
            if self._sleep(max(0.0, remaining_s)):
                return None
            now_s = self._clock()
            if now_s >= due_s:
                break
        k = self._next_k
        last_passed = max(k, math.floor(now_s * self.hz))
        self._next_k = last_passed + 1
        return Tick(k, due_s, now_s - due_s, last_passed - k)
