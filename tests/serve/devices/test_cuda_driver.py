"""What the CUDA driver gives, asked of stand-ins for libcuda and NVML in a process of its own."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from serve.devices.cuda_driver import CudaGpu, NvmlGpu, ask, gpu_uuid
from tests.profiles import fake_nvml
from tests.serve import fake_cuda


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_nvml.build(fake_cuda.build(tmp_path_factory.mktemp("driver")))


def environment(libraries: Path, tmp_path: Path, cuda: str, nvml: str) -> dict[str, str]:
    env = fake_nvml.environment(tmp_path, nvml, libraries)
    return {**env, "FAKE_CUDA": cuda}


def test_two_gpus_are_described_as_cuda_has_them(libraries: Path, tmp_path: Path) -> None:
    nvml = "- gpus 2\n- driver 580.95.05\n1 mig_uuid MIG-1b\n1 mig_uuid MIG-1c\n"
    found = ask(environment(libraries, tmp_path, "0 13010 2 3 NVIDIA H200", nvml))
    first = CudaGpu(
        name="NVIDIA H200", uuid="GPU-00000000-0000-0000-0000-000000000001", capability=(9, 0),
        mem_total_bytes=150 * 10**9, compute_mode=3,
    )  # fmt: skip
    assert (found.gpus[0], len(found.gpus), found.fault) == (first, 2, None)
    assert found.gpus[1].uuid.endswith("2")
    assert (found.cuda, found.version) == ((13, 1), "580.95.05")
    assert found.nvml == (NvmlGpu(index=0), NvmlGpu(index=1, instances=2))


@pytest.mark.parametrize(
    ("cuda", "visible", "fault"),
    [
        ("100 13000 0 0 x", None, "the CUDA driver shows no GPU"),
        ("0 13000 1 0 x", "-1", "the CUDA driver shows no GPU"),
        ("802 13000 1 0 x", None, "start nvidia-fabricmanager"),
        ("803 13000 1 0 x", None, "restart the machine"),
        ("7 13000 1 0 x", None, "CUresult 7"),
        ("nonsense", None, "ended with exit code -6"),  # a driver that crashes
    ],
)
def test_why_the_driver_shows_none(
    cuda: str, visible: str | None, fault: str, libraries: Path, tmp_path: Path
) -> None:
    env = environment(libraries, tmp_path, cuda, "- gpus 1\n")
    found = ask(env if visible is None else {**env, "CUDA_VISIBLE_DEVICES": visible})
    assert found.gpus == ()
    assert found.fault is not None
    assert fault in found.fault


def test_nvml_alone_is_no_driver_for_cuda(tmp_path: Path) -> None:
    found = ask(fake_nvml.environment(tmp_path, "- gpus 3\n"))
    assert found.fault is not None
    assert found.fault.startswith("there is no libcuda.so.1")
    assert (found.cuda, len(found.nvml or ())) == (None, 3)


def test_a_driver_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*args: Any, **options: Any) -> Any:
        raise subprocess.TimeoutExpired(args, options["timeout"])

    monkeypatch.setattr(subprocess, "run", hang)
    assert ask(os.environ, timeout_s=3).fault == (
        "the CUDA driver did not answer in 3 s: see whether nvidia-smi works"
    )


def test_an_instance_of_mig_has_its_own_uuid() -> None:
    assert gpu_uuid("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "ab") == "MIG-ab"
    assert gpu_uuid("NVIDIA H100 80GB HBM3", "ab") == "GPU-ab"
