"""From evidence to a block: the arithmetic, the interval, and when there is no figure."""

import math
from typing import Any

import numpy as np
import pytest

from profiles.capacity import factors
from profiles.capacity.block import ExtrapolationOptions, block_capacity, block_factors, extrapolate
from profiles.capacity.evidence import Evidence
from profiles.capacity.factors import Doublings, known
from profiles.requests.burstiness import arrivals
from profiles.requests.request_mix import Mix
from profiles.requests.slo import Slo, SloError, TooLittleError
from profiles.schema import RunManifest, TargetInfo
from profiles.stats.queueing import Routing
from tests.profiles.steady import DEMAND, SD15
from tests.profiles.synthetic import gpu_info, manifest, plan

SLO = Slo(10.0, 0.95, "p(95) < 10s")


def about(**changes: Any) -> RunManifest:
    values: dict[str, Any] = {
        "target": SD15,
        "gpus": [gpu_info(0), gpu_info(1)],
        "demand": DEMAND,
    }
    return manifest(plan(10, 10.0), **(values | changes))


def evidence(**changes: Any) -> Evidence:
    values: dict[str, Any] = {
        "rate": known("goodput per GPU", 1.5, 0.02, "measured", "60 windows", 20.0),
        "tested_gpus": 2,
        "repeats": 1,
        "saturated": False,
        "slo": SLO,
        "slack": 14.0,
    }
    return Evidence(**(values | changes))


def test_the_arithmetic() -> None:
    capacity = block_capacity(about(), evidence(), valid=True)
    assert capacity.withheld is None
    assert capacity.images_per_s_per_gpu == pytest.approx(1.5)
    assert capacity.block_images_per_s == pytest.approx(142_500.0)  # 1.5 x 100,000 x 0.95 spare
    assert capacity.blocks_for_peak == pytest.approx(833 / 142_500)
    assert capacity.gpus_for_peak == 585  # 833 / 1.425 = 584.6, rounded up
    assert capacity.event_gpu_hours == pytest.approx(3e6 / 1.425 / 3600)
    assert capacity.usd_per_1000_images == pytest.approx(1000 * 2.0 / (3600 * 1.425))


def test_the_interval_is_the_factors_reaches_in_quadrature() -> None:
    capacity = block_capacity(about(), evidence(), valid=True)
    out = math.sqrt(4 * 72) * 8 / 50_677  # of 4 and 72 h, 8 GPUs a node
    reaches = [
        2.0860 * 0.02,  # goodput: t of 20 degrees
        1.96 * 0.05 * math.sqrt(2),  # the next repeat
        1.96 * 0.08 / math.sqrt(2),  # GPU to GPU over two
        1.96 * 0.05,  # site
        out / (1 - out) * math.log(72 / 4) / 2,  # availability
    ]
    reach = math.sqrt(sum(one**2 for one in reaches))
    assert capacity.block_images_per_s is not None
    assert capacity.block_low_images_per_s == pytest.approx(142_500 * math.exp(-reach), rel=1e-4)
    assert capacity.block_high_images_per_s == pytest.approx(142_500 * math.exp(reach), rel=1e-4)
    assert capacity.blocks_for_peak_high == pytest.approx(833 / 142_500 * math.exp(reach), rel=1e-4)


def test_few_degrees_of_freedom_widen_and_known_spread_does_not() -> None:
    def width(degrees: float | None) -> float:
        one = known("goodput per GPU", 1.0, 0.1, "measured", "told", degrees)
        span = factors.alone(one)
        return math.log(span.high / span.low) / 2

    assert width(1.0) == pytest.approx(1.2706, abs=1e-3)  # t of one degree: 12.706
    assert width(None) == pytest.approx(0.196, abs=1e-4)
    assert width(1.0) > width(3.0) > width(30.0) > width(None)


def test_what_moves_it_most_stands_first() -> None:
    found = block_factors(evidence(), ExtrapolationOptions())
    swings = factors.tornado(found)
    assert swings[0][0].name == "the next repeat"
    spans = [high - low for _, low, high in swings]
    assert spans == sorted(spans, reverse=True)
    assert all(low < 0 < high for _, low, high in swings)


def test_every_factor_says_what_it_stands_on() -> None:
    for one in block_factors(
        evidence(saturated=True), ExtrapolationOptions(cell_gpus=16, routing="two")
    ):
        assert one.stand in ("measured", "published", "assumed")
        assert one.source
        assert one.log_sd >= 0.0


@pytest.mark.parametrize(
    ("spare", "value"), [(0.05, 0.95), (0.0, 1 - math.sqrt(288) * 8 / 50_677), (0.2, 0.8)]
)
def test_availability_is_spare_or_failures_whichever_takes_more(spare: float, value: float) -> None:
    assert factors.availability(spare).value == pytest.approx(value)


def test_a_full_node_needs_room_and_one_that_met_the_slo_does_not() -> None:
    met = {one.name: one for one in block_factors(evidence(), ExtrapolationOptions())}
    full = {
        one.name: one for one in block_factors(evidence(saturated=True), ExtrapolationOptions())
    }
    assert met["admissible utilization"].value == 1.0
    assert 0.7 < full["admissible utilization"].value < 1.0
    assert full["admissible utilization"].log_sd > 0.0


@pytest.mark.parametrize("kind", ["round-robin", "two", "central"])
def test_no_routing_makes_more_of_gpus_than_full_ones_do(kind: Routing) -> None:
    # 300 Poisson arrivals in 60 s for a GPU that makes 1.5/s; thinned, by chance, they let it be a
    # little busier than theory does, and theory's gain of a central queue would go past it
    due = np.sort(np.random.default_rng(0).uniform(0.0, 60.0, 300))
    own = arrivals(due, 60.0, np.array([0.0, 60.0]), np.ones(2), "own")
    full = evidence(saturated=True, tested_gpus=1, slack=2.8, arrivals=own)
    found = {one.name: one.value for one in block_factors(full, ExtrapolationOptions(routing=kind))}
    assert found["routing"] > 1.0
    assert found["admissible utilization"] * found["routing"] <= 1.0 + 1e-9
    rate = evidence(tested_gpus=1, slack=5.0, has_slo=False)  # of a full GPU, without an SLO
    told = {one.name: one for one in block_factors(rate, ExtrapolationOptions(routing=kind))}
    assert told["routing"].value == 1.0
    assert "no routing makes more" in told["routing"].source


def test_larger_cells_cost_certainty_by_the_doubling() -> None:
    found = block_factors(evidence(), ExtrapolationOptions(cell_gpus=16))
    cell = next(one for one in found if "larger" in one.name)
    assert cell.log_sd == pytest.approx(0.05 * 3)  # 2 -> 16 is three doublings
    seen = Doublings(error=0.01, runs=6, largest=16)
    scored = block_factors(evidence(), ExtrapolationOptions(cell_gpus=16, doublings=seen))
    cell = next(one for one in scored if "larger" in one.name)
    assert cell.log_sd == pytest.approx(0.03)
    assert (cell.degrees, cell.stand) == (6.0, "measured")


@pytest.mark.parametrize(
    ("error", "largest", "spread"),
    [
        (0.01, 16, 0.01 * 3 + 0.05 * 2),  # 2 -> 16 was seen, 16 -> 64 was not
        (0.08, 16, 0.08 * 5),  # worse than what is assumed: nothing says it gets better
        (0.01, 1, 0.05 * 5),  # smaller than what was measured now
    ],
)
def test_small_errors_of_small_tests_do_not_vouch_for_larger_ones(
    error: float, largest: int, spread: float
) -> None:
    seen = Doublings(error=error, runs=6, largest=largest)
    found = block_factors(evidence(), ExtrapolationOptions(cell_gpus=64, doublings=seen))
    cell = next(one for one in found if "larger" in one.name)
    assert cell.log_sd == pytest.approx(spread)
    assert (cell.degrees, cell.stand) == (None, "assumed")
    assert "beyond" in cell.source


def test_a_cell_a_thousand_times_what_was_tested_is_refused() -> None:
    with pytest.raises(
        TooLittleError, match=r"1,000 times the 2 that were tested.*Test at least 3"
    ):
        extrapolate(evidence(), ExtrapolationOptions(cell_gpus=2000))
    assert extrapolate(evidence(), ExtrapolationOptions(cell_gpus=1998)).loud


def test_every_assumption_is_a_sentence_that_says_what_it_stands_on() -> None:
    asked = Mix(10, {(1, 512, 512, 20): 1.0})
    capacity = block_capacity(about(), evidence(mix=asked), valid=True)
    assert all(
        sentence.startswith(("Measured: ", "Assumed: ", "Published, and derived from it: "))
        and sentence.endswith(".")
        for sentence in capacity.assumptions
    )
    told = " ".join(capacity.assumptions)
    for words in (
        "Measured: 3 images/s on 2 × NVIDIA H200 while a queue stood before them",
        "50,000 cells of the 2 tested",
        "asked for what this run was, 1 image of 512 × 512 in 20 steps a request",
        "random weights",
        "$2.00",
        "833 images/s (3 images a user)",
    ):
        assert words in told


def test_without_an_event_there_is_a_block_but_no_peak() -> None:
    capacity = block_capacity(about(demand=None), evidence(), valid=True)
    assert capacity.block_images_per_s == pytest.approx(142_500.0)
    assert (capacity.blocks_for_peak, capacity.gpus_for_peak) == (None, None)
    assert capacity.event_gpu_hours is None


def test_a_server_beside_us_is_taken_to_use_all_gpus() -> None:
    beside = TargetInfo(url="http://localhost:9000", embedded=False)
    capacity = block_capacity(about(target=beside), evidence(), valid=True)
    assert any("uses all 2 GPUs of this machine" in one for one in capacity.assumptions)


URL = SD15.url


@pytest.mark.parametrize(
    ("changes", "found", "flags", "words"),
    [
        ({"gpus": []}, evidence(), {"valid": True}, "a CPU says nothing"),
        (
            {"target": TargetInfo(url=URL, embedded=True, model="sd15", device="cpu")},
            evidence(),
            {"valid": True},
            "a CPU says nothing",
        ),
        (
            {"target": TargetInfo(url=URL, embedded=True, is_stub=True)},
            evidence(),
            {"valid": True},
            "stub",
        ),
        (
            {"target": TargetInfo(url=URL, embedded=True, model="tiny-flux", device="cuda")},
            evidence(),
            {"valid": True},
            "model tiny-flux is a toy",
        ),
        (
            {"target": TargetInfo(url="https://images.example/v1", embedded=False)},
            evidence(),
            {"valid": True},
            "another machine",
        ),
        ({}, evidence(), {"valid": False}, "INVALID"),
        ({}, evidence(), {"valid": False, "interrupted": True}, "stopped before its end"),
        ({}, None, {"valid": True}, "No image came back within the SLO"),
        ({}, SloError("never met"), {"valid": True}, "Never met."),
    ],
)
def test_withheld(changes: dict[str, Any], found: Any, flags: dict[str, bool], words: str) -> None:
    capacity = block_capacity(about(**changes), found, **flags)
    assert capacity.withheld is not None
    assert words in capacity.withheld
    assert capacity.block_images_per_s is None
    assert (capacity.assumptions, capacity.factors) == ([], [])
