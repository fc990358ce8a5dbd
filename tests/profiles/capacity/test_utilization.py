"""Admissible utilization: against theory and the fleet simulator, and what bursts and peaks do."""

import math
from dataclasses import replace

import numpy as np
import pytest

from profiles.capacity.block import ExtrapolationOptions, block_factors
from profiles.capacity.factors import alone
from profiles.capacity.utilization import (
    NAME,
    admissible,
    late_share,
    max_load,
    max_steady_load,
)
from profiles.fleet.simulate import Demand, simulate
from profiles.requests.burstiness import Arrivals
from profiles.schema.fleet import Fleet, Service
from profiles.stats.arrays import Floats
from tests.profiles.capacity.test_block import evidence

LEVEL = np.array([0.0, 1.0])  # a flat curve
FULL = evidence(saturated=True)  # 1.5 images/s a GPU, 2 GPUs, 14 services of slack
FULL_PER_S = 2 * 1.5


def came(times_s: Floats, duration_s: float, peak_per_s: float, dispersion: float) -> Arrivals:
    return Arrivals(np.sort(times_s), duration_s, peak_per_s, dispersion, 60.0, "such", LEVEL)


def poisson(rate_per_s: float, duration_s: float = 20_000.0, seed: int = 0) -> Arrivals:
    count = round(rate_per_s * duration_s)
    times = np.random.default_rng(seed).uniform(0.0, duration_s, count)
    return came(times, duration_s, rate_per_s, 1.0)


def bursts(rate_per_s: float, each: int, duration_s: float = 20_000.0) -> Arrivals:
    starts = np.random.default_rng(1).uniform(
        0.0, duration_s, round(rate_per_s * duration_s / each)
    )
    return came(np.repeat(starts, each), duration_s, rate_per_s, float(each))


def m_d_1_late(load: float, wait: float) -> float:
    """P(W > w) of M/D/1, w in services (Erlang 1909)."""
    terms = (
        (load * (k - wait)) ** k / math.factorial(k) * math.exp(load * (wait - k))
        for k in range(int(wait) + 1)
    )
    return 1.0 - (1.0 - load) * math.fsum(terms)


@pytest.mark.parametrize(("slack", "late"), [(5.0, 0.05), (3.0, 0.05), (10.0, 0.01)])
def test_one_server_of_poisson_arrivals_is_m_d_1(slack: float, late: float) -> None:
    load = max_steady_load(1, 0.4, slack, late)
    assert m_d_1_late(load - 0.02, slack) < late < m_d_1_late(load + 0.02, slack)


def test_it_agrees_with_the_fleet_simulator() -> None:
    times = bursts(3.0, 6, 2000.0).times_s
    service = Service(step_base_s=0.0, step_image_s=2.0, steps=1, largest_batch=1)
    fleet = Fleet(gpus=8, cell_gpus=8, service=service, policy="none", max_batch=1,
                  routing="central", max_queue=None)  # fmt: skip
    played = simulate(fleet, Demand(duration_s=2000.0, times_s=times), seed=0, slo_s=2.0 * 2.5,
                      threads=1, drain_s=1e5)  # fmt: skip
    assert played.slo_share is not None
    assert 0.1 < played.slo_share < 0.99
    assert late_share(times, 8, 2.0, 1.5) == pytest.approx(1.0 - played.slo_share, abs=1e-9)


def test_bursts_leave_less_and_a_short_peak_more() -> None:
    def rho(arrivals: Arrivals) -> float:
        return max_load(arrivals, 2, 1 / 1.5, 14.0, 0.05, seed=0)

    even, six, forty = rho(poisson(4.0)), rho(bursts(4.0, 6)), rho(bursts(4.0, 40))
    assert 1.0 > even > six > forty > 0.1
    # 10 s at 3 times what the cell does, in an hour of half of it: 5% may wait
    times = np.concatenate([poisson(1.5, 3600.0).times_s, np.linspace(1000.0, 1010.0, 90)])
    assert rho(came(times, 3600.0, 9.0, 1.0)) == pytest.approx(1.0)


def test_a_full_node_is_simulated_under_its_own_arrivals_and_says_so() -> None:
    own = admissible(replace(FULL, arrivals=bursts(4.0, 20)), 2, 0.05)
    told = admissible(FULL, 2, 0.05)
    assert own.stand == told.stand == "assumed"
    assert own.source.startswith("simulated, not measured: such: peak 1 times the mean, dispersion")
    assert told.source.startswith("theory for Poisson arrivals, as nothing else is known of them")
    assert own.value < 0.8 * told.value
    assert own.log_sd > 0.0


def test_a_peak_that_was_compressed_is_no_block_s() -> None:
    short = replace(bursts(4.0, 20), compression=40.0)
    told = admissible(replace(FULL, arrivals=short), 2, 0.05)
    assert told.value == admissible(FULL, 2, 0.05).value
    assert "time was compressed 40 times" in told.source
    assert "(name --curve)" in told.source


def test_the_interval_holds_what_a_long_load_would_bear() -> None:
    # a run of 5 min tells its bursts by 200 of them; the truth is that of 3 h, service constant
    truth = max_load(bursts(4.0, 6, 10_000.0), 2, 1 / 1.5, 14.0, 0.05, seed=0)
    held = 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        starts = random.uniform(0.0, 300.0, random.poisson(200))
        run = came(np.repeat(starts, 6), 300.0, 6 * starts.size / 300.0, 6.0)
        span = alone(admissible(replace(FULL, arrivals=run), 2, 0.05))
        held += span.low <= truth <= span.high
    assert held >= 34  # 95% of 40 are 38


def test_poisson_arrivals_simulated_are_the_theory_s() -> None:
    own = admissible(replace(FULL, arrivals=poisson(4.0)), 2, 0.05)
    assert own.value == pytest.approx(admissible(FULL, 2, 0.05).value, rel=0.03)


def test_what_met_its_slo_keeps_all_of_it_unless_another_curve_is_asked_for() -> None:
    met = evidence(arrivals=poisson(2.0))
    assert admissible(met, 2, 0.05).value == 1.0
    assert "under such: peak 1 times the mean" in admissible(met, 2, 0.05).source
    assert "name your curve with --curve" in admissible(evidence(), 2, 0.05).source
    steady = admissible(evidence(), 2, 0.05, [poisson(4.0, seed=seed) for seed in range(4)])
    assert steady.value == pytest.approx(1.0, abs=0.02)  # as it was tested
    asked = admissible(evidence(), 2, 0.05, [bursts(4.0, 20)] * 8)
    assert asked.value < 0.8
    assert "that steady Poisson arrivals allow, as it was tested" in asked.source
    assert asked.degrees == 7.0


def test_a_larger_cell_bears_more() -> None:
    full = replace(FULL, arrivals=bursts(4.0, 20))
    assert admissible(full, 16, 0.05).value > admissible(full, 2, 0.05).value
    assert "from 2 to 16 GPUs by Erlang C" in admissible(full, 16, 0.05).source


def test_no_router_evens_out_what_hits_all_cells() -> None:
    full = replace(FULL, arrivals=bursts(4.0, 20))
    gains = [
        {one.name: one for one in block_factors(found, ExtrapolationOptions(routing="central"))}[
            "routing"
        ].value
        for found in (full, FULL)
    ]
    assert gains[0] == 1.0 < gains[1]
    assert NAME in {one.name for one in block_factors(full, ExtrapolationOptions())}


def test_none_is_late_of_none() -> None:
    assert late_share(np.zeros(0), 2, 1.0, 1.0) == 0.0
