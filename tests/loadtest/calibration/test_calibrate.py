from pathlib import Path

import msgspec
import numpy as np
import pytest

from loadtest.calibration.calibrate import (
    alone,
    asks,
    calibrate,
    in_flight_for,
    mix_of_asks,
    refusal,
)
from loadtest.calibration.closed_loop import failure
from loadtest.calibration.concurrency import Calibration, Window
from loadtest.errors import ViralloadError
from loadtest.plan.job import Job, encode
from loadtest.plan.source import load_source
from loadtest.scenario.scenario import parse_scenario
from profiles.record.folder import RunFolder
from profiles.requests.request_mix import Mix
from tests.loadtest.conftest import StartServer

MIXED = """
name = "mixed"
title = "A mix"
[curve]
kind = "constant"
rate_per_s = 1
duration = "30s"
[load]
peak = "1.5x"
[request]
size = "16x16"
images = { "1" = 0.6, "4" = 0.4 }
[session]
requests = 2.0
steps = { "4" = 0.25, "8" = 0.75 }
"""


def test_what_is_asked_for_is_the_scenarios_own_mix() -> None:
    """Images with one at the model's own steps: 1.2x of the built-in crowd was 1.84x."""
    scenario = parse_scenario(MIXED)
    rows = asks(scenario, load_source(scenario, Path()))
    assert len(rows) == 4096
    for name, shares in (("images", {1: 0.6, 4: 0.4}), ("steps", {4: 0.25, 8: 0.75})):
        found, counts = np.unique(rows[name], return_counts=True)
        assert set(found) == set(shares)
        for value, count in zip(found, counts, strict=True):  # 4 standard errors: 0.031
            assert count / len(rows) == pytest.approx(shares[int(value)], abs=0.031)
    # not in the order of time: a scenario's first people are no others than its last
    assert (np.diff(rows["t_s"]) < 0).mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("max_batch", "replicas", "first"),
    [(None, None, 4), (8, 1, 16), (8, 4, 64), (256, 8, 512)],
)
def test_what_is_in_flight_at_first(
    max_batch: int | None, replicas: int | None, first: int
) -> None:
    assert in_flight_for(max_batch, replicas) == first


def test_what_was_limited_by_something_else_is_no_capacity() -> None:
    found = Calibration(images_per_s=3.97, images=24, seconds=6.1, in_flight=8)
    assert refusal(found) is None
    limited = msgspec.structs.replace(found, limit="its 120 s were out")
    said = refusal(limited)
    assert said is not None
    assert "3.97 images/s came back with 8 requests in flight and still rising" in said
    for way_out in ("--peak", "--capacity", "viralload find"):
        assert way_out in said


def write(folder: Path, url: str) -> Path:
    job = Job(
        run_dir="", clock_zero_monotonic_s=0.0, base_url=url, model="other-model", width=16,
        height=16, prompts=["x"], timeout_s=5.0, drain_s=5.0,
    )  # fmt: skip
    path = RunFolder(folder).job_path
    path.write_bytes(encode(job))
    return path


@pytest.mark.e2e
def test_a_server_of_known_capacity_is_measured(image_server: StartServer, tmp_path: Path) -> None:
    """Eight at once, 0.4 s each: 20 images/s, found from four in flight on."""
    path = write(tmp_path, image_server(delay_s=0.4, places=8))
    levels: list[Window] = []
    measured = calibrate(path, 4, tmp_path / "log", levels.append)
    assert 18 < measured.images_per_s < 20.5
    assert measured.interval is not None
    assert measured.interval[0] <= measured.images_per_s <= measured.interval[1]
    assert (levels[0].in_flight, levels[1].in_flight) == (4, 8)
    assert measured.in_flight >= 8


@pytest.mark.e2e
@pytest.mark.slow
def test_a_server_that_refuses_what_is_too_much(image_server: StartServer, tmp_path: Path) -> None:
    """Four at once, 0.2 s each, and 429 beyond eight."""
    path = write(tmp_path, image_server(delay_s=0.2, places=4, capacity=8))
    measured = calibrate(path, 4, tmp_path / "log")
    assert measured.limit is None
    assert 17 < measured.images_per_s < 20.5


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("options", "said"),
    [({"fault": "500"}, "HTTP 500: melted"), ({"fault": "few"}, "0 images came back")],
)
def test_a_failing_server_is_said_not_measured(
    image_server: StartServer, tmp_path: Path, options: dict[str, str], said: str
) -> None:
    path = write(tmp_path, image_server(**options))
    with pytest.raises(ViralloadError, match=said):
        calibrate(path, 2, tmp_path / "log")
    with pytest.raises(ViralloadError, match=said):
        alone(path, tmp_path / "log")


@pytest.mark.parametrize(
    ("in_flight", "timed_out", "said"),
    [
        (16, True, "no answer in 5 s, with 16 requests in flight; give --timeout more"),
        (1, True, "with 1 request in flight"),
        (16, False, "no answer in 5 s, with 16 requests in flight"),
    ],
)
def test_a_failure_names_how_many_were_in_flight_and_the_way_out(
    in_flight: int, timed_out: bool, said: str
) -> None:
    told = failure("no answer in 5 s", in_flight, timed_out=timed_out)
    assert told.startswith(said) or said in told
    assert ("--capacity" in told and "--peak" in told) is timed_out


@pytest.mark.e2e
def test_a_lone_request(image_server: StartServer, tmp_path: Path) -> None:
    took_s = alone(write(tmp_path, image_server(delay_s=0.1)), tmp_path / "log", 3)
    assert len(took_s) == 3
    assert all(0.1 <= seconds < 1.0 for seconds in took_s)


def test_what_rows_ask_for_is_told_as_a_record_would() -> None:
    """A capacity found with other requests is another capacity."""
    scenario = parse_scenario(MIXED)
    job = Job(
        run_dir="", clock_zero_monotonic_s=0.0, base_url="http://127.0.0.1:1", model="m", width=16,
        height=16, prompts=["x"], timeout_s=5.0, drain_s=5.0, steps=20,
    )  # fmt: skip
    mix = mix_of_asks(asks(scenario, load_source(scenario, Path())), job)
    assert set(mix.shares) == {(n, 16, 16, steps) for n in (1, 4) for steps in (4, 8)}
    assert sum(mix.shares.values()) == pytest.approx(1.0)
    alone_1 = Mix(1000, {(1, 16, 16, 20): 1.0})
    assert mix.differs(alone_1)
    plain = msgspec.structs.replace(scenario, session=None, request=msgspec.structs.replace(
        scenario.request, images=1))  # fmt: skip
    assert not mix_of_asks(asks(plain, load_source(plain, Path())), job).differs(alone_1)
