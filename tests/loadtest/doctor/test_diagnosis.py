"""`viralload doctor`: what it finds fault with, its table, and the real command."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from loadtest.doctor.diagnosis import (
    Card,
    Checkup,
    Diagnosis,
    Driver,
    Measured,
    Port,
    beside_datasheet,
    find_faults,
)
from loadtest.doctor.text import WIDTH, doctor_text
from profiles.schema import DeviceLimits, GpuInfo, GpuProcess, HostInfo
from tests.loadtest.command import Viralload
from tests.profiles import fake_nvml

H100 = DeviceLimits(
    device_name="NVIDIA H100 80GB HBM3", matmul_dtype="bfloat16", matmul_flop_per_s=712e12,
    fp8_flop_per_s=1300e12, copy_bytes_per_s=2.9e12, measured_s=2.04, torch_version="2.11.0+cu130",
)  # fmt: skip
GPU = GpuInfo(
    node="n", index=0, uuid="GPU-1", name="NVIDIA H100 80GB HBM3", mem_total_bytes=85 * 10**9,
    power_limit_w=700.0, driver="580.95.05",
)  # fmt: skip
CARD = Card(
    name="NVIDIA H100 80GB HBM3", uuid="GPU-1", capability="9.0", mem_total_bytes=85 * 10**9,
    mem_free_bytes=84 * 10**9,
)  # fmt: skip
TORCH = Checkup(device="cuda", torch_version="2.11.0+cu130", cuda_build="13.0", gpus=[CARD])
PYTHON = GpuProcess(t_s=0, node="n", uuid="GPU-1", pid=77, name="python", mem_used_bytes=20 * 10**9)
STRANGER = GpuProcess(t_s=0, node="n", uuid="MIG-1a", pid=78, mem_used_bytes=10**9)
DRIVER = Driver(gpus=[GPU], cuda="13.0")


def diagnosis(**changes: Any) -> Diagnosis:
    """A node with one H100 on which nothing is wrong."""
    values: dict[str, Any] = {
        "measured": [beside_datasheet(H100)],
        "checkup": TORCH,
        "driver": DRIVER,
        "versions": {"python": "3.12.3", "torch": "2.11.0+cu130", "ray": "2.60.0"},
        "host": HostInfo(node="n", os="Linux 6.8", cores=64, mem_total_bytes=10**12),
        "cores_usable": 16,
        "mem_available_bytes": 9 * 10**11,
        "runs_folder": "runs",
        "disk_free_bytes": 5 * 10**11,
        "ports": [Port(number=8000, use="server")],
    }
    return Diagnosis(**(values | changes))


@pytest.mark.parametrize(
    ("changes", "faults"),
    [
        ({}, []),
        ({"driver": Driver(absent="Shared Library Not Found"), "checkup": Checkup()}, []),
        (
            {"driver": Driver(absent="Not Found"), "device_nodes": ["/dev/nvidia0"]},
            ["/dev/nvidia0 is there, but NVML is not (Not Found): in a container, start it with"],
        ),
        ({"driver": Driver(fault="NVML cannot be used: x")}, ["NVML cannot be used: x"]),
        (
            {"checkup": Checkup(torch_version="2.13.0+cpu")},
            ["torch 2.13.0+cpu is built without CUDA and leaves the GPUs idle: install"],
        ),
        (
            {"driver": Driver(gpus=[GPU], cuda="12.8")},
            ["torch is built for CUDA 13.0, the driver supports up to 12.8: update the driver"],
        ),
        # a newer minor version runs on the driver of its major one
        ({"checkup": msgspec.structs.replace(TORCH, cuda_build="13.2")}, []),
        ({"driver": Driver(gpus=[GPU])}, []),  # a driver that does not tell is not accused
        (
            {
                "checkup": msgspec.structs.replace(TORCH, cuda_fault="no GPU is visible"),
                "visible_devices": "",
            },
            ["torch cannot use the GPUs: no GPU is visible (CUDA_VISIBLE_DEVICES is '')"],
        ),
        (
            {"checkup": Checkup(failure="cuda:0 cannot be measured: out of memory")},
            ["the devices could not be measured: cuda:0 cannot be measured: out of memory"],
        ),
        (
            {"driver": Driver(gpus=[GPU], cuda="13.0", used={"GPU-1": 10**9}, processes=[PYTHON])},
            [],  # a driver's own, and CUDA contexts
        ),
        (
            {
                "driver": Driver(
                    gpus=[GPU],
                    cuda="13.0",
                    used={"GPU-1": 21 * 10**9},
                    instances={"GPU-1": ["MIG-1a"]},
                    processes=[PYTHON, STRANGER],
                )
            },
            ["GPU 0: 21 GB of 85 GB are held by python (pid 77) 20 GB, a process not to be seen"],
        ),
        (
            {"driver": Driver(gpus=[GPU], cuda="13.0", used={"GPU-1": 21 * 10**9})},
            ["GPU 0: 21 GB of 85 GB are held; this container does not share"],
        ),
        (
            {
                "checkup": msgspec.structs.replace(
                    TORCH, gpus=[msgspec.structs.replace(CARD, faults=["it: has no kernels"])]
                )
            },
            ["it: has no kernels"],
        ),
        ({"missing": ["ray"]}, ["ray is not installed: pip install"]),
        (
            {"ports": [Port(number=1, use="x", fault="port 1 cannot be used")]},
            ["port 1 cannot be used"],
        ),
    ],
)
def test_faults(changes: dict[str, Any], faults: list[str]) -> None:
    found = find_faults(diagnosis(**changes))
    assert len(found) == len(faults)
    for one, words in zip(found, faults, strict=True):
        assert one.startswith(words)


def test_measured_beside_the_datasheet() -> None:
    found = beside_datasheet(H100)
    assert found.matmul_percent == pytest.approx(100 * 712 / 989)
    assert found.fp8_percent == pytest.approx(100 * 1300 / 1979)
    assert found.copy_percent == pytest.approx(100 * 2.9 / 3.35)
    cpu = DeviceLimits(device_name="AMD EPYC", matmul_dtype="float32", matmul_flop_per_s=1e11)
    assert beside_datasheet(cpu) == Measured(limits=cpu)
    single = msgspec.structs.replace(H100, matmul_dtype="float32")
    assert beside_datasheet(single).matmul_percent is None  # the datasheet's is of bfloat16


def test_the_table() -> None:
    told = doctor_text(diagnosis(faults=["a fault"]))
    assert told.splitlines()[:5] == [
        "device 0    NVIDIA H100 80GB HBM3",
        "            bfloat16 matmul          712 TFLOP/s   72% of 989 TFLOP/s",
        "            float8 matmul          1,300 TFLOP/s   65.7% of 1,979 TFLOP/s",
        "            copy, read + written        2.9 TB/s   86.6% of 3.35 TB/s",
        "            measured in 2.04 s on random data; datasheet: NVIDIA H100 datasheet, H100 SXM",
    ]
    for line in (
        "driver      580.95.05, CUDA up to 13.0; NVML reached",
        "GPU 0       NVIDIA H100 80GB HBM3, 85 GB, limit 700 W, GPU-1",
        "torch       2.11.0+cu130, built for CUDA 13.0; used on cuda",
        "cuda:0      NVIDIA H100 80GB HBM3, compute capability 9.0, 84 GB of 85 GB free, GPU-1",
        "ports       8000 (server) free",
        "faults      ! a fault",
    ):
        assert line in told.splitlines()
    assert "diffusers not installed" in told
    assert max(map(len, told.splitlines())) <= WIDTH


def test_nothing_known_is_said_to_be_unknown_and_not_zero() -> None:
    bare = DeviceLimits(matmul_flop_per_s=1e11)
    told = doctor_text(
        diagnosis(
            measured=[beside_datasheet(bare)], checkup=Checkup(failure="x"), driver=Driver(),
            disk_free_bytes=None, versions={},
        )
    )  # fmt: skip
    assert "copy, read + written         unknown" in told
    assert "None" not in told


@pytest.mark.e2e
def test_the_command_measures_this_machine(tmp_path: Path) -> None:
    arguments = ["doctor", "--device", "cpu", "--threads", "1", "--out", str(tmp_path / "a" / "b")]
    command = Viralload(tmp_path, [*arguments, "--json"])
    assert command.finish() == 0, command.stderr
    found = json.loads(command.stdout)
    (measured,) = found["measured"]
    assert measured["limits"]["matmul_flop_per_s"] > 1e8
    assert (measured["limits"]["threads"], measured["datasheet"]) == (1, None)
    assert found["disk_free_bytes"] > 0
    assert found["missing"] == []
    assert not (tmp_path / "a").exists()  # it only looks
    assert command.processes() == []


@pytest.mark.e2e
def test_a_driver_without_a_torch_that_uses_it_is_told(tmp_path: Path) -> None:
    script = (
        "- gpus 2\n- driver 570.00\n- cuda 12080\n* name NVIDIA H200\n"
        "0 mem_used 30000000000\n0 process 4242424 29000000000\n1 mig_uuid MIG-1b\n"
    )
    environ = fake_nvml.environment(tmp_path, script)
    command = Viralload(tmp_path, ["doctor", "--device", "cpu", "--threads", "1"], environ)
    assert command.finish() == 0, command.stderr
    for words in ("570.00, CUDA up to 12.8", "GPU 1       NVIDIA H200", "faults      ! torch"):
        assert words in command.stdout
    told = " ".join(command.stdout.split())
    assert "in MIG mode, cut into MIG-1b" in told
    assert "! GPU 0: 30 GB" in told
    assert "(pid 4242424) 29 GB: end what holds it" in told


@pytest.mark.e2e
def test_cuda_where_there_is_none_is_said(tmp_path: Path) -> None:
    environ = {"CUDA_VISIBLE_DEVICES": ""}
    command = Viralload(tmp_path, ["doctor", "--device", "cuda"], environ)
    assert command.finish() == 2
    assert command.stderr.splitlines()[-1].startswith("error: device=cuda: no CUDA GPU can be used")
    assert "Traceback" not in command.stderr
    assert command.stdout == ""
