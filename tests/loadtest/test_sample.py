"""`viralload sample` against scripted GPUs, as the command it is."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from profiles.run import RunFolder
from profiles.sampled import is_sampled
from tests.profiles import fake_nvml

SCRIPT = "- gpus 2\n* power_mw 250000\n* throttle_power_share 0.31\n1 xid 0.8 79\n"


def command(tmp_path: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "loadtest.cli", *words],
        env=fake_nvml.environment(tmp_path, SCRIPT),
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_samples_for_so_long_and_tells_what_it_saw(tmp_path: Path) -> None:
    done = command(tmp_path, "sample", "--for", "4s", "--out", str(tmp_path / "runs"), "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [gpu["power_mean_w"] for gpu in found["gpus"]] == pytest.approx([250.0, 250.0])
    assert abs(found["energy_j"] - 500.0 * found["duration_s"]) < 0.05 * found["energy_j"]
    assert abs(found["gpus"][0]["power_capped_share"] - 0.31) < 0.02
    assert [fault["code"] for fault in found["faults"]] == [79]
    (path,) = (tmp_path / "runs").iterdir()
    folder = RunFolder(path)
    assert is_sampled(folder.manifest())
    assert {sample.index for sample in folder.gpu().read()} == {0, 1}

    again = command(tmp_path, "report", str(path))
    assert again.returncode == 0
    assert "power-capped 31 % of the time" in again.stdout
    assert "fallen off the bus" in again.stdout


def test_a_process_that_is_not_there(tmp_path: Path) -> None:
    done = command(tmp_path, "sample", "--pid", "4194300", "--out", str(tmp_path / "runs"))
    assert done.returncode == 2
    assert done.stderr == "error: --pid: there is no process 4194300; see ps\n"
    assert not (tmp_path / "runs").exists()
