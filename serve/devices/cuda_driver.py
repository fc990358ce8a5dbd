"""What the CUDA driver gives a process, asked of libcuda and NVML themselves: no torch, no context.

    ask(environ)                  in a child process, as it would be for a replica
    python -m serve.devices.cuda_driver   prints it, one JSON line

torch counts GPUs with the same library under the same CUDA_VISIBLE_DEVICES, so that its count is
this one by construction, for numbers, UUIDs and MIG instances alike. A child, because libcuda reads
the environment once a process, and because a broken driver may hang or crash what asks it.
"""

import ctypes
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

LIBCUDA = "libcuda.so.1"
LIBNVML = "libnvidia-ml.so.1"
TIMEOUT_S = 60.0  # eight GPUs without persistence mode take some ten seconds to wake
NAME_BYTES = 256
# cuda.h, CUdevice_attribute
COMPUTE_MODE, CAPABILITY_MAJOR, CAPABILITY_MINOR = 20, 75, 76
PROHIBITED = 2  # cuda.h, CUcomputemode
# cuda.h, CUresult: what cuInit answers where no GPU can be used, and what to do about it
NO_DEVICE = 100
FAULTS = {
    34: "libcuda.so.1 is the CUDA toolkit's stub: put the driver's own library before it in "
    "LD_LIBRARY_PATH",
    NO_DEVICE: "the CUDA driver shows no GPU: see whether nvidia-smi does; in a container, start "
    "it with the GPUs (docker run --gpus all)",
    802: "the CUDA driver says the system is not ready: start nvidia-fabricmanager, in the "
    "driver's version",
    803: "the kernel module and libcuda.so.1 are of different driver versions, as after an "
    "update: restart the machine (or the container)",
    804: "the cuda-compat package in use does not support this GPU: take it out of "
    "LD_LIBRARY_PATH, or update the driver",
    999: "the CUDA driver cannot start (unknown error): see whether nvidia-smi works and the "
    "module nvidia_uvm is loaded",
}
NO_LIBRARY = (
    f"there is no {LIBCUDA}, which comes with the NVIDIA driver: install it; in a container, start "
    "it with the GPUs (docker run --gpus all, NVIDIA_DRIVER_CAPABILITIES=compute,utility)"
)


class CudaGpu(msgspec.Struct, frozen=True, kw_only=True):
    """A GPU, or an instance of MIG, in CUDA's order.

    Attributes:
        name: As the driver names it.
        uuid: As NVML writes it: `GPU-…`, or `MIG-…` of an instance.
        capability: The compute capability, major and minor.
        mem_total_bytes: Its memory.
        compute_mode: A CUcomputemode; 0 is the default.
    """

    name: str
    uuid: str
    capability: tuple[int, int]
    mem_total_bytes: int
    compute_mode: int = 0


class NvmlGpu(msgspec.Struct, frozen=True, kw_only=True):
    """A GPU as NVML shows it, whatever CUDA_VISIBLE_DEVICES says; instances: None without MIG."""

    index: int
    instances: int | None = None


class CudaDriver(msgspec.Struct, frozen=True, kw_only=True):
    """What the driver gives.

    Attributes:
        gpus: What CUDA shows a process under this environment.
        fault: Why CUDA shows none, with the remedy; None where it shows any.
        cuda: The newest CUDA the driver supports, (13, 0) for 13.0; None: not to be had.
        version: The driver's own, such as `580.95.05`; None: NVML cannot be asked.
        nvml: The GPUs of the machine; None: NVML cannot be asked.
    """

    gpus: tuple[CudaGpu, ...] = ()
    fault: str | None = None
    cuda: tuple[int, int] | None = None
    version: str | None = None
    nvml: tuple[NvmlGpu, ...] | None = None


def ask(environ: Mapping[str, str] = os.environ, timeout_s: float = TIMEOUT_S) -> CudaDriver:
    """What the driver gives a process under `environ`; never raises: what fails is the fault."""
    root = str(Path(__file__).resolve().parents[2])
    path = environ.get("PYTHONPATH")
    command = [sys.executable, "-m", "serve.devices.cuda_driver"]
    env = {**environ, "PYTHONPATH": f"{root}:{path}" if path else root}
    try:
        done = subprocess.run(
            command, env=env, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        return msgspec.json.decode(done.stdout, type=CudaDriver)
    except subprocess.TimeoutExpired:
        fault = f"the CUDA driver did not answer in {timeout_s:.0f} s"
    except msgspec.DecodeError:
        fault = f"asking the CUDA driver ended with exit code {done.returncode}"
    return CudaDriver(fault=f"{fault}: see whether nvidia-smi works")


def has_library() -> bool:
    """Whether one of the driver's libraries can be loaded here."""
    return any(_load(name) is not None for name in (LIBCUDA, LIBNVML))


def gpu_uuid(name: str, plain: str) -> str:
    """A GPU's UUID as NVML writes it, from CUDA's name and bare UUID.

    CUDA tells an instance of MIG by its own UUID, and names it as in `NVIDIA H100 MIG 1g.10gb`.
    """
    return f"{'MIG' if ' MIG ' in name else 'GPU'}-{plain}"


def _read() -> CudaDriver:
    version, nvml = _read_nvml(_load(LIBNVML))
    lib = _load(LIBCUDA)
    if lib is None:
        return CudaDriver(fault=NO_LIBRARY, version=version, nvml=nvml)
    number = ctypes.c_int(0)
    cuda = None
    if lib.cuDriverGetVersion(ctypes.byref(number)) == 0:
        cuda = (number.value // 1000, number.value % 1000 // 10)
    gpus: tuple[CudaGpu, ...] = ()
    code = lib.cuInit(0)
    if code == 0:
        code = lib.cuDeviceGetCount(ctypes.byref(number))
    if code == 0:
        gpus = tuple(_describe(lib, place) for place in range(number.value))
    fault = None
    if not gpus:
        code = code or NO_DEVICE
        fault = FAULTS.get(code, f"the CUDA driver fails (CUresult {code}): see nvidia-smi")
    return CudaDriver(gpus=gpus, fault=fault, cuda=cuda, version=version, nvml=nvml)


def _describe(lib: Any, place: int) -> CudaGpu:
    name, plain = ctypes.create_string_buffer(NAME_BYTES), ctypes.create_string_buffer(16)
    total, device = ctypes.c_size_t(0), ctypes.c_int(0)
    lib.cuDeviceGet(ctypes.byref(device), place)
    lib.cuDeviceGetName(name, NAME_BYTES, device)
    (getattr(lib, "cuDeviceGetUuid_v2", None) or lib.cuDeviceGetUuid)(plain, device)
    lib.cuDeviceTotalMem_v2(ctypes.byref(total), device)

    def attribute(which: int) -> int:
        value = ctypes.c_int(0)
        lib.cuDeviceGetAttribute(ctypes.byref(value), which, device)
        return value.value

    told = name.value.decode(errors="replace")
    return CudaGpu(
        name=told,
        uuid=gpu_uuid(told, str(uuid.UUID(bytes=plain.raw))),
        capability=(attribute(CAPABILITY_MAJOR), attribute(CAPABILITY_MINOR)),
        mem_total_bytes=total.value,
        compute_mode=attribute(COMPUTE_MODE),
    )


def _read_nvml(lib: Any) -> tuple[str | None, tuple[NvmlGpu, ...] | None]:
    """The driver's version and GPUs; None where NVML cannot be asked."""
    if lib is None or lib.nvmlInit_v2() != 0:
        return None, None
    text = ctypes.create_string_buffer(NAME_BYTES)
    version = None
    if lib.nvmlSystemGetDriverVersion(text, NAME_BYTES) == 0:
        version = text.value.decode(errors="replace")
    count = ctypes.c_uint(0)
    if lib.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
        return version, None
    return version, tuple(
        NvmlGpu(index=index, instances=_instances(lib, index)) for index in range(count.value)
    )


def _instances(lib: Any, index: int) -> int | None:
    """How many instances MIG cuts a GPU into; None where it does not."""
    handle, own = ctypes.c_void_p(), ctypes.c_void_p()
    current, pending, most = ctypes.c_uint(0), ctypes.c_uint(0), ctypes.c_uint(0)
    by = ctypes.byref
    if lib.nvmlDeviceGetHandleByIndex_v2(index, by(handle)) != 0:
        return None
    if lib.nvmlDeviceGetMigMode(handle, by(current), by(pending)) != 0 or not current.value:
        return None
    lib.nvmlDeviceGetMaxMigDeviceCount(handle, by(most))
    get: Callable[..., int] = lib.nvmlDeviceGetMigDeviceHandleByIndex
    return sum(get(handle, place, by(own)) == 0 for place in range(most.value))


def _load(name: str) -> Any:
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None


if __name__ == "__main__":
    print(msgspec.json.encode(_read()).decode())  # noqa: T201
