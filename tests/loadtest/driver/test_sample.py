"""`viralload sample` against scripted GPUs, as the command it is."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from loadtest.driver.sample import line, table
from profiles.record.folder import RunFolder
from profiles.schema import GpuSample, HostSample, RunEvent
from profiles.summary.sample import is_sampled
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
    assert "SW power cap 31% of the time" in " ".join(again.stdout.split())
    assert "fallen off the bus" in again.stdout


def test_a_process_that_is_not_there(tmp_path: Path) -> None:
    done = command(tmp_path, "sample", "--pid", "4194300", "--out", str(tmp_path / "runs"))
    assert done.returncode == 2
    assert done.stderr == "error: --pid: there is no process 4194300; see ps\n"
    assert not (tmp_path / "runs").exists()


def test_it_ends_with_the_process_it_watches(tmp_path: Path) -> None:
    # not reaped before it is over: a zombie has ended all the same
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(2)"]) as watched:
        words = ["--pid", str(watched.pid), "--for", "60s", "--gpu", "GPU-00000001"]
        done = command(tmp_path, "sample", *words, "--out", str(tmp_path / "runs"), "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["duration_s"] < 30
    assert [gpu["index"] for gpu in found["gpus"]] == [1]


def reading(t_s: float, **changes: Any) -> GpuSample:
    values: dict[str, Any] = {"node": "n1", "index": 0, "uuid": "GPU-a", "lag_s": 0.0}
    return GpuSample(t_s=t_s, **(values | changes))


def test_the_live_table_tells_what_is_known_and_who_is_silent() -> None:
    gpus = {
        "GPU-a": reading(10.0, util_pct=97.0, tensor_pct=37.25, power_w=612.0, energy_j=5_400.0,
                         mem_used_bytes=80 * 10**9, sm_clock_mhz=1980.0, temp_c=61.0),
        "GPU-b": reading(3.0, index=1, uuid="GPU-b", power_w=99.0),
        "MIG-c": reading(10.0, index=2, uuid="MIG-c", parent_uuid="GPU-c"),
    }  # fmt: skip
    hosts = {"n1": HostSample(t_s=10.0, node="n1", cpu_pct=12.0, mem_used_bytes=10**9, lag_s=0.0)}
    events = [RunEvent(t_s=3.1, kind="gpu_lost", source="n1", detail="GPU 1: GPU is lost")]
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(table(gpus, hosts, {"GPU-a": 5_000.0}, events))
    header, first, second, third, *rest = console.export_text().splitlines()
    assert "tensor" in header
    for told in ("97%", "37%", "612 W", "400 J", "80 GB", "61"):
        assert told in first
    assert "silent for 7 s" in second
    assert "99" not in second
    assert third.split()[:2] == ["2", "MIG"]
    assert not any(letter.isdigit() for letter in third.split("MIG")[1])  # null is never 0
    assert any("n1: CPU 12%" in words for words in rest)
    assert any("gpu_lost: GPU 1: GPU is lost" in words for words in rest)
    assert line(gpus, hosts).startswith("GPU 0 97% busy 612 W 80 GB; GPU 1 ")
