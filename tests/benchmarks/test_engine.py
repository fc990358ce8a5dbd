"""The benchmark as it is called, on a load of seconds. What it measures is not judged here."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.engine import main

ROOT = Path(__file__).resolve().parents[2]


def run(module: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def last_line(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


@pytest.mark.slow
@pytest.mark.e2e
def test_every_policy_meets_the_same_load(tmp_path: Path) -> None:
    out = tmp_path / "engine.json"
    done = run(
        "benchmarks.engine", "--steps", "4", "--window", "2", "--loads", "burst,1.0,5/s",
        "--out", str(out), "--set", "device=cpu",
    )  # fmt: skip
    told = last_line(done)
    assert json.loads(out.read_text()) == told
    assert set(told["result"]) == {"none", "request", "step"}
    for policy, loads in told["result"].items():
        assert set(loads) == {"burst", "1.0", "5/s"}
        assert loads["burst"]["requests"] == told["result"]["none"]["burst"]["requests"]
        for figures in loads.values():
            assert figures["images_per_s"] > 0
            assert figures["goodput_images_per_s"] >= 0
            assert 0 < figures["limit_percent"] < 100
            assert figures["batch_mean"] >= 1
        assert policy != "none" or loads["burst"]["batch_mean"] == 1
    assert told["slo_s"] == pytest.approx(5 * told["lone_latency_s"])
    assert told["tflop_per_image"] > 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--model", "sd51"], "did you mean 'sd15'?"),
        (["--px", "65"], "65x65 cannot be made"),
        (["--policies", "stepp"], "'stepp' is none of none, request, step"),
        (["--loads", "burst,many"], "--loads"),
        (["--loads", "0/s"], "'0/s' is no load above 0"),
        (["--slo", "soon"], "--slo: 'soon' is no SLO such as 5 or 20s"),
        (["--slo", "0s"], "--slo: '0s' is no SLO such as 5 or 20s"),
        (["--capacity", "0", "--slo", "20s"], "--capacity: 0 is no rate above 0 images/s"),
        (["--capacity", "1.5"], "say it in seconds, as 20s"),
    ],
)
def test_wrong_options_cost_nothing(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        sys.exit(main(arguments))
    assert ended.value.code == 2
    assert told in capsys.readouterr().err
