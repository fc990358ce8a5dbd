"""`viralload doctor`: what this machine can do and run on, read and measured before any run.

The devices are measured by `python -m serve.doctor`, a child process, so that torch and its CUDA
context come and go with it; the rest is read here. `find_faults` says what would trouble a run.
"""

import os
import shutil
import subprocess
import time
from pathlib import Path

import msgspec
import psutil

from loadtest.client.target import check_port_free
from loadtest.errors import ConfigurationError, TargetError
from loadtest.system import environment
from loadtest.system.child_environment import environ, python
from profiles import formats
from profiles.devices.host import Host, node_name
from profiles.devices.nvidia.processes import MIN_HELD_BYTES, PID_NAMESPACE
from profiles.devices.nvidia.reader import open_gpus
from profiles.devices.reader import GpuError
from profiles.schema import DeviceLimits, GpuInfo, GpuProcess, HostInfo
from profiles.telemetry.datasheet import Datasheet, datasheet
from profiles.telemetry.flop_limits import percent_of

PACKAGES = ("torch", "diffusers", "ray", "locust", "nvidia-ml-py")
PORTS = {8000: "server", 8089: "Locust's web UI"}
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - Ray's object store; only asked for its room
MEASURE_TIMEOUT_S = 300.0
USAGE_EXIT_CODE = 2


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """A GPU as torch tells of it, in CUDA's order; an instance of MIG by its own UUID."""

    name: str
    uuid: str
    capability: str  # of computing, as "9.0"
    mem_total_bytes: int
    mem_free_bytes: int | None = None
    faults: list[str] = []  # what stands against computing on it


class Checkup(msgspec.Struct, frozen=True, kw_only=True):
    """What `python -m serve.doctor --json` says of torch."""

    device: str | None = None
    torch_version: str | None = None
    cuda_build: str | None = None  # the CUDA version torch was built with
    cuda_fault: str | None = None  # why torch cannot use CUDA though built with it
    gpus: list[Card] = []
    failure: str | None = None  # why nothing could be measured


class _Limits(msgspec.Struct, frozen=True):
    """The other half of what it says: one a device, in torch's order."""

    limits: list[DeviceLimits]


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One device's measured limits beside its datasheet; percents are of the datasheet."""

    limits: DeviceLimits
    datasheet: Datasheet | None = None
    matmul_percent: float | None = None
    fp8_percent: float | None = None
    copy_percent: float | None = None


class Driver(msgspec.Struct, frozen=True, kw_only=True):
    """What NVML says; `fault` has reason and remedy, `absent` why there is no driver to ask."""

    gpus: list[GpuInfo] = []
    cuda: str | None = None  # the newest CUDA it supports
    absent: str | None = None
    fault: str | None = None
    used: dict[str, int] = {}  # bytes in use by UUID, nothing of ours being there
    instances: dict[str, list[str]] = {}  # of MIG, by their GPU's UUID
    processes: list[GpuProcess] = []


class Port(msgspec.Struct, frozen=True, kw_only=True):
    """A loopback port that a run uses unless told otherwise."""

    number: int
    use: str
    fault: str | None = None


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the doctor read and measured."""

    measured: list[Measured]
    checkup: Checkup
    driver: Driver
    device_nodes: list[str] = []  # /dev/nvidia0, ...
    visible_devices: str | None = None  # CUDA_VISIBLE_DEVICES
    versions: dict[str, str]
    missing: list[str] = []  # packages that are not installed
    host: HostInfo
    cores_usable: int
    mem_available_bytes: int
    runs_folder: str
    disk_free_bytes: int | None = None
    shm_free_bytes: int | None = None
    ports: list[Port] = []
    faults: list[str] = []


def diagnose(*, device: str, threads: int | None, runs: Path) -> Diagnosis:
    """Read and measure this machine.

    Args:
        device: `auto`, `cpu` or `cuda`.
        threads: CPU threads of the measurement; None as the server takes them.
        runs: where run folders go.

    Raises:
        ConfigurationError: CUDA is asked for, but torch can use no GPU.
    """
    checkup, limits = examine(device, threads)
    versions = environment.versions()
    found = Diagnosis(
        measured=[beside_datasheet(one) for one in limits],
        checkup=checkup,
        driver=ask_driver(),
        device_nodes=sorted(str(node) for node in Path("/dev").glob("nvidia*")),
        visible_devices=os.environ.get("CUDA_VISIBLE_DEVICES"),
        versions=versions,
        missing=[name for name in PACKAGES if name not in versions],
        host=Host(node_name()).describe(),
        cores_usable=len(os.sched_getaffinity(0)),
        mem_available_bytes=psutil.virtual_memory().available,
        runs_folder=str(runs),
        disk_free_bytes=_free_bytes(runs),
        shm_free_bytes=_free_bytes(SHARED_MEMORY) if SHARED_MEMORY.is_dir() else None,
        ports=[_look_at(number, use) for number, use in PORTS.items()],
    )
    return msgspec.structs.replace(found, faults=find_faults(found))


def examine(device: str, threads: int | None) -> tuple[Checkup, list[DeviceLimits]]:
    """Measure the devices in a child process; no limits where that failed.

    Raises:
        ConfigurationError: the child takes the options for wrong.
    """
    command = python("serve.doctor", "--json", "--device", device)
    command += [] if threads is None else ["--threads", str(threads)]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=MEASURE_TIMEOUT_S,
            check=False,
            env=environ(),
        )
    except subprocess.TimeoutExpired:
        said = f"it did not end in {MEASURE_TIMEOUT_S:.0f} s; see whether nvidia-smi works"
        return Checkup(failure=said), []
    if done.returncode == 0:
        limits = msgspec.json.decode(done.stdout, type=_Limits).limits
        return msgspec.json.decode(done.stdout, type=Checkup), limits
    lines = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
    said = lines[-1].removeprefix("error: ")
    if done.returncode == USAGE_EXIT_CODE:
        raise ConfigurationError(said)
    return Checkup(failure=said), []


def beside_datasheet(limits: DeviceLimits) -> Measured:
    """The limits with the datasheet of a GPU of that name, where there is one."""
    sheet = datasheet(limits.device_name)
    if sheet is None:
        return Measured(limits=limits)
    fits = limits.matmul_dtype == "bfloat16"
    return Measured(
        limits=limits,
        datasheet=sheet,
        matmul_percent=percent_of(limits.matmul_flop_per_s, sheet.bf16_flop_per_s)
        if fits
        else None,
        fp8_percent=percent_of(limits.fp8_flop_per_s, sheet.fp8_flop_per_s),
        copy_percent=percent_of(limits.copy_bytes_per_s, sheet.memory_bytes_per_s),
    )


def ask_driver() -> Driver:
    """What NVML says of the driver and its GPUs."""
    try:
        with open_gpus(node_name()) as nvml:
            now_s = time.monotonic()
            samples = nvml.sample(time.monotonic, now_s)
            instances: dict[str, list[str]] = {}
            for one in samples:
                if one.parent_uuid is not None:
                    instances.setdefault(one.parent_uuid, []).append(one.uuid)
            return Driver(
                gpus=nvml.describe(),
                cuda=nvml.cuda_version(),
                absent=nvml.absent,
                used={s.uuid: s.mem_used_bytes for s in samples if s.mem_used_bytes is not None},
                instances=instances,
                processes=nvml.processes(time.monotonic),
            )
    except GpuError as err:
        return Driver(fault=str(err))


def find_faults(found: Diagnosis) -> list[str]:
    """What would trouble a run, each with its remedy. Pure."""
    driver, checkup = found.driver, found.checkup
    faults = [driver.fault] if driver.fault else []
    if checkup.failure:
        faults.append(f"the devices could not be measured: {checkup.failure}")
    if driver.absent and found.device_nodes:
        faults.append(
            f"{found.device_nodes[0]} is there, but NVML is not ({driver.absent}): in a container, "
            "start it with NVIDIA_DRIVER_CAPABILITIES=compute,utility; else install the driver"
        )
    if driver.gpus or found.device_nodes:
        faults += _cuda_faults(found)
    for gpu in driver.gpus:
        faults += _held(gpu, driver)
    for card in checkup.gpus:
        faults += card.faults
    faults += [
        f"{name} is not installed: pip install -e . in the project's folder"
        for name in found.missing
    ]
    return faults + [port.fault for port in found.ports if port.fault]


def _cuda_faults(found: Diagnosis) -> list[str]:
    """Why torch cannot use the GPUs that the driver shows."""
    checkup, driver = found.checkup, found.driver
    if checkup.torch_version is None:
        return []
    # A build runs on any driver of its own major version (CUDA's minor version compatibility).
    built, supported = _major(checkup.cuda_build), _major(driver.cuda)
    if built is None:
        fault = (
            f"torch {checkup.torch_version} is built without CUDA and leaves the GPUs idle: "
            "install a CUDA build of it"
        )
    elif supported is not None and built > supported:
        fault = (
            f"torch is built for CUDA {checkup.cuda_build}, the driver supports up to "
            f"{driver.cuda}: update the driver, or install torch built for CUDA {supported}"
        )
    elif checkup.cuda_fault is not None:
        hidden = found.visible_devices
        hint = "" if hidden is None else f" (CUDA_VISIBLE_DEVICES is {hidden!r})"
        fault = f"torch cannot use the GPUs: {checkup.cuda_fault}{hint}"
    else:
        return []
    return [fault]


def _held(gpu: GpuInfo, driver: Driver) -> list[str]:
    """That others hold memory of a GPU: how much, and who, as far as can be seen."""
    used = driver.used.get(gpu.uuid, 0)
    if used <= MIN_HELD_BYTES:
        return []
    parts = (gpu.uuid, *driver.instances.get(gpu.uuid, ()))
    who = [
        f"{one.name or 'a process not to be seen from here'} (pid {one.pid}) "
        f"{formats.data(one.mem_used_bytes)}"
        for one in driver.processes
        if one.uuid in parts
    ]
    told = f" by {', '.join(who)}" if who else f"; {PID_NAMESPACE}"
    much = f"{formats.data(used)} of {formats.data(gpu.mem_total_bytes)}"
    remedy = "end what holds it, or leave the GPU out of CUDA_VISIBLE_DEVICES"
    return [f"GPU {gpu.index}: {much} are held{told}: {remedy}"]


def _major(version: str | None) -> int | None:
    major = (version or "").partition(".")[0]
    return int(major) if major.isdecimal() else None


def _look_at(number: int, use: str) -> Port:
    try:
        check_port_free(number)
    except TargetError as err:
        return Port(number=number, use=use, fault=str(err))
    return Port(number=number, use=use)


def _free_bytes(folder: Path) -> int | None:
    """Room on the disk of a folder, or of where it would be made."""
    folder = folder.resolve()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        return shutil.disk_usage(there).free
    except OSError:
        return None
