"""What torch can use, by stand-ins for torch.cuda. torch comes inside."""

import warnings
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from serve.devices.torch_device import (  # noqa: E402 - torch first
    card_fault,
    cuda_gpus,
    look,
    runs_on,
    torch_dtype,
)

ARCHITECTURES = ["sm_80", "sm_90", "sm_100", "sm_120", "compute_120"]
CUDA = torch.device("cuda", 0)


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """An H200 as torch tells of it; tests change it."""
    told: dict[str, Any] = {
        "name": "NVIDIA H200", "uuid": "ab-c", "major": 9, "minor": 0, "total_memory": 150 * 10**9
    }  # fmt: skip
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(**told))
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ARCHITECTURES)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (140 * 10**9, 150 * 10**9))
    return told


def test_a_sound_gpu(card: dict[str, Any]) -> None:
    found = look(CUDA)
    assert (found.uuid, found.capability, found.faults) == ("GPU-ab-c", "9.0", ())
    assert (found.mem_free_bytes, found.mem_total_bytes) == (140 * 10**9, 150 * 10**9)
    assert card_fault(found, "auto") is None


def test_an_instance_of_mig_is_itself(card: dict[str, Any]) -> None:
    card["name"] = "NVIDIA H200 MIG 1g.18gb"
    assert look(CUDA).uuid == "MIG-ab-c"


def test_an_architecture_that_torch_has_no_kernels_for(card: dict[str, Any]) -> None:
    card.update(name="Tesla V100", major=7)
    (fault,) = look(CUDA).faults
    assert fault.startswith(f"Tesla V100: torch {torch.__version__} has no kernels for it")
    assert "7.0; it has sm_80 sm_90" in fault
    assert card_fault(look(CUDA), "fp16") == fault


def test_bf16_only_in_hardware(card: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    card.update(name="T4", major=7, minor=5)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75"])
    assert "use dtype=fp16" in (card_fault(look(CUDA), "auto") or "")
    assert card_fault(look(CUDA), "fp16") is None


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "CUDA error: CUDA-capable device(s) is/are busy or unavailable\nmore",
            "NVIDIA H200: another process has it to itself (compute mode EXCLUSIVE_PROCESS): end",
        ),
        ("CUDA error: out of memory\nmore", "NVIDIA H200: other processes left no memory"),
        ("CUDA error: launch failure\nmore", "NVIDIA H200: CUDA error: launch failure"),
    ],
)  # fmt: skip
def test_a_gpu_that_others_hold(
    said: str, told: str, card: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(device: Any) -> Any:
        raise RuntimeError(said)

    monkeypatch.setattr(torch.cuda, "mem_get_info", refuse)
    found = look(CUDA)
    (fault,) = found.faults
    assert fault.startswith(told)
    assert found.mem_free_bytes is None


@pytest.mark.parametrize(
    ("capability", "architectures", "runs"),
    [
        ((9, 0), ["sm_80", "sm_90"], True),
        ((8, 9), ["sm_80"], True),  # machine code of the same major version
        ((8, 0), ["sm_86"], False),  # but not of a later minor one
        ((10, 0), ["sm_90"], False),
        ((10, 0), ["sm_90", "compute_90"], True),  # PTX, for every later one
        ((7, 5), ["compute_80"], False),
        ((9, 0), ["sm_90a"], True),
        ((10, 3), ["sm_100a"], False),  # exactly that version
        ((10, 3), ["sm_100f"], True),  # its family
        ((12, 0), ["compute_100f"], False),
        ((9, 0), [], True),  # torch tells none: not accused
        ((9, 0), ["gfx942"], True),  # ROCm
    ],
)
def test_which_code_runs(capability: tuple[int, int], architectures: list[str], runs: bool) -> None:
    assert runs_on(capability, architectures) == runs


@pytest.mark.parametrize(
    ("build", "available", "devices", "found"),
    [
        (None, False, 0, (0, None)),
        ("13.0", True, 8, (8, None)),
        ("13.0", False, 0, (0, "CUDA initialization: The driver is too old")),
        ("13.0", True, 0, (0, "no CUDA GPU is visible to torch")),
    ],
)
def test_why_torch_uses_no_gpu(
    build: str | None, available: bool, devices: int, found: tuple[int, str | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def is_available() -> bool:
        if not available:
            warnings.warn("CUDA initialization: The driver\nis too old", stacklevel=1)
        return available

    monkeypatch.setattr(torch.version, "cuda", build)
    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)
    assert cuda_gpus() == found


def test_auto_is_bf16_on_a_gpu_alone() -> None:
    cpu = torch.device("cpu")
    assert torch_dtype("auto", CUDA) == torch.bfloat16
    assert torch_dtype("auto", cpu) == torch.float32
    assert [torch_dtype(one, cpu) for one in ("bf16", "fp16", "fp32")] == [
        torch.bfloat16, torch.float16, torch.float32,
    ]  # fmt: skip
