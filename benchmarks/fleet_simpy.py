"""M/M/c in SimPy, as its own documentation would write it: the yardstick of `benchmarks.fleet`."""

import random
import time
from collections.abc import Generator
from typing import Any

import simpy


def requests_per_s(servers: int, rho: float, requests: int, seed: int) -> tuple[float, float]:
    """Requests simulated a second of wall clock, and the mean wait in service times."""
    rng = random.Random(seed)
    env = simpy.Environment()
    gpus = simpy.Resource(env, servers)
    waits: list[float] = []

    def person() -> Generator[Any, Any, None]:
        arrived = env.now
        with gpus.request() as turn:
            yield turn
            waits.append(env.now - arrived)
            yield env.timeout(rng.expovariate(1.0))

    def crowd() -> Generator[Any, Any, None]:
        for _ in range(requests):
            yield env.timeout(rng.expovariate(rho * servers))
            env.process(person())

    begin_s = time.perf_counter()
    env.process(crowd())
    env.run()
    return requests / (time.perf_counter() - begin_s), sum(waits) / len(waits)
