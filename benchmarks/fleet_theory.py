"""What queueing theory says of a fleet, beside what the simulator makes of the same case. Pure.

Service times have mean 1. Every case is one cell at a utilization rho, its warm-up left out.
"""

import math
from collections.abc import Callable

import msgspec

from profiles.fleet.simulate import simulate, steady
from profiles.schema.fleet import Fleet, Routing, Service, Simulated
from profiles.stats.queueing import erlang_c, mean_wait_two


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One comparison: a fleet of `servers` at `rho`, and the figure that theory knows."""

    name: str
    servers: int
    rho: float
    routing: Routing
    spread: str
    duration_s: float
    theory: float
    of: Callable[[Simulated], float]


def mmc_wait_s(servers: int, rho: float) -> float:
    """Mean wait in M/M/c: C / (c (1 - rho))."""
    return erlang_c(servers, rho) / (servers * (1 - rho))


def md1_wait_s(rho: float) -> float:
    """Mean wait in M/D/1: rho / (2 (1 - rho)) (Pollaczek-Khinchine)."""
    return rho / (2 * (1 - rho))


def _wait(result: Simulated) -> float:
    return result.wait_mean_s or 0.0


def _waited(result: Simulated) -> float:
    return result.waited_share or 0.0


def _little(result: Simulated) -> float:
    """L / (lambda W): 1 in any stable system."""
    rate = result.requests / result.duration_s
    return result.in_flight_mean / (rate * (result.latency_mean_s or math.nan))


def cases(scale: float = 1.0) -> list[Case]:
    """Every comparison, each `scale` times about two million requests."""
    told: list[tuple[str, int, float, Routing, str, float, Callable[[Simulated], float]]] = [
        ("erlang_c_10_waiting", 10, 0.8, "central", "exponential", erlang_c(10, 0.8), _waited),
        ("erlang_c_10_wait", 10, 0.8, "central", "exponential", mmc_wait_s(10, 0.8), _wait),
        ("erlang_c_2_wait", 2, 0.7, "central", "exponential", mmc_wait_s(2, 0.7), _wait),
        ("md1_wait", 200, 0.7, "random", "fixed", md1_wait_s(0.7), _wait),
        ("mm1_wait", 200, 0.7, "random", "exponential", mmc_wait_s(1, 0.7), _wait),
        ("two_choices_wait", 5000, 0.9, "two", "exponential", mean_wait_two(0.9), _wait),
        ("little", 500, 0.9, "two", "exponential", 1.0, _little),
    ]  # fmt: skip
    return [
        Case(
            name=name,
            servers=servers,
            rho=rho,
            routing=routing,
            spread=spread,
            duration_s=scale * 2e6 / (servers * rho) + 100.0,
            theory=theory,
            of=of,
        )
        for name, servers, rho, routing, spread, theory, of in told
    ]


def fleet_of(case: Case) -> Fleet:
    """Its fleet: one cell of servers that take an image at a time."""
    service = Service(
        step_base_s=0.0,
        step_image_s=1.0,
        steps=1,
        largest_batch=1,
        spread="exponential" if case.spread == "exponential" else "fixed",
        basis="stated",
    )
    return Fleet(
        gpus=case.servers,
        cell_gpus=case.servers,
        service=service,
        policy="none",
        routing=case.routing,
        max_queue=None,
    )


def error_percent(case: Case, seed: int = 1) -> float:
    """How far the simulator is from theory."""
    result = simulate(
        fleet_of(case),
        steady(case.rho * case.servers, case.duration_s),
        seed=seed,
        slo_s=10.0,
        from_s=min(100.0, case.duration_s / 4),
    )
    return 100.0 * (case.of(result) / case.theory - 1.0)
