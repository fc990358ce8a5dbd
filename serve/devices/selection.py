"""Which GPUs the server takes, or why it must not start: decided before torch and Ray are imported.

    place()      on this machine
    choose()     the rule: from what was found, pure
    unusable()   the reason alone, for the doctor

The rule (GPU finding 2) is that no real model lands on the CPU unseen. Under `auto`, a server on a
machine with a GPU, or with a torch built for one, stops where none can be used, and says why: the
CPU must then be asked for. With neither, there is nothing to be mistaken about, and a line says
that the model runs on the CPU. Twins (`tiny…`) are made for CPUs, and stop only where a GPU was
handed to this process.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping

import msgspec

from serve.catalog import is_twin
from serve.devices.cuda_driver import PROHIBITED, CudaDriver, ask, has_library
from serve.devices.detection import TorchBuild, Traces, find_traces, torch_build
from serve.precision import bf16_fault
from serve.settings import Settings, SettingsError

VISIBLE = "CUDA_VISIBLE_DEVICES"
COUNT_BY_TORCH = "import torch; print(torch.cuda.device_count())"


class Placement(msgspec.Struct, frozen=True):
    """How many GPUs are taken, 0 for the CPU, and what the user is to read about that, if any."""

    gpus: int
    note: str | None = None


def place(settings: Settings, environ: Mapping[str, str] = os.environ) -> Placement:
    """The GPUs the server takes on this machine.

    Raises:
        SettingsError: As `choose`.
    """
    if settings.device == "cpu" or settings.is_stub:
        return Placement(0)
    build, traces = torch_build(), find_traces()
    if build is not None and build.hip is not None and (gpus := _rocm_gpus()):
        return Placement(gpus)
    return choose(settings, environ, build, traces, find_driver(environ, build, traces))


def find_driver(
    environ: Mapping[str, str],
    build: TorchBuild | None,
    traces: Traces,
    asked: Callable[[Mapping[str, str]], CudaDriver] = ask,
    has_library: Callable[[], bool] = has_library,
) -> CudaDriver | None:
    """What CUDA gives a process under `environ`; None, for free, where nothing speaks of NVIDIA.

    A process sees one instance of MIG at most, however many CUDA_VISIBLE_DEVICES names, but each
    replica gets one of its own from Ray: so each is asked for alone. The list ends at the first
    that is not there, as CUDA has it.
    """
    is_built = build is not None and build.cuda is not None
    if not (is_built or traces.given or traces.machine or has_library()):
        return None
    spec = environ.get(VISIBLE, "")
    if not spec.startswith("MIG-"):
        return asked(environ)
    first, *others = spec.split(",")
    found = asked({**environ, VISIBLE: first})
    for entry in others if found.gpus else ():
        one = asked({**environ, VISIBLE: entry})
        if not one.gpus:
            break
        found = msgspec.structs.replace(found, gpus=(*found.gpus, *one.gpus))
    return found


def choose(
    settings: Settings,
    environ: Mapping[str, str],
    build: TorchBuild | None,
    traces: Traces,
    found: CudaDriver | None,
) -> Placement:
    """The GPUs to take under `auto` or `cuda`.

    Raises:
        SettingsError: No GPU can be used though one is asked for, is here, or is what torch was
            built for; or one cannot compute in the precision. The text says what to do.
    """
    why = _unusable(environ, build, found)
    if why is None and found is not None:
        for gpu in found.gpus:
            fault = bf16_fault(settings.dtype, gpu.name, gpu.capability)
            if fault is not None:
                raise SettingsError(f"settings: {fault}")
        return Placement(len(found.gpus))
    shown = [] if found is None else [f"CUDA's {gpu.name}" for gpu in found.gpus]
    shown += [f"NVML's GPU {gpu.index}" for gpu in (found.nvml if found else None) or ()]
    signs = [*traces.given, *traces.machine, *shown]
    is_built = build is not None and bool(build.cuda or build.hip)
    is_toy = is_twin(settings.model)
    stops = bool(traces.given or shown) if is_toy else bool(signs or is_built)
    if settings.device == "cuda" or stops:
        here = f", though there is {signs[0]}" if signs else ""
        slowly = "" if is_toy else " (minutes an image)"
        raise SettingsError(
            f"settings: device: no CUDA GPU can be used{here}: {why}; or use device=cpu{slowly}"
        )
    if is_toy:
        return Placement(0, f"on the CPU: {why}" if signs or is_built else None)
    return Placement(
        0,
        f"{settings.model} runs on the CPU, at minutes an image: device=cpu says that it is meant "
        "to, model=tiny is made for CPUs",
    )


def unusable(environ: Mapping[str, str] = os.environ) -> str | None:
    """Why torch can use no CUDA GPU of this machine, with the remedy; None where it can."""
    build = torch_build()
    return _unusable(environ, build, find_driver(environ, build, find_traces()))


def _unusable(
    environ: Mapping[str, str], build: TorchBuild | None, found: CudaDriver | None
) -> str | None:
    """Why torch can use no CUDA GPU, with the remedy; None where it can."""
    if build is None:
        return "torch is not installed"
    if build.hip is not None:
        return f"{build}, and sees no GPU"
    if build.cuda is None or found is None:
        return f"{build}; where there is a GPU, install a CUDA build of it"
    old = driver_fault(build, found)
    if old is not None:
        return old
    if not found.gpus:
        return _hidden(environ.get(VISIBLE), found) or found.fault or "the CUDA driver shows none"
    closed = [gpu for gpu in found.gpus if gpu.compute_mode == PROHIBITED]
    if closed:
        return (
            f"{closed[0].name} ({closed[0].uuid}) is in compute mode PROHIBITED: open it with "
            f"nvidia-smi -c DEFAULT, or leave it out of {VISIBLE}"
        )
    return None


def driver_fault(build: TorchBuild, found: CudaDriver) -> str | None:
    """That the driver is older than this torch needs, with both versions; None where it is not.

    A build runs on every driver of its own major version of CUDA, or of a later one: NVIDIA, "CUDA
    Compatibility", sections "Backward compatibility" and "Minor version compatibility".
    """
    if build.cuda is None or found.cuda is None:
        return None
    if found.cuda[0] >= int(build.cuda.partition(".")[0]):
        return None
    named = f"the driver {found.version}" if found.version else "the driver"
    return (
        f"{named} supports CUDA up to {found.cuda[0]}.{found.cuda[1]}, {build}: update the driver, "
        f"or install a torch built for CUDA {found.cuda[0]}"
    )


def _hidden(spec: str | None, found: CudaDriver) -> str | None:
    """That a driver with GPUs shows none, by MIG or CUDA_VISIBLE_DEVICES."""
    if found.cuda is None:
        return None  # no driver: neither is to blame
    uncut = [gpu for gpu in found.nvml or () if gpu.instances == 0]
    if uncut and len(uncut) == len(found.nvml or ()):
        index = uncut[0].index
        return (
            f"GPU {index} is in MIG mode and has no instance: make one (nvidia-smi mig -i {index} "
            f"-cgi PROFILE -C), or switch MIG off (nvidia-smi -i {index} -mig 0)"
        )
    if spec is None:
        return None
    return f"{VISIBLE} is {spec!r} and leaves none: unset it, or name GPUs that are there"


def _rocm_gpus() -> int:
    """How many GPUs a torch built for ROCm sees, asked of it in a child process: seconds."""
    done = subprocess.run(
        [sys.executable, "-c", COUNT_BY_TORCH], capture_output=True, text=True, check=False
    )
    return int(done.stdout) if done.stdout.strip().isdecimal() else 0
