"""What is said before a simulation starts, how many GPUs are needed, and how it is shown."""

from typing import Any

import numpy as np
import pytest

from profiles import fleet_latency
from profiles.fleet import simulate, steady
from profiles.fleet_cost import Cost, afford, estimate, images_a_person
from profiles.fleet_report import render
from profiles.fleet_search import gpus_needed
from profiles.fleet_text import fleet_text
from profiles.fleet_values import Fleet, FleetError, People, Service
from tests.profiles.test_fleet import fleet

SERVICE = Service(step_base_s=0.0, step_image_s=1.0, steps=1, largest_batch=1)


def cost(**changes: Any) -> Cost:
    told: dict[str, Any] = {"requests": 1e6, "seconds": 10.0, "memory_bytes": 1e9,
                            "most_slots": 1000}  # fmt: skip
    return Cost(**(told | changes))


def test_what_fits_is_not_refused() -> None:
    afford(fleet(gpus=9000), cost(), memory_bytes=2e9, time_s=60.0)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"seconds": 600.0}, r"--gpus 900\)"),  # a tenth of 9,000, in whole cells of 6
        ({"seconds": 6e8}, "not even one"),
        ({"memory_bytes": 3e9}, "--max-queue"),
    ],
)
def test_what_does_not_fit_says_what_would(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(FleetError, match=word):
        afford(fleet(gpus=9000), cost(**changes), memory_bytes=2e9, time_s=60.0)


def test_the_estimate_is_in_proportion() -> None:
    ticks = iter([0.0, 2.0])
    demand = steady(100.0, 3600.0)
    told = estimate(fleet(gpus=60), demand, People(), memory_bytes=2**31,
                    clock=lambda: next(ticks), cores=2)  # fmt: skip
    # one of ten cells for the hour, 36,000 requests in 2 s; ten of them on two cores
    assert told.requests == pytest.approx(360_000)
    assert told.seconds == pytest.approx(10.0, rel=0.05)
    assert told.memory_bytes < 2**31


def test_images_a_person() -> None:
    assert images_a_person(People()) == 1
    assert images_a_person(People(go_on=(0.5,))) == pytest.approx(2.0)  # geometric
    assert images_a_person(People(go_on=(0.6, 0.3, 0.0))) == pytest.approx(1.78)  # 1 + .6 + .18


def test_gpus_needed_for_a_lone_queue() -> None:
    # One second an image and 1.0 s allowed: all must start at once; 20 arrive a second.
    block = Fleet(gpus=1, service=SERVICE, policy="none", routing="central", max_queue=None)
    found = gpus_needed(
        block, steady(20.0, 600.0), seed=1, slo_s=1.000001, slo_share=0.95, most=1000
    )
    # Erlang C of 30 servers at 20 erlangs is 0.025, of 28 it is 0.06: 29 suffice
    assert found.gpus is not None
    assert 28 <= found.gpus <= 30
    least = [share for gpus, share in found.tried if gpus == found.gpus]
    assert least[0] >= 0.95
    none = gpus_needed(block, steady(20.0, 60.0), seed=1, slo_s=0.5, slo_share=0.95, most=50)
    assert none.gpus is None


def test_percentiles_are_known_to_the_stated_resolution() -> None:
    for seconds in (1.234e-3, 0.5, 17.0, 4000.0):
        counts = [0] * fleet_latency.BINS
        counts[fleet_latency.bin_of(seconds)] = 3
        told = fleet_latency.quantile_s(np.array(counts), 0.5)
        assert told == pytest.approx(seconds, rel=fleet_latency.RESOLUTION * 1.001)


def test_everything_shown_says_simulated() -> None:
    played = simulate(fleet(), steady(9.0, 300.0), seed=1, slo_s=5.0)
    assert fleet_text(played).startswith("SIMULATED")
    page = render(played)
    assert page.count("<svg") >= 8
    for part in page.split("<figure")[1:]:
        assert "imulated" in part.split("</h3>")[0]
    assert "http://" not in page.replace("http://www.w3.org", "")
