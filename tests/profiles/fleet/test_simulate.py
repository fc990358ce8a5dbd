"""The fleet against a plain simulation of the same rules, and what holds of every fleet."""

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiles.fleet.simulate import Demand, simulate, steady
from profiles.schema.fleet import (
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
MANIFOLD = msgspec.structs.replace(
    IMPATIENT,
    images=((1, 0.5), (3, 0.3), (5, 0.2)),
    steps=((20, 0.7), (12, 0.2), (31, 0.1)),
    free_images=4,
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


RULES: list[dict[str, Any]] = [
    {},
    {"deadline_s": 6.0},
    {"max_queue": None, "failures": FRAIL},
    {"autoscaling": SCALED, "deadline_s": 9.0, "failures": FRAIL},
]


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
    totals = {name: round(rows.sum()) for name, rows in plain.counts.items()}
    assert {k: v for k, v in fast.outcomes.items() if v} == {
        k: totals[k] for k in fast.outcomes if totals.get(k)
    }
    assert (fast.requests, fast.images) == (plain.requests, totals["offered"])
    assert fast.attempts == plain.attempts
    assert fast.slo_share == pytest.approx(sum(plain.good.values()) / plain.requests)
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
@pytest.mark.parametrize(
    ("people", "changes"),
    [
        *((people, changes) for people in (People(), IMPATIENT) for changes in RULES),
        (MANIFOLD, RULES[0]),
        (MANIFOLD, RULES[3]),
    ],
)
def test_a_plain_simulation_agrees(
    policy: Any, routing: Any, people: People, changes: dict[str, Any]
) -> None:
    rate_per_s = (3.0 if policy == "none" else 9.0) / people.mean_images
    assert_same(*both(fleet(policy=policy, routing=routing, **changes), people,
                      rate_per_s=rate_per_s))  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(
    policy=st.sampled_from(POLICIES),
    routing=st.sampled_from(ROUTINGS),
    gpus=st.integers(1, 12),
    cell_gpus=st.integers(1, 5),
    rate_per_s=st.floats(0.1, 40.0),
    retry=st.sampled_from(["none", "immediate", "backoff"]),
    deadline_s=st.none() | st.floats(0.5, 20.0),
    seed=st.integers(0, 2**63 - 1),
)
def test_every_request_has_one_outcome(
    policy: Any, routing: Any, gpus: int, cell_gpus: int, rate_per_s: float, retry: Any,
    deadline_s: float | None, seed: int,
) -> None:  # fmt: skip
    block = fleet(gpus=gpus, cell_gpus=cell_gpus, policy=policy, routing=routing,
                  deadline_s=deadline_s)  # fmt: skip
    people = People(retry=retry, timeout_s=7.0, patience_s=(1.0, 30.0), paying_share=0.5)
    played = simulate(block, steady(rate_per_s, 70.0), seed=seed, slo_s=5.0, people=people)
    assert sum(played.outcomes.values()) == played.requests
    assert sum(played.latency_counts) == played.outcomes["ok"]
    assert played.attempts >= played.requests
    assert all(0 <= ready <= gpus * (1 + 1e-9) for ready in played.minutes["gpus_ready"])


def test_threads_change_nothing() -> None:
    block = fleet(gpus=30, gpu_spread=0.08, deadline_s=9.0, failures=FRAIL, autoscaling=SCALED)
    one, two = (
        simulate(block, steady(40.0, 90.0), seed=3, slo_s=5.0, people=MANIFOLD, threads=threads)
        for threads in (1, 3)
    )
    assert msgspec.json.encode(one) == msgspec.json.encode(two)
    other = simulate(block, steady(40.0, 90.0), seed=4, slo_s=5.0, people=MANIFOLD)
    assert other.requests != one.requests


def test_progress_never_goes_back_and_ends_at_all() -> None:
    told: list[float] = []
    simulate(fleet(gpus=18), steady(9.0, 90.0), seed=1, slo_s=5.0, on_share=told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert len(told) >= 3  # once a cell


def test_a_request_takes_as_long_as_its_images() -> None:
    # 3 images at once: 20 steps of 0.06 + 3·0.04 s and the tail; alone, 3 after another: 3 x 2.3 s
    times = np.array([5.0])
    for policy, expected_s in (("step", 3.9), ("request", 3.9), ("none", 6.9)):
        played = simulate(
            fleet(policy=policy), Demand(duration_s=60.0, times_s=times), seed=1, slo_s=5.0,
            people=People(images=((3, 1.0),)),
        )  # fmt: skip
        assert played.latency_mean_s == pytest.approx(expected_s)
        assert (played.requests, played.images) == (1, 3)
        assert played.completed_images_per_s == pytest.approx(3 / 60)


def test_steps_make_a_request_longer() -> None:
    played = simulate(fleet(), Demand(duration_s=60.0, times_s=np.array([5.0])), seed=1, slo_s=5.0,
                      people=People(steps=((50, 1.0),)))  # fmt: skip
    assert played.latency_mean_s == pytest.approx(50 * 0.1 + 0.3)


def test_a_limit_ends_a_session() -> None:
    # everyone would go on for ever, at once, two images each: the free stop with their third
    people = People(go_on=(1.0,), images=((2, 1.0),), paying_share=0.0, free_images=3)
    times = np.arange(10.0)
    played = simulate(fleet(), Demand(duration_s=60.0, times_s=times), seed=1, slo_s=50.0,
                      people=people)  # fmt: skip
    assert (played.requests, played.images) == (20, 30)
    assert played.slo_share_by_class == {"free": 1.0}


def test_the_paying_are_served_before_the_free() -> None:
    people = People(paying_share=0.3)
    played = simulate(fleet(), steady(8.0, 300.0), seed=1, slo_s=9.0, people=people)
    shares = played.slo_share_by_class
    assert shares["paying"] > 0.99 > 0.9 > shares["free"]
    assert played.slo_share is not None
    assert shares["free"] < played.slo_share < shares["paying"]


def test_who_leaves_abandons_all_that_was_still_intended() -> None:
    # one GPU, 2.3 s an image, patience of 1 s: nobody waits for the first of five
    people = People(go_on=(1.0, 1.0, 1.0, 1.0, 0.0), patience_s=(1.0,))
    played = simulate(fleet(gpus=1, cell_gpus=1), Demand(duration_s=60.0, times_s=np.array([5.0])),
                      seed=1, slo_s=5.0, people=people)  # fmt: skip
    assert (played.outcomes["abandoned"], played.attempts) == (5, 1)


def test_what_slow_answers_push_past_the_end_is_unsent() -> None:
    # 2.3 s an image, no time to think: of five from 55 s on, three begin before 60 s
    people = People(go_on=(1.0, 1.0, 1.0, 1.0, 0.0))
    played = simulate(fleet(), Demand(duration_s=60.0, times_s=np.array([55.0])), seed=1, slo_s=5.0,
                      people=people)  # fmt: skip
    assert (played.outcomes["ok"], played.outcomes["unsent"]) == (3, 2)


def test_arrivals_follow_the_rate() -> None:
    # 0, 300 and 100 a second for 60 s each
    demand = Demand(duration_s=180.0, rates_per_s=(0.0, 300.0, 100.0))
    played = simulate(fleet(gpus=2000, cell_gpus=500), demand, seed=1, slo_s=5.0)
    offered = np.array(played.minutes["offered_per_s"])
    assert offered[0] == 0
    np.testing.assert_allclose(offered[1:], [300, 100], rtol=0.04)  # 3 sd of 6,000: 3.9%


def test_an_idle_gpu_takes_its_own_time() -> None:
    # 20 steps of 0.06 + 0.04 s and a tail of 0.3 s: 2.3 s, known to half a percent
    times = np.array([5.0])
    played = simulate(fleet(), Demand(duration_s=60.0, times_s=times), seed=1, slo_s=5.0)
    assert played.latency_mean_s == pytest.approx(2.3)
    assert played.latency_p50_s == pytest.approx(2.3, rel=0.005)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"max_batch": 16}, "largest|batches of up to 8"),
        ({"load_least_s": 50.0}, "load_least_s"),
        ({"autoscaling": Autoscaling(least=9)}, "autoscaling.least"),
    ],
)
def test_impossible_fleets_are_named(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(FleetError, match=word):
        simulate(fleet(**changes), steady(1.0, 10.0), seed=1, slo_s=1.0)


def test_a_backlog_that_outgrows_its_memory_is_an_error() -> None:
    with pytest.raises(FleetError, match="max-queue"):
        simulate(
            fleet(max_queue=None), steady(500.0, 60.0), seed=1, slo_s=1.0, most_slots=1000
        )  # fmt: skip
