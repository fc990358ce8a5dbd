"""NVIDIA readings: the home of pynvml.

    open_gpus(node)     every GPU the driver shows, or none where there is no driver
    Nvml.describe()     what they are
    Nvml.sample(...)    what they do now: one `nvmlDeviceGetFieldValues` a GPU a cycle (energy,
                        instant power, throttle counters, PCIe bytes) beside utilization, memory,
                        SM clock and temperature; GPM averages once a second on Hopper and later
    visible_gpus(node)  those that a process under this environment's CUDA_VISIBLE_DEVICES may use

    GpuError            NVML is there but cannot be used; the text says what to do

What a GPU can tell is found out once, at the start; what it cannot is None. After the start
nothing raises: a reading that fails is None and told once in `faults()`, a GPU that is lost gives
no samples until it is back, and the others go on.

NVML numbers GPUs by PCI bus whatever CUDA_VISIBLE_DEVICES says, so records join on the UUID.
"""

import math
import os
import sys
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, NamedTuple

from profiles.gpu import Gpu, describe
from profiles.schema import GpuInfo, GpuSample

RETRY_LOST_S = 5.0  # how often a lost GPU is asked whether it is back

# NVML return codes
NO_PERMISSION, DRIVER_NOT_LOADED, LIBRARY_NOT_FOUND, FUNCTION_NOT_FOUND = 4, 9, 12, 13
LIB_RM_VERSION_MISMATCH, GPU_NOT_FOUND = 18, 28

NO_GPU = {DRIVER_NOT_LOADED, LIBRARY_NOT_FOUND, GPU_NOT_FOUND}  # the normal case without a GPU
REMEDIES = {
    LIB_RM_VERSION_MISMATCH: "the kernel module and the NVIDIA library are of different versions, "
    "as after an update: restart the machine (or the container)",
    NO_PERMISSION: "this user may not use the GPU: check the access rights of /dev/nvidia*, "
    "and that the container was started with its GPUs",
    FUNCTION_NOT_FOUND: "the NVIDIA driver is too old: update it",
}
SHADOWED = (
    "the deprecated package `pynvml` hides nvidia-ml-py: "
    "pip uninstall -y pynvml && pip install --force-reinstall nvidia-ml-py"
)


class GpuError(Exception):
    """NVML is there but cannot be used; the text says what to do."""


class GpuFault(NamedTuple):
    """Something that befell a GPU: `gpu_lost`, `gpu_back`, or `gpu_error` for one reading."""

    kind: str
    detail: str


def open_gpus(node: str) -> "Nvml":
    """Every GPU of this machine; none where there is no driver.

    Raises:
        GpuError: there is a driver but it cannot be asked.
    """
    lib = _library()
    try:
        lib.nvmlInit()
    except lib.NVMLError as err:
        if err.value in NO_GPU:
            return Nvml(node, lib, count=0, absent=str(err))
        raise _gpu_error(err) from err
    try:
        return Nvml(node, lib, count=lib.nvmlDeviceGetCount())
    except lib.NVMLError as err:
        lib.nvmlShutdown()
        raise _gpu_error(err) from err


def visible_gpus(
    node: str,
    environ: Mapping[str, str] = os.environ,
    warn: Callable[[str], object] = lambda text: sys.stderr.write(f"warning: {text}\n"),
) -> list[GpuInfo]:
    """The GPUs a CUDA process under `environ` may use, in its order.

    Where NVML cannot be used, `warn` gets the cause and remedy and there are none. Numbers in
    CUDA_VISIBLE_DEVICES are taken in PCI bus order, which is CUDA's own where a machine's GPUs
    are alike (or with CUDA_DEVICE_ORDER=PCI_BUS_ID). A MIG instance is described by its own UUID,
    name and memory.
    """
    try:
        with open_gpus(node) as nvml:
            gpus = nvml.describe()
            spec = environ.get("CUDA_VISIBLE_DEVICES")
            if spec is not None and spec.startswith("MIG-"):
                entries = [nvml.mig_instance(entry.strip()) for entry in spec.split(",")]
                known = entries.index(None) if None in entries else len(entries)
                return [entry for entry in entries[:known] if entry]
            return [gpus[at] for at in select_visible([gpu.uuid for gpu in gpus], spec)]
    except GpuError as err:
        warn(str(err))
        return []


def select_visible(uuids: list[str], spec: str | None) -> list[int]:
    """Positions in `uuids` that CUDA_VISIBLE_DEVICES=`spec` leaves, by CUDA's rules.

    None leaves all. An entry is a number or the beginning of one UUID; the first that fits nothing
    (as "-1") ends the list; one named twice leaves none.
    """
    if spec is None:
        return list(range(len(uuids)))
    chosen: list[int] = []
    for entry in (part.strip() for part in spec.split(",")):
        if entry.isdecimal():
            fits = [int(entry)] if int(entry) < len(uuids) else []
        else:
            fits = [at for at, uuid in enumerate(uuids) if entry and uuid.startswith(entry)]
        if len(fits) != 1:
            break
        if fits[0] in chosen:
            return []
        chosen += fits
    return chosen


class Nvml:
    """The GPUs of one machine, held open. Use as a context, or `close` it.

    `absent` is the driver's word for why there are none; None where NVML was reached.
    """

    def __init__(self, node: str, lib: Any, count: int, absent: str | None = None) -> None:
        self.absent = absent
        self._node = node
        self._lib = lib
        self._faults: list[GpuFault] = []
        self._gpus: list[Gpu] = []
        self._open = count > 0
        for index in range(count):
            try:
                gpu = Gpu(lib, node, index)
            except lib.NVMLError as err:
                self._faults.append(GpuFault("gpu_error", f"GPU {index} cannot be opened: {err}"))
                continue
            self._gpus.append(gpu)
            try:
                gpu.probe()
            except lib.NVMLError as err:
                self._lose(gpu, -math.inf, err)

    def __enter__(self) -> "Nvml":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._gpus)

    def close(self) -> None:
        """Let the driver go."""
        if self._open:
            self._open = False
            for gpu in self._gpus:
                gpu.close()
            self._lib.nvmlShutdown()

    def describe(self) -> list[GpuInfo]:
        """The GPUs, in NVML's order (PCI bus)."""
        return [gpu.info for gpu in self._gpus]

    def cuda_version(self) -> str | None:
        """The newest CUDA the driver supports, such as "13.0"; None where it does not tell."""
        if not self._open:
            return None
        try:
            version = int(self._lib.nvmlSystemGetCudaDriverVersion_v2())
        except self._lib.NVMLError:
            return None
        return f"{version // 1000}.{version % 1000 // 10}"

    def faults(self) -> list[GpuFault]:
        """What befell the GPUs since the last call."""
        told, self._faults = self._faults, []
        return told

    def sample(self, clock: Callable[[], float], due_s: float) -> list[GpuSample]:
        """One sample of every GPU that answers, each with its own time from `clock`.

        `due_s` is when the cycle was planned, on the same clock: a sample's lag is from there.
        """
        samples = []
        for gpu in self._gpus:
            t_s = clock()
            if gpu.lost_until_s is not None and t_s < gpu.lost_until_s:
                continue
            try:
                if gpu.lost_until_s is not None:
                    gpu.recover()
                    self._faults.append(GpuFault("gpu_back", f"{gpu} answers again"))
                values, failed = gpu.read(t_s)
            except self._lib.NVMLError as err:
                self._lose(gpu, t_s, err)
                continue
            self._faults += [GpuFault("gpu_error", f"{gpu}: {what}") for what in failed]
            samples.append(
                GpuSample(
                    t_s=round(t_s, 6),
                    node=self._node,
                    index=gpu.info.index,
                    uuid=gpu.info.uuid,
                    lag_s=round(t_s - due_s, 6),
                    **values,
                )
            )
        return samples

    def mig_instance(self, uuid: str) -> GpuInfo | None:
        """The MIG instance of that UUID, with the index of the GPU it is part of, or None."""
        lib = self._lib
        try:
            handle = lib.nvmlDeviceGetHandleByUUID(uuid.encode())
            parent = lib.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle)
            return describe(lib, self._node, lib.nvmlDeviceGetIndex(parent), handle)
        except lib.NVMLError as err:
            self._faults.append(GpuFault("gpu_error", f"no MIG instance {uuid}: {err}"))
            return None

    def _lose(self, gpu: Gpu, t_s: float, err: Exception) -> None:
        if gpu.lost_until_s is None:
            self._faults.append(GpuFault("gpu_lost", f"{gpu}: {err}"))
        gpu.lost_until_s = t_s + RETRY_LOST_S


def _library() -> Any:
    try:
        import pynvml
    except ImportError as err:
        raise GpuError("nvidia-ml-py is not installed: pip install nvidia-ml-py") from err
    wanted = ("nvmlMemory_v2", "nvmlDeviceGetTemperatureV", "nvmlGpmSampleAlloc")
    if not all(hasattr(pynvml, name) for name in wanted):
        raise GpuError(SHADOWED)
    return pynvml


def _gpu_error(err: Any) -> GpuError:
    remedy = REMEDIES.get(err.value, "see whether nvidia-smi works, and what it says")
    return GpuError(f"NVML cannot be used ({err}): {remedy}")
