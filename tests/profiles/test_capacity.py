"""Capacity, first form: the arithmetic, and when there is no figure."""

from typing import Any

import pytest

from profiles.capacity import block_capacity
from profiles.schema import Demand, RunManifest, TargetInfo
from tests.profiles.synthetic import gpu_info, manifest, plan

SD15 = TargetInfo(
    url="http://127.0.0.1:8000",
    embedded=True,
    model="sd15",
    replicas=2,
    device="cuda",
    settings={"weights": "random"},
)
DEMAND = Demand(
    peak_images_per_s=833.0, images=3_000_000.0, duration_s=3600.0, basis="3 images a user"
)


def about(**changes: Any) -> RunManifest:
    values: dict[str, Any] = {
        "target": SD15,
        "gpus": [gpu_info(0), gpu_info(1)],
        "demand": DEMAND,
    }
    return manifest(plan(10, 10.0), **(values | changes))


def test_the_arithmetic() -> None:
    capacity = block_capacity(about(), 3.0, valid=True, duration_s=90.0)
    assert capacity.withheld is None
    assert capacity.goodput_images_per_s_per_gpu == pytest.approx(1.5)  # 3 / 2 GPUs
    assert capacity.block_images_per_s == pytest.approx(150_000.0)  # x 100,000
    assert capacity.blocks_for_peak == pytest.approx(833 / 150_000)
    assert capacity.gpus_for_peak == 556  # 833 / 1.5 = 555.3, rounded up
    assert capacity.event_gpu_hours == pytest.approx(3e6 / 1.5 / 3600)  # 555.6
    assert capacity.usd_per_1000_images == pytest.approx(1000 * 2.0 / 5400)  # 5400 images an hour
    assert capacity.price_usd_per_gpu_h == 2.0


def test_every_assumption_is_a_sentence_that_says_what_it_stands_on() -> None:
    capacity = block_capacity(about(), 3.0, valid=True, duration_s=90.0)
    assert all(
        sentence.startswith(("Measured: ", "Assumed: ", "Published, and derived from it: "))
        and sentence.endswith(".")
        for sentence in capacity.assumptions
    )
    told = " ".join(capacity.assumptions)
    for words in (
        "3 images/s within 10 s on 2 × NVIDIA H200, the mean over 90 s",
        "understates",
        "linear scaling",
        "no spare",
        "random weights",
        "2.00 $",
        "833 images/s (3 images a user)",
    ):
        assert words in told


def test_without_an_event_there_is_a_block_but_no_peak() -> None:
    capacity = block_capacity(about(demand=None), 3.0, valid=True)
    assert capacity.block_images_per_s == pytest.approx(150_000.0)
    assert (capacity.blocks_for_peak, capacity.gpus_for_peak) == (None, None)
    assert capacity.event_gpu_hours is None


def test_gpus_without_a_replica_are_not_counted() -> None:
    one = TargetInfo(url=SD15.url, embedded=True, model="sd15", replicas=1, device="cuda")
    capacity = block_capacity(about(target=one), 3.0, valid=True)
    assert capacity.goodput_images_per_s_per_gpu == pytest.approx(3.0)


def test_a_server_beside_us_is_taken_to_use_all_gpus() -> None:
    beside = TargetInfo(url="http://localhost:9000", embedded=False)
    capacity = block_capacity(about(target=beside), 3.0, valid=True)
    assert capacity.goodput_images_per_s_per_gpu == pytest.approx(1.5)
    assert any("uses all 2 GPUs of this machine" in one for one in capacity.assumptions)


@pytest.mark.parametrize(
    ("changes", "goodput", "flags", "words"),
    [
        ({"gpus": []}, 3.0, {"valid": True}, "a CPU says nothing"),
        (
            {"target": TargetInfo(url=SD15.url, embedded=True, model="sd15", device="cpu")},
            3.0,
            {"valid": True},
            "a CPU says nothing",
        ),
        (
            {"target": TargetInfo(url=SD15.url, embedded=True, is_stub=True)},
            3.0,
            {"valid": True},
            "stub",
        ),
        (
            {"target": TargetInfo(url=SD15.url, embedded=True, model="tiny", device="cuda")},
            3.0,
            {"valid": True},
            "model tiny is a toy",
        ),
        (
            {"target": TargetInfo(url=SD15.url, embedded=True, model="tiny-flux", device="cuda")},
            3.0,
            {"valid": True},
            "model tiny-flux is a toy",
        ),
        (
            {"target": TargetInfo(url="https://images.example/v1", embedded=False)},
            3.0,
            {"valid": True},
            "another machine",
        ),
        ({}, 3.0, {"valid": False}, "INVALID"),
        ({}, 3.0, {"valid": False, "interrupted": True}, "stopped before its end"),
        ({}, 0.0, {"valid": True}, "No image came back within the SLO"),
        ({}, None, {"valid": True}, "No image came back within the SLO"),
    ],
)
def test_withheld(
    changes: dict[str, Any], goodput: float | None, flags: dict[str, bool], words: str
) -> None:
    capacity = block_capacity(about(**changes), goodput, **flags)
    assert capacity.withheld is not None
    assert words in capacity.withheld
    assert capacity.block_images_per_s is None
    assert capacity.assumptions == []
