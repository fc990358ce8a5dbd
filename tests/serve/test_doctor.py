"""`python -m serve.doctor` as a process, and what it says without one."""

import json
import subprocess
import sys

import pytest

from serve import doctor
from serve.devices.limits import DeviceLimits
from serve.devices.torch_device import Card
from serve.settings import Settings, SettingsError

H200 = DeviceLimits(
    device_name="NVIDIA H200", matmul_dtype="bfloat16", matmul_flop_per_s=7.9e14,
    fp8_flop_per_s=1.4e15, copy_bytes_per_s=4.3e12, measured_s=2.04, torch_version="2.11.0",
)  # fmt: skip


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "serve.doctor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.e2e
def test_one_json_line_on_stdout() -> None:
    done = run("--json", "--device", "cpu", "--threads", "1")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    told = json.loads(line)
    assert (told["device"], told["cuda_fault"]) == ("cpu", None)
    (limits,) = told["limits"]
    assert (limits["matmul_dtype"], limits["threads"]) == ("float32", 1)
    assert limits["matmul_flop_per_s"] > 1e8
    assert limits["copy_bytes_per_s"] > 1e8
    assert limits["torch_version"] == told["torch_version"]
    assert limits["measured_s"] < 60
    assert done.stderr.splitlines() == ["measuring cpu"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--device", "gpu"], "did you mean 'cpu'?"),
        (["--threads", "0"], "threads: Expected `int` >= 1"),
    ],
)
def test_wrong_usage_is_said_in_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    assert said in line


def test_a_torch_that_can_use_no_gpu_is_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.devices.torch_device.cuda_gpus", lambda: (0, "torch's own words"))
    monkeypatch.setattr("serve.devices.selection.unusable", lambda: "GPU 0 is in MIG mode")
    with pytest.raises(SettingsError, match=r"can be used \(GPU 0 is in MIG mode\); use --device"):
        doctor.examine(Settings(device="cuda"))


def test_a_gpu_with_a_fault_is_told_and_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def look(device: object) -> Card:
        fault = ("it: no kernels",) if str(device) == "cuda:0" else ()
        return Card(name=f"{device}", uuid="", capability="9.0", mem_total_bytes=1, faults=fault)

    monkeypatch.setattr("serve.devices.torch_device.cuda_gpus", lambda: (2, None))
    monkeypatch.setattr("serve.devices.torch_device.look", look)
    monkeypatch.setattr("serve.devices.limits.measure", lambda *args, **options: H200)
    found = doctor.examine(Settings())
    assert ([card.faults for card in found.gpus], found.limits) == (
        [("it: no kernels",), ()], [H200],
    )  # fmt: skip


def test_a_gpu_in_words() -> None:
    assert doctor.line(H200) == (
        "NVIDIA H200: 790 TFLOP/s bfloat16 matmul, 1,400 TFLOP/s float8 matmul, "
        "4,300 GB/s copied (read + written); measured in 2.0 s"
    )
