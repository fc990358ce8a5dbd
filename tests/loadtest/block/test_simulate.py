"""`viralload fleet`: scenarios at block scale, and what is said of those that cannot be."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from loadtest.block.people import people_of
from loadtest.block.simulate import at_own_rate, demand_of, peak_words, scaling_caveat
from loadtest.cli.main import main
from loadtest.plan.plan import Node, make_plan
from loadtest.plan.source import load_source
from loadtest.scenario.scenario import parse_scenario, scenario_text, with_overrides
from loadtest.scenario.session import PersonClass, Retry, Session
from profiles.fleet.simulate import simulate
from profiles.schema.fleet import Autoscaling, Fleet, People, Service

PROFILE = str(Path(__file__).parents[3] / "profiles" / "reference" / "engine-tiny-cpu.json")
STEADY = """
name = "s"
title = "S"
[curve]
kind = "ramp"
from_per_s = 0.0
to_per_s = 30.0
duration = "2min"
[request]
timeout = "20s"
"""


def block(gpus: int = 20) -> Fleet:
    service = Service(step_base_s=0.0, step_image_s=0.1, steps=10, largest_batch=8)
    return Fleet(gpus=gpus, service=service)


def fleet(tmp_path: Path, *words: str, text: str = STEADY) -> int:
    path = tmp_path / "s.toml"
    path.write_text(text)
    where = ["--service", PROFILE, "--out", str(tmp_path / "fleets")]
    return main(["fleet", str(path), *where, *words])


def test_a_scenario_is_simulated_and_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fleet(tmp_path, "--gpus", "20", "--failures", "--slo-share", "0.9") == 0
    told = capsys.readouterr().out
    assert told.startswith("SIMULATED")
    assert "servers needed" in told
    (folder,) = (tmp_path / "fleets").iterdir()
    assert {path.name for path in folder.iterdir()} == {"simulated.json", "report.html"}


def test_a_result_that_cannot_be_written_is_shown_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fleets").write_text("a file where the folder belongs")
    assert fleet(tmp_path, "--gpus", "20") == 0
    told = capsys.readouterr()
    assert told.out.startswith("SIMULATED")
    assert "warning: nothing was written: cannot write" in told.err


@pytest.mark.parametrize(
    ("scales", "kappa", "said"), [(True, 60.0, True), (True, 10.0, False), (False, 60.0, False)]
)
def test_what_compressed_time_does_to_an_autoscaler_is_said(
    scales: bool, kappa: float, said: bool
) -> None:
    scaling = Autoscaling(target_ongoing_requests=2.0) if scales else None
    told = scaling_caveat(msgspec.structs.replace(block(), autoscaling=scaling), kappa)
    assert bool(told) is said
    assert not said or "compressed 60 times" in told[0]


@pytest.mark.parametrize(
    ("no_gpu", "named", "not_named"),
    [(True, "on 20 servers without a GPU;", " on 20 GPUs"), (False, "on 20 GPUs;", "without a")],
)
def test_what_a_cpu_was_measured_at_is_called_no_gpu(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], no_gpu: bool, named: str, not_named: str
) -> None:
    profile = tmp_path / "service.json"
    service = Service(step_base_s=0.0, step_image_s=0.1, steps=10, largest_batch=8, no_gpu=no_gpu)
    profile.write_bytes(msgspec.json.encode(service))
    assert fleet(tmp_path, "--gpus", "20", "--service", str(profile)) == 0
    told = capsys.readouterr().out
    (report,) = (tmp_path / "fleets").glob("*/report.html")
    for text in (told, report.read_text()):
        assert named in text
        assert not_named not in text
        assert ("nothing of this says how many GPUs" in text) is no_gpu


@pytest.mark.parametrize(
    ("name", "peak", "images", "words"),
    [
        # 3 images of each of a million, 1,362 images/s at most
        ("ghibli-hour", None, 3e6, "a peak of 1,362 images/s, the curve's own rate; --peak 1.5x"),
        # 5,000 GPUs of 1 image/s, half as much again, over the peak
        ("ghibli-hour", "1.5x", 3e6 * 7500 / 1362, "a stress, not an event: a peak of 7,500"),
        ("flash-crowd", None, None, "a stress, not an event: a peak of 7,500 images/s, 1.5 x"),
    ],
)
def test_an_event_is_played_at_its_own_rate_unless_a_stress_is_asked_for(
    name: str, peak: str | None, images: float | None, words: str
) -> None:
    text, folder = scenario_text(name)
    load: dict[str, Any] = {"compression": 1.0, "compress_to": None}
    scenario = with_overrides(
        parse_scenario(text), {"load": load if peak is None else load | {"peak": peak}}
    )
    scenario = scenario if peak else at_own_rate(scenario)
    source, gpus = load_source(scenario, folder), block(gpus=5000)
    people = people_of(scenario)
    assert words in peak_words(scenario, source, gpus, people)
    if images is not None:
        expected = demand_of(scenario, source, gpus, people).expected
        assert expected * source.images_per_request == pytest.approx(images, rel=0.01)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--max-batch", "16"], "--max-batch"),
        (["--service", "/none"], "cannot read"),
        (["--gpus", "20", "--time", "0.001ms"], "fit"),
        (["--gpus", "20", "--memory", "0.01"], "the program alone takes 0.24 GiB"),
        (["--gpus", "10000001"], "at most 10,000,000"),
        (["--gpus", "20", "--deadline", "soon"], "duration"),
    ],
)
def test_faults_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert fleet(tmp_path, *words) == 2
    told = capsys.readouterr()
    assert said in next(line for line in told.err.splitlines() if line.startswith("error:"))
    assert told.out == ""
    assert not (tmp_path / "fleets").exists()


def test_the_block_sees_the_curve(tmp_path: Path) -> None:
    # 20 GPUs of 1 image/s at most; a ramp to 1.5 times that in 120 s: 30 x 120 / 2 images
    scenario = parse_scenario(STEADY + '[load]\npeak = "1.5x"\n')
    demand = demand_of(scenario, load_source(scenario, tmp_path), block(), People())
    assert demand.duration_s == 120.0
    assert demand.expected == pytest.approx(1800.0, rel=1e-6)
    rates = np.array(demand.rates_per_s)
    assert rates[-1] == pytest.approx(30.0, rel=0.01)
    assert (np.diff(rates) > 0).all()


def test_bursts_come_as_instants(tmp_path: Path) -> None:
    scenario = parse_scenario(STEADY + '[load]\npeak = 30.0\narrivals = "agent-like"\n')
    demand = demand_of(scenario, load_source(scenario, tmp_path), block(), People())
    assert demand.times_s is not None
    assert (np.diff(demand.times_s) >= 0).all()


@pytest.mark.parametrize(
    ("session", "expected"),
    [
        (Session(), {"go_on": (), "patience_s": ()}),
        (Session(requests=4.0), {"go_on": (0.75,)}),  # goes on with probability 1 - 1/4
        # of all, 0.4 make a second; of these, three quarters (0.3 of 0.4) a third
        (Session(requests={"1": 0.6, "2": 0.1, "3": 0.3}), {"go_on": (0.4, 0.75, 0.0)}),
        (Session(retry=Retry(policy="backoff")), {"retry": "backoff", "most_attempts": 5}),
        (Session(steps={"30": 3.0, "9": 1.0}), {"steps": ((9, 1.0), (30, 3.0))}),
        (
            Session(
                classes={
                    "free": PersonClass(share=3.0, images_a_day=3),
                    "paying": PersonClass(share=1.0),
                }
            ),
            {"paying_share": 0.25, "free_images": 3, "paying_images": None},
        ),
    ],
)
def test_people(session: Session, expected: dict[str, Any]) -> None:
    people = people_of(msgspec.structs.replace(parse_scenario(STEADY), session=session))
    told = {name: getattr(people, name) for name in expected}
    for name, value in expected.items():
        if isinstance(value, tuple) and name != "steps":
            assert told[name] == pytest.approx(value)
        else:
            assert told[name] == value
    assert people.timeout_s == 20.0


CROWD = """
[load]
peak = 60.0
[request]
images = { "1" = 0.6, "4" = 0.4 }
[session]
requests = 3.0
think = { kind = "exponential", mean = "10s" }
steps = { "10" = 0.8, "20" = 0.2 }
[session.classes.free]
share = 0.8
images_a_day = 3
[session.classes.paying]
share = 0.2
"""


def test_people_ask_for_as_much_as_those_of_a_run(tmp_path: Path) -> None:
    scenario = parse_scenario(STEADY.replace('[request]\ntimeout = "20s"', CROWD))
    source = load_source(scenario, tmp_path)
    plan, schedule = make_plan(scenario, source, Node())
    people, idle = people_of(scenario), block(gpus=4000)
    demand = demand_of(scenario, source, idle, people)
    assert plan.people is not None
    assert demand.expected == pytest.approx(plan.people, rel=0.1)  # 5 sd of 1,900 people
    played = simulate(idle, demand, seed=1, slo_s=10.0, people=people)
    a_person = played.images / demand.expected
    assert a_person == pytest.approx(len(schedule) and plan.images / plan.people, rel=0.1)
    assert played.images / played.requests == pytest.approx(plan.images / plan.requests, rel=0.05)


def test_what_is_not_simulated_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fleet(tmp_path, "--gpus", "5", text=STEADY + """
steps = 30
size = "64x64"
[thresholds]
latency = ["p(95) < 10s"]
[server]
policy = "none"
""") == 0  # fmt: skip
    told = capsys.readouterr()
    for words in ("request.size: an image takes", "policy = none", "thresholds (latency)"):
        assert f"warning: not simulated: {words}" in told.err.replace("[server] ", "")
        assert words in told.out.replace("[server] ", "")
    assert "30 steps of" in told.out  # the profile's 20 are not
    (report,) = (tmp_path / "fleets").glob("*/report.html")
    assert "What is left out" in report.read_text()


def test_bursts_cannot_be_searched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = STEADY + '[load]\npeak = 30.0\narrivals = "agent-like"\n'
    assert fleet(tmp_path, "--slo-share", "0.9", text=text) == 2
    assert "--arrivals poisson" in capsys.readouterr().err
