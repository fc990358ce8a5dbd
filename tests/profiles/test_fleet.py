"""The fleet against a plain simulation of the same rules, and what holds of every fleet."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiles.fleet import Demand, simulate, steady
from profiles.fleet_values import (
    POLICIES,
    ROUTINGS,
    Autoscaling,
    Failures,
    Fleet,
    FleetError,
    People,
    Service,
    Simulated,
)
from tests.profiles.plain_fleet import PlainFleet

SERVICE = Service(
    step_base_s=0.06, step_image_s=0.04, tail_s=0.3, steps=20, largest_batch=8, basis="made up"
)
IMPATIENT = People(
    go_on=(0.6, 0.3),
    think_s=(0.5, 3.0, 9.0),
    patience_s=(2.0, 12.0, 40.0),
    timeout_s=8.0,
    retry="backoff",
    paying_share=0.4,
)
SCALED = Autoscaling(
    upscale_delay_s=3.0,
    downscale_delay_s=20.0,
    look_back_s=6.0,
    metrics_interval_s=2.0,
    sample_s=0.5,
    control_s=0.25,
    least=2,
)
FRAIL = Failures(
    gpu_hours_each=0.1,
    node_gpus=2,
    rack_gpus=4,
    rack_share=0.3,
    repair_least_s=5.0,
    repair_most_s=40.0,
)


def fleet(**changes: Any) -> Fleet:
    told: dict[str, Any] = {
        "gpus": 6,
        "cell_gpus": 6,
        "service": SERVICE,
        "max_batch": 4,
        "max_queue": 5,
        "load_least_s": 2.0,
        "load_most_s": 6.0,
    }
    return Fleet(**(told | changes))


def arrivals(rate_per_s: float, duration_s: float, seed: int) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(seed)
    quiet = np.sort(rng.uniform(0, duration_s, rng.poisson(rate_per_s * duration_s)))
    rush = np.sort(rng.uniform(0.3, 0.4, quiet.size // 2) * duration_s)
    return np.sort(np.concatenate([quiet, rush]))


def assert_same(fast: Simulated, plain: PlainFleet) -> None:
    totals = {name: int(rows.sum()) for name, rows in plain.counts.items()}
    assert {k: v for k, v in fast.outcomes.items() if v} == {
        k: totals[k] for k in fast.outcomes if totals.get(k)
    }
    assert fast.requests == totals["offered"]
    assert fast.attempts == totals["attempts"]
    assert fast.refused_attempts == totals.get("refused", 0)
    assert fast.latency_mean_s == pytest.approx(np.mean(plain.latencies), rel=1e-9)
    assert fast.wait_mean_s == pytest.approx(np.mean(plain.waits), rel=1e-9, abs=1e-12)
    for name in ("offered", "attempts", "completed", "goodput", "refused", "rejected", "failed",
                 "timeout", "abandoned", "in_flight", "gpus_ready", "gpus_busy",
                 "images_running"):  # fmt: skip
        expected = plain.counts.get(name, np.zeros(plain.rows))[:-1] / 60.0
        curve = fast.minutes.get(name) or fast.minutes[f"{name}_per_s"]
        np.testing.assert_allclose(curve, expected, rtol=1e-9, atol=1e-9, err_msg=name)


def both(
    block: Fleet, people: People, *, rate_per_s: float = 9.0, seed: int = 1
) -> tuple[Simulated, PlainFleet]:
    times = arrivals(rate_per_s, 120.0, seed)
    fast = simulate(
        block,
        Demand(duration_s=120.0, times_s=times),
        seed=seed,
        slo_s=5.0,
        people=people,
        drain_s=60.0,
    )
    plain = PlainFleet(
        block, people, times.tolist(), seed=seed, duration_s=120.0, slo_s=5.0, drain_s=60.0
    ).run()
    return fast, plain


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("routing", ROUTINGS)
@pytest.mark.parametrize("people", [People(), IMPATIENT], ids=["patient", "impatient"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"deadline_s": 6.0},
        {"max_queue": None, "failures": FRAIL},
        {"autoscaling": SCALED, "deadline_s": 9.0, "failures": FRAIL},
    ],
    ids=["bounded", "deadline", "failing", "scaled"],
)
def test_a_plain_simulation_agrees(
    policy: Any, routing: Any, people: People, changes: dict[str, Any]
) -> None:
    rate_per_s = 3.0 if policy == "none" else 9.0
    assert_same(*both(fleet(policy=policy, routing=routing, **changes), people,
                      rate_per_s=rate_per_s))  # fmt: skip
