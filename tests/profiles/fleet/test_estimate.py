"""What is said before a simulation starts, how many GPUs are needed, and how it is shown."""

import re
from typing import Any

import msgspec
import numpy as np
import pytest

from profiles.fleet.estimate import Asked, Cost, afford, estimate, requests_a_person
from profiles.fleet.kernel import histogram
from profiles.fleet.simulate import simulate, steady
from profiles.fleet.sizing import gpus_needed, sizes_at_most
from profiles.report.html.fleet import render
from profiles.report.text.fleet import fleet_text
from profiles.schema.fleet import Fleet, FleetError, People, Service
from tests.profiles.fleet.test_simulate import fleet

SERVICE = Service(step_base_s=0.0, step_image_s=1.0, steps=1, largest_batch=1)


HOUR = steady(5000.0, 3600.0)  # 18 M requests, of which 9,000 GPUs do 0.56 a second each


def asked(**changes: Any) -> Asked:
    told: dict[str, Any] = {"fleet": fleet(gpus=9000), "demand": HOUR, "cores": 2}
    return Asked(**(told | changes))


def cost(**changes: Any) -> Cost:
    told: dict[str, Any] = {"requests": 18e6, "seconds_each": 1e-6, "seconds": 9.0,
                            "search_seconds": 0.0, "memory_bytes": 1e9,
                            "most_slots": 1000}  # fmt: skip
    return Cost(**(told | changes))


def test_what_fits_is_not_refused() -> None:
    afford(asked(), cost(), memory_bytes=2e9, time_s=60.0)


@pytest.mark.parametrize(
    ("changes", "memory_bytes", "words"),
    [
        # 18e6 requests of 66.7 us on two cores: 600 s; of 60 s a tenth, in whole cells of 6
        ({"seconds_each": 600 / 9e6, "seconds": 600.0}, 2e9, [r"--gpus 900\)"]),
        ({"seconds_each": 1e3, "seconds": 9e9}, 2e9, ["not even one", "--time"]),
        ({"memory_bytes": 3e9}, 3e8, ["--max-queue", "--memory"]),
        (
            {"memory_bytes": 3e9},
            2e8,
            ["no size fits, the program alone takes 0.24 GiB: raise --mem"],
        ),
        ({"search_seconds": 100.0}, 2e9, ["without --slo-share", "to search", "--time"]),
    ],
)
def test_what_does_not_fit_says_what_would(
    changes: dict[str, Any], memory_bytes: float, words: list[str]
) -> None:
    search = 10_000 if "search_seconds" in changes else None
    with pytest.raises(FleetError) as caught:
        afford(asked(search_most=search), cost(**changes), memory_bytes=memory_bytes, time_s=60.0)
    for word in words:
        assert re.search(word, str(caught.value))


def test_cells_are_made_small_enough_for_memory() -> None:
    # Unbounded queues: a cell may come to hold its share of all 18 M people, 2 kB a GPU and second.
    wide = asked(fleet=fleet(gpus=9000, cell_gpus=9000, max_queue=None))
    needs = estimate(asked(fleet=wide.fleet, demand=steady(0.0, 3600.0)), memory_bytes=1e9)
    assert needs.memory_bytes < 1e9
    with pytest.raises(FleetError, match="--cell-gpus") as caught:
        afford(wide, cost(memory_bytes=9e9), memory_bytes=1e9, time_s=60.0)
    told = re.search(r"--cell-gpus (\d+)", str(caught.value))
    assert told is not None
    cells = int(told[1])
    smaller, larger = (msgspec.structs.replace(wide.fleet, cell_gpus=n) for n in (cells, cells + 1))
    afford(asked(fleet=smaller), held(asked(fleet=smaller)), memory_bytes=1e9, time_s=60.0)
    with pytest.raises(FleetError):
        afford(asked(fleet=larger), held(asked(fleet=larger)), memory_bytes=1e9, time_s=60.0)


def held(one: Asked) -> Cost:
    """Its cost, with the self-test's clock standing still."""
    still = msgspec.structs.replace(one, demand=steady(5000.0, 3600.0))
    return estimate(still, memory_bytes=1e9, clock=lambda: 0.0)


def test_the_estimate_is_in_proportion() -> None:
    ticks = iter([0.0, 2.0])
    one = asked(fleet=fleet(gpus=60), demand=steady(100.0, 3600.0), search_most=4000)
    told = estimate(one, memory_bytes=2**31, clock=lambda: next(ticks))
    # one of ten cells for the hour, 36,000 requests in 2 s; ten of them on two cores
    assert told.requests == pytest.approx(360_000)
    assert told.seconds == pytest.approx(10.0, rel=0.05)
    assert told.memory_bytes < 2**31
    # 100/s need 111 GPUs of 4 images in 4.4 s: 6 doublings to 4,000 at most, then 8 halvings
    tries, start = sizes_at_most(one.fleet, one.demand, People(), 4000)
    assert told.search_seconds == pytest.approx(tries * told.seconds, rel=0.1)
    assert (tries, start) == (1 + 6 + 8, 111)


def test_a_search_tries_no_more_than_was_said() -> None:
    block = Fleet(gpus=1, service=SERVICE, policy="none", routing="central", max_queue=None)
    demand = steady(20.0, 300.0)
    sizes: set[int] = set()
    gpus_needed(block, demand, seed=1, slo_s=1.000001, slo_share=0.95, most=1000,
                on_share=lambda gpus, _: sizes.add(gpus))  # fmt: skip
    assert 3 <= len(sizes) <= sizes_at_most(block, demand, People(), 1000)[0]


def test_a_size_whose_backlog_outgrows_memory_does_not_suffice() -> None:
    block = Fleet(gpus=1, service=SERVICE, policy="none", routing="central", max_queue=None)
    found = gpus_needed(block, steady(20.0, 300.0), seed=1, slo_s=5.0, slo_share=0.95, most=1000,
                        most_slots=600)  # fmt: skip
    assert (10, 0.0) in found.tried  # 10/s too many for 300 s
    assert found.gpus is not None


def test_requests_a_person() -> None:
    assert requests_a_person(People()) == 1
    assert requests_a_person(People(go_on=(0.5,))) == pytest.approx(2.0)  # geometric
    assert requests_a_person(People(go_on=(0.6, 0.3, 0.0))) == pytest.approx(1.78)  # 1 + .6 + .18
    # a tenth go on for ever, 1/(1 - 0.5); the others at most twice, 1 + 0.5
    limited = People(go_on=(0.5,), paying_share=0.1, free_images=2)
    assert requests_a_person(limited) == pytest.approx(0.1 * 2.0 + 0.9 * 1.5)


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
        counts = [0] * histogram.BINS
        counts[histogram.bin_of(seconds)] = 3
        told = histogram.quantile_s(np.array(counts), 0.5)
        assert told == pytest.approx(seconds, rel=histogram.RESOLUTION * 1.001)


def test_everything_shown_says_simulated() -> None:
    played = simulate(fleet(), steady(9.0, 300.0), seed=1, slo_s=5.0)
    assert fleet_text(played).startswith("SIMULATED")
    page = render(played)
    assert page.count("<svg") >= 8
    for part in page.split("<figure")[1:]:
        assert "imulated" in part.split("</h3>")[0]
    assert "http://" not in page.replace("http://www.w3.org", "")
