"""`viralload fleet`: scenarios at block scale, and what is said of those that cannot be."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from loadtest.cli import main
from loadtest.crowd import Retry, Session
from loadtest.fleet import demand_of, people_of
from loadtest.scenario import parse_scenario
from loadtest.source import load_source
from profiles.fleet_values import Fleet, People, Service

PROFILE = str(Path(__file__).parents[2] / "profiles" / "reference" / "engine-tiny-cpu.json")
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
    assert "GPUs needed" in told
    (folder,) = (tmp_path / "fleets").iterdir()
    assert {path.name for path in folder.iterdir()} == {"simulated.json", "report.html"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--max-batch", "16"], "--max-batch"),
        (["--service", "/none"], "cannot read"),
        (["--gpus", "20", "--time", "0.001ms"], "fit"),
        (["--gpus", "20", "--memory", "0.01"], "--max-queue"),
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
    ],
)
def test_people(session: Session, expected: dict[str, Any]) -> None:
    people = people_of(msgspec.structs.replace(parse_scenario(STEADY), session=session))
    told = {name: getattr(people, name) for name in expected}
    for name, value in expected.items():
        if isinstance(value, tuple):
            assert told[name] == pytest.approx(value)
        else:
            assert told[name] == value
    assert people.timeout_s == 20.0
