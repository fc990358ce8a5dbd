"""The rule of which GPUs a server takes, and that a real model never lands on the CPU unseen."""

from collections.abc import Mapping
from typing import Any

import pytest

from serve.devices import selection
from serve.devices.cuda_driver import CudaDriver, CudaGpu, NvmlGpu
from serve.devices.detection import TorchBuild, Traces
from serve.devices.selection import VISIBLE, choose, find_driver
from serve.settings import Settings, SettingsError

CPU = TorchBuild("2.13.0+cpu")
CUDA = TorchBuild("2.13.0+cu130", "13.0")
NODE = Traces(given=("/dev/nvidia0",))
BUS = Traces(machine=("/sys/bus/pci/devices/0000:01:00.0",))
NONE = Traces()


def gpu(**changes: Any) -> CudaGpu:
    values: dict[str, Any] = {
        "name": "H200",
        "uuid": "GPU-1",
        "capability": (9, 0),
        "mem_total_bytes": 10**11,
    }
    return CudaGpu(**(values | changes))


def driver(count: int = 0, cuda: tuple[int, int] | None = (13, 0), **changes: Any) -> CudaDriver:
    none = None if count else "the driver shows none: look"
    return CudaDriver(gpus=(gpu(),) * count, fault=none, cuda=cuda, **changes)


NO_DRIVER = driver(cuda=None)
BY_NVML: dict[str, Any] = {"nvml": (NvmlGpu(index=0),)}
UNCUT: dict[str, Any] = {"nvml": (NvmlGpu(index=0, instances=0),)}


@pytest.mark.parametrize(
    ("build", "traces", "found", "environ", "told"),
    [
        # a GPU in the machine, and a torch that cannot use it
        (CPU, NODE, NO_DRIVER, {}, "there is /dev/nvidia0: torch 2.13.0+cpu is built without CUDA"),
        (CPU, BUS, NO_DRIVER, {}, "there is /sys/bus/pci/devices/0000:01:00.0: torch"),
        (CPU, NONE, driver(1), {}, "there is CUDA's H200: torch 2.13.0+cpu"),
        (CPU, NONE, driver(cuda=None, **BY_NVML), {}, "there is NVML's GPU 0: torch 2.13"),
        (None, NODE, NO_DRIVER, {}, "torch is not installed"),
        # a torch that could, and nothing to use
        (CUDA, NONE, NO_DRIVER, {}, "no CUDA GPU can be used: the driver shows none: look"),
        (CUDA, NODE, driver(), {}, "there is /dev/nvidia0: the driver shows none"),
        (CUDA, NONE, driver(**BY_NVML), {}, "there is NVML's GPU 0: the driver shows none"),
        (TorchBuild("2.13", None, "6.4"), NONE, None, {}, "built for ROCm 6.4, and sees no GPU"),
        # hidden
        (CUDA, NODE, driver(), {VISIBLE: ""}, "CUDA_VISIBLE_DEVICES is '' and leaves none"),
        (CUDA, NODE, driver(), {VISIBLE: "-1"}, "CUDA_VISIBLE_DEVICES is '-1'"),
        (CUDA, NODE, driver(), {VISIBLE: "GPU-zz"}, "CUDA_VISIBLE_DEVICES is 'GPU-zz'"),
        (CUDA, NODE, driver(), {VISIBLE: "MIG-zz"}, "CUDA_VISIBLE_DEVICES is 'MIG-zz'"),
        (CUDA, NODE, NO_DRIVER, {VISIBLE: ""}, "/dev/nvidia0: the driver shows none: look"),
        (CUDA, NODE, driver(**UNCUT), {}, "GPU 0 is in MIG mode and has no instance: make one"),
        # there, but not to be used
        (
            CUDA, NODE, driver(1, cuda=(12, 8), version="570.86"), {},
            "the driver 570.86 supports CUDA up to 12.8, torch 2.13.0+cu130 is built for CUDA 13.0",
        ),
        (CUDA, NODE, CudaDriver(gpus=(gpu(compute_mode=2),), cuda=(13, 0)), {}, "PROHIBITED"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_a_real_model_never_lands_on_the_cpu_unseen(
    build: TorchBuild | None, traces: Traces, found: CudaDriver, environ: Mapping[str, str],
    told: str, device: Any,
) -> None:  # fmt: skip
    with pytest.raises(SettingsError) as err:
        choose(Settings(model="sdxl", device=device), environ, build, traces, found)
    text = str(err.value)
    assert text.startswith("settings: device: no CUDA GPU can be used")
    assert told in text
    assert text.endswith("; or use device=cpu (minutes an image)")
    assert "\n" not in text


@pytest.mark.parametrize(
    ("model", "build", "traces", "found", "count", "note"),
    [
        ("sdxl", CUDA, NODE, driver(2), 2, None),
        ("sdxl", CUDA, NONE, driver(1), 1, None),  # whatever its nodes are named
        ("sdxl", CUDA, NODE, driver(1, cuda=(13, 2)), 1, None),  # a newer driver
        ("sdxl", CUDA, NODE, driver(1, cuda=None), 1, None),  # that does not tell is not accused
        ("sdxl", CUDA, NODE, CudaDriver(gpus=(gpu(compute_mode=3),), cuda=(13, 0)), 1, None),
        ("sdxl", CPU, NONE, None, 0, "sdxl runs on the CPU, at minutes an image: device=cpu says"),
        ("tiny", CPU, NONE, None, 0, None),
        # made for CPUs: a line is enough where no GPU was handed over
        ("tiny", CUDA, NONE, NO_DRIVER, 0, "on the CPU: the driver shows none"),
        ("tiny", CPU, BUS, NO_DRIVER, 0, "on the CPU: torch 2.13.0+cpu is built without CUDA"),
    ],
)  # fmt: skip
def test_what_is_taken(
    model: Any, build: TorchBuild, traces: Traces, found: CudaDriver, count: int, note: str | None
) -> None:
    placement = choose(Settings(model=model), {}, build, traces, found)
    assert placement.gpus == count
    assert (placement.note or "").startswith(note or "")
    assert (placement.note is None) == (note is None)


@pytest.mark.parametrize(
    ("build", "traces", "found"),
    [
        (CPU, NODE, NO_DRIVER),
        (CUDA, NODE, driver(cuda=(12, 8))),
        (CUDA, NONE, driver(1, cuda=(12, 8))),
        (CUDA, NONE, driver(**BY_NVML)),
    ],
)
def test_a_twin_stops_where_a_gpu_was_handed_over(
    build: TorchBuild, traces: Traces, found: CudaDriver
) -> None:
    with pytest.raises(SettingsError, match=r"or use device=cpu$"):
        choose(Settings(model="tiny"), {}, build, traces, found)


@pytest.mark.parametrize(
    ("dtype", "capability", "refused"),
    [
        ("auto", (8, 0), False),
        ("auto", (7, 5), True),  # Turing
        ("fp16", (7, 5), False),
        ("fp32", (7, 0), False),
        ("bf16", (7, 5), False),  # asked for
    ],
)
def test_bf16_falls_back_only_when_asked(
    dtype: Any, capability: tuple[int, int], refused: bool
) -> None:
    found = CudaDriver(gpus=(gpu(name="T4", capability=capability),), cuda=(13, 0))
    settings = Settings(model="sd15", dtype=dtype)
    if not refused:
        assert choose(settings, {}, CUDA, NODE, found).gpus == 1
        return
    with pytest.raises(SettingsError, match=r"dtype: T4 has compute capability 7\.5.*dtype=fp16"):
        choose(settings, {}, CUDA, NODE, found)


@pytest.mark.parametrize(
    ("spec", "asked", "count"),
    [
        (None, [None], 1),
        ("0,1", ["0,1"], 1),
        ("MIG-a", ["MIG-a"], 1),
        ("MIG-a,MIG-b", ["MIG-a", "MIG-b"], 2),  # CUDA shows a process one of them
        ("MIG-a,MIG-x,MIG-b", ["MIG-a", "MIG-x"], 1),  # the list ends at what is not there
        ("MIG-x,MIG-a", ["MIG-x"], 0),
    ],
)
def test_every_instance_of_mig_is_asked_for_alone(
    spec: str | None, asked: list[str | None], count: int
) -> None:
    seen: list[str | None] = []

    def ask(environ: Mapping[str, str]) -> CudaDriver:
        seen.append(environ.get("CUDA_VISIBLE_DEVICES"))
        return driver(0 if seen[-1] == "MIG-x" else 1)

    environ = {} if spec is None else {"CUDA_VISIBLE_DEVICES": spec}
    found = find_driver(environ, CUDA, NONE, ask, lambda: False)
    assert found is not None
    assert (seen, len(found.gpus)) == (asked, count)


@pytest.mark.parametrize(
    ("build", "traces", "library", "is_asked"),
    [
        (CPU, NONE, False, False),
        (CPU, NONE, True, True),  # NVML may show a GPU where /dev is empty
        (CPU, BUS, False, True),
        (CUDA, NONE, False, True),
        (None, NONE, False, False),
    ],
)
def test_the_driver_is_asked_only_where_something_speaks_of_one(
    build: TorchBuild | None, traces: Traces, library: bool, is_asked: bool
) -> None:
    found = find_driver({}, build, traces, lambda environ: NO_DRIVER, lambda: library)
    assert (found is not None) == is_asked


def test_a_torch_for_rocm_counts_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "torch_build", lambda: TorchBuild("2.13", None, "6.4"))
    monkeypatch.setattr(selection, "COUNT_BY_TORCH", "print(2)")
    assert selection.place(Settings(model="sdxl")).gpus == 2


@pytest.mark.parametrize("settings", [Settings(device="cpu"), Settings(model="stub")])
def test_the_cpu_asked_for_is_not_questioned(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "torch_build", lambda: pytest.fail("looked"))
    assert selection.place(settings) == selection.Placement(0)
