"""A search against a simulated queue: `loadtest.search.find` without a server or a clock."""

from typing import Literal

import numpy as np

from benchmarks.queues import capacity, mdc_tail, mmc_tail, sojourn_times
from loadtest.search.next_window import Goal, Next, choose, found
from profiles.search.crossing import Count, Crossing, crossing
from profiles.search.windows import missed, warm_up

SERVICE_S = 0.05


class Queue:
    """c servers before which Poisson customers queue; what is there stays from window to window."""

    def __init__(self, kind: Literal["fixed", "exponential"], servers: int, seed: int) -> None:
        self.kind, self.servers = kind, servers
        self.rng = np.random.default_rng(seed)
        self.now_s = 0.0
        self.free_s = [0.0] * servers

    def capacity(self, goal: Goal) -> float:
        tail = mmc_tail if self.kind == "exponential" else mdc_tail

        def late(rate: float) -> float:
            return tail(rate, SERVICE_S, self.servers, goal.limit_s)

        return capacity(late, goal.allowed, self.servers / SERVICE_S)

    def play(self, window: Next, limit_s: float) -> Count:
        if window.fresh:
            self.now_s = max(self.now_s, *self.free_s)
        count = self.rng.poisson(window.rate_per_s * window.duration_s)
        arrivals = self.now_s + np.sort(self.rng.random(count)) * window.duration_s
        service = np.full(count, SERVICE_S)
        if self.kind == "exponential":
            service = self.rng.exponential(SERVICE_S, count)
        latency = sojourn_times(arrivals, service, self.free_s)
        self.now_s += window.duration_s
        misses = missed(latency, limit_s)[warm_up(latency, limit_s) :]
        return Count(
            rate_per_s=window.rate_per_s,
            requests=misses.size,
            missed=int(misses.sum()),
            short=window.short,
        )


def search(queue: Queue, goal: Goal, start_per_s: float) -> tuple[Crossing | None, list[Count]]:
    """Search until enough is known or time is out."""
    seen: list[Count] = []
    while (window := choose(seen, start_per_s, goal)) is not None:
        if queue.now_s + window.duration_s > goal.time_s or found(seen, goal) is not None:
            break
        seen.append(queue.play(window, goal.limit_s))
    return crossing(seen, goal.allowed), seen
