"""NVIDIA readings: the home of pynvml.

    open_gpus(node)     every GPU the driver shows, or none where there is no driver
    Nvml.describe()     what they are
    Nvml.sample(...)    what they do now: one `nvmlDeviceGetFieldValues` a GPU a cycle (energy,
                        power, throttle counters, PCIe bytes, memory temperature) beside
                        utilization, memory, clocks and temperature; GPM averages once a second on
                        Hopper and later; MIG instances beside their GPU
    Nvml.processes(...), Nvml.states(...), Nvml.watch_xids(...)

What a GPU can tell is found out once, at the start; what it cannot is None. After the start
nothing raises: a reading that fails is None and told once in `faults()`, a GPU that is lost gives
no samples until it is back, and the others go on. A lost GPU is asked again after 5 s, then ever
less often; where it is lost to this session of NVML, NVML is opened anew, and all handles with it.

NVML numbers GPUs by PCI bus whatever CUDA_VISIBLE_DEVICES says, so records join on the UUID.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

from profiles.devices.call_costs import Costs
from profiles.devices.nvidia.gpu import Gpu, describe
from profiles.devices.nvidia.library import gpu_error, library
from profiles.devices.nvidia.processes import GpuProcesses
from profiles.devices.nvidia.return_codes import ABSENT, NO_GPU
from profiles.devices.nvidia.session import Session
from profiles.devices.nvidia.xid import meaning
from profiles.devices.reader import Fault
from profiles.schema import CallCost, GpuInfo, GpuProcess, GpuSample, GpuState

__all__ = ["Nvml", "open_gpus"]

RETRY_LOST_S = 5.0  # when a lost GPU is asked whether it is back, then after twice as long ...
MAX_RETRY_S = 60.0  # ... each time up to this: each may open NVML anew, which holds all GPUs up


def open_gpus(node: str, only: Sequence[str] = (), root_pid: int | None = None) -> "Nvml":
    """Every GPU of this machine; none where there is no driver.

    Args:
        node: this machine's name.
        only: UUIDs or beginnings of some, also of MIG instances; one that is not there is a
            fault; empty for all.
        root_pid: the process whose descendants count as the run's own.

    Raises:
        GpuError: there is a driver but it cannot be asked.
    """
    lib = library()
    try:
        lib.nvmlInit()
    except lib.NVMLError as err:
        if err.value in NO_GPU:
            return Nvml(node, lib, count=0, absent=str(err), remedy=ABSENT[err.value])
        raise gpu_error(err) from err
    try:
        count = lib.nvmlDeviceGetCount()
    except lib.NVMLError as err:
        lib.nvmlShutdown()
        raise gpu_error(err) from err
    return Nvml(node, lib, count, only=only, root_pid=root_pid)


def retry_after_s(tries: int) -> float:
    """When to ask a lost GPU again, that was asked so often in vain."""
    return min(RETRY_LOST_S * 2.0 ** min(tries, 10), MAX_RETRY_S)


class Nvml:
    """The GPUs of one machine, held open: a `profiles.devices.reader.Reader`, and a context.

    `absent` is the driver's word for why there are none, `remedy` what to do about it; None where
    NVML was reached.
    """

    def __init__(
        self,
        node: str,
        lib: Any,
        count: int,
        absent: str | None = None,
        remedy: str | None = None,
        only: Sequence[str] = (),
        root_pid: int | None = None,
    ) -> None:
        self.absent = absent
        self.remedy = remedy
        self._node = node
        self._lib = lib
        self._costs = Costs()
        self._faults: list[Fault] = []
        self._gpus: list[Gpu] = []
        self._processes = GpuProcesses(lib, node, root_pid)
        self._session = Session(lib, is_open=absent is None)
        self._renewed_due_s: float | None = None  # the cycle in which NVML was last opened anew
        for index in range(count):
            try:
                self._gpus.append(Gpu(lib, node, index, self._costs))
            except lib.NVMLError as err:
                self._fault("gpu_error", f"GPU {index} cannot be opened: {err}")
        for gpu in self._gpus:
            try:
                gpu.probe()
            except lib.NVMLError as err:
                self._lose(gpu, -math.inf, err)
        if only:
            self._choose(only)

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
        if self._session.is_open:
            with suppress(self._lib.NVMLError):  # the process ends: the driver takes it all back
                self._session.close(self._gpus)

    def describe(self) -> list[GpuInfo]:
        """The GPUs, in NVML's order (PCI bus)."""
        return [gpu.info for gpu in self._gpus]

    def cuda_version(self) -> str | None:
        """The newest CUDA the driver supports, such as "13.0"; None where it does not tell."""
        if not self._session.is_open:
            return None
        try:
            version = int(self._lib.nvmlSystemGetCudaDriverVersion_v2())
        except self._lib.NVMLError:
            return None
        return f"{version // 1000}.{version % 1000 // 10}"

    def watch_xids(self, clock: Callable[[], float]) -> None:
        """Have XIDs reported in `faults()` from now on, each with its time from `clock`."""
        self._faults += self._session.watch_xids(self._gpus, clock)

    def faults(self) -> list[Fault]:
        """What befell the GPUs since the last call."""
        for xid in self._session.xids():
            whose = [str(gpu) for gpu in self._gpus if gpu.info.uuid == xid.uuid] or ["a GPU"]
            self._fault("xid", f"{whose[0]}: {meaning(xid.code)}", xid.uuid, xid.code, xid.t_s)
        told, self._faults = self._faults + self._session.faults(), []
        return told

    def calls(self) -> dict[str, CallCost]:
        """What the calls cost since the last time this was asked."""
        return self._costs.tell()

    def sample(self, clock: Callable[[], float], due_s: float) -> list[GpuSample]:
        """One sample of every GPU and MIG instance that answers, each with its own time.

        `due_s` is when the cycle was planned, on the same clock: a sample's lag is from there.
        """
        samples: list[GpuSample] = []
        for gpu in self._gpus:
            t_s = clock()
            if gpu.lost_until_s is not None and t_s < gpu.lost_until_s:
                continue
            try:
                if gpu.lost_until_s is not None:
                    self._take_up(gpu, t_s, due_s)
                values, failed = gpu.read(t_s)
                samples.append(self._sample(gpu, gpu.info.uuid, t_s, due_s, clock() - t_s, values))
                for instance in gpu.instances:
                    t_s = clock()
                    told = instance.read(t_s) | {"parent_uuid": gpu.info.uuid}
                    samples.append(
                        self._sample(gpu, instance.uuid, t_s, due_s, clock() - t_s, told)
                    )
            except self._lib.NVMLError as err:
                self._lose(gpu, t_s, err)
                continue
            for what in failed:
                self._fault("gpu_error", f"{gpu}: {what}", gpu.info.uuid)
        return samples

    def processes(self, clock: Callable[[], float]) -> list[GpuProcess]:
        """What each process holds of each GPU's memory, MIG instances apart."""
        found, faults = self._processes.read(self._gpus, clock)
        self._faults += faults
        return found

    def states(self, clock: Callable[[], float], when: str) -> list[GpuState]:
        """What each GPU that answers cannot tell, and its error counts."""
        told = []
        for gpu in self._gpus:
            if gpu.lost_until_s is not None:
                continue
            try:
                counts = gpu.state()
            except self._lib.NVMLError as err:
                self._lose(gpu, clock(), err)
                continue
            told.append(
                GpuState(
                    t_s=round(clock(), 6),
                    node=self._node,
                    index=gpu.info.index,
                    uuid=gpu.info.uuid,
                    when=when,
                    unable=gpu.unable,
                    **counts,
                )
            )
        return told

    def mig_instance(self, uuid: str) -> GpuInfo | None:
        """The MIG instance of that UUID, with the index of the GPU it is part of, or None."""
        lib = self._lib
        try:
            handle = lib.nvmlDeviceGetHandleByUUID(uuid.encode())
            parent = lib.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle)
            return describe(lib, self._node, lib.nvmlDeviceGetIndex(parent), handle)
        except lib.NVMLError as err:
            self._fault("gpu_error", f"no MIG instance {uuid}: {err}")
            return None

    def _choose(self, only: Sequence[str]) -> None:
        """Keep the GPUs that are wanted, or have a MIG instance that is."""
        chosen = []
        for gpu in self._gpus:
            uuids = [gpu.info.uuid, *(one.uuid for one in gpu.instances)]
            if any(uuid.startswith(tuple(only)) for uuid in uuids):
                chosen.append((gpu, uuids))
            else:
                gpu.close()
        there = ", ".join(gpu.info.uuid for gpu in self._gpus) or "none"
        for wanted in only:
            if not any(uuid.startswith(wanted) for _, uuids in chosen for uuid in uuids):
                self._fault("gpu_unknown", f"there is no GPU {wanted}; those here are: {there}")
        self._gpus = [gpu for gpu, _ in chosen]

    def _sample(
        self, gpu: Gpu, uuid: str, t_s: float, due_s: float, took_s: float, values: dict[str, Any]
    ) -> GpuSample:
        return GpuSample(
            t_s=round(t_s, 6),
            node=self._node,
            index=gpu.info.index,
            uuid=uuid,
            lag_s=round(t_s - due_s, 6),
            read_s=round(took_s, 6),
            **values,
        )

    def _take_up(self, gpu: Gpu, t_s: float, due_s: float) -> None:
        """Take a lost GPU up again; in a new session of NVML where it is lost to this one.

        Raises:
            NVMLError: it is still lost.
        """
        how = "answers again"
        try:
            gpu.recover()
        except self._lib.NVMLError:
            if self._renewed_due_s == due_s:
                raise
            self._renewed_due_s = due_s
            self._renew(t_s)
            gpu.recover()
            how = "answers again, to NVML opened anew"
        self._session.watch(gpu)
        self._fault("gpu_back", f"{gpu} {how}", gpu.info.uuid)

    def _renew(self, t_s: float) -> None:
        """Open NVML anew, and take up anew every GPU that answers.

        Raises:
            NVMLError: it cannot be opened: no GPU answers.
        """
        there = [gpu for gpu in self._gpus if gpu.lost_until_s is None]
        try:
            self._faults += self._session.renew(self._gpus)
        except self._lib.NVMLError as err:
            for gpu in there if not self._session.is_open else ():
                self._lose(gpu, t_s, err)
            raise
        for gpu in there:
            try:
                gpu.recover()
            except self._lib.NVMLError as err:
                self._lose(gpu, t_s, err)
            else:
                self._session.watch(gpu)

    def _lose(self, gpu: Gpu, t_s: float, err: Exception) -> None:
        if gpu.lost_until_s is None:
            self._fault("gpu_lost", f"{gpu}: {err}", gpu.info.uuid)
        gpu.lost_until_s = t_s + retry_after_s(gpu.tries)
        gpu.tries += 1

    def _fault(
        self,
        kind: str,
        detail: str,
        uuid: str | None = None,
        code: int | None = None,
        t_s: float | None = None,
    ) -> None:
        self._faults.append(Fault(kind, detail, uuid, code, t_s))
