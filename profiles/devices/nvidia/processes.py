"""Which process holds how much of a GPU's memory, and which of them are this run's."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

from profiles.devices.nvidia.gpu import Gpu
from profiles.devices.nvidia.return_codes import LOST, why_not
from profiles.devices.reader import Fault
from profiles.schema import GpuProcess

MIN_HELD_BYTES = 1 << 30  # memory in use above it that no process accounts for: there must be one
MAX_NAME = 80
PID_NAMESPACE = (
    "this container does not share the host's process namespace: start it with --pid=host to see "
    "whose memory it is"
)


class GpuProcesses:
    """Looks processes up once each.

    Args:
        lib: pynvml.
        node: this machine's name.
        root_pid: this process and its descendants are the run's; None: none are.
    """

    def __init__(self, lib: Any, node: str, root_pid: int | None) -> None:
        self._lib = lib
        self._node = node
        self._root_pid = root_pid
        self._known: dict[int, tuple[str | None, bool]] = {}  # name, ours
        self._told: set[str] = set()  # GPUs that cannot tell, or whose hidden ones were told

    def read(
        self, gpus: Sequence[Gpu], clock: Callable[[], float]
    ) -> tuple[list[GpuProcess], list[Fault]]:
        """The compute processes on each GPU (MIG: on each instance), and what is amiss."""
        told: list[GpuProcess] = []
        faults = []
        for gpu in gpus:
            if gpu.lost_until_s is not None:
                continue
            parts = [(one.handle, one.uuid) for one in gpu.instances]
            what: str | None = None
            try:
                found = [
                    process
                    for handle, uuid in parts or [(gpu.handle, gpu.info.uuid)]
                    for process in self._of(handle, uuid, clock())
                ]
                told += found
                if gpu.info.uuid not in self._told:
                    what = hidden(found, gpu.mem_used_bytes())
            except self._lib.NVMLError as err:
                if err.value not in LOST:
                    what = f"its processes cannot be told: {why_not(err.value)}"
            if what and gpu.info.uuid not in self._told:
                self._told.add(gpu.info.uuid)
                faults.append(Fault("processes_hidden", f"{gpu}: {what}", gpu.info.uuid))
        return told, faults

    def _of(self, handle: Any, uuid: str, t_s: float) -> list[GpuProcess]:
        told = []
        for one in self._lib.nvmlDeviceGetComputeRunningProcesses(handle):
            if one.pid not in self._known:
                self._known[one.pid] = self._look(one.pid)
            name, ours = self._known[one.pid]
            told.append(
                GpuProcess(
                    t_s=round(t_s, 6),
                    node=self._node,
                    uuid=uuid,
                    pid=one.pid,
                    name=name,
                    ours=ours,
                    mem_used_bytes=one.usedGpuMemory,
                )
            )
        return told

    def _look(self, pid: int) -> tuple[str | None, bool]:
        try:
            process = psutil.Process(pid)
            name = " ".join(process.cmdline()[:1]) or process.name()
            line = [pid, *(parent.pid for parent in process.parents())]
        except psutil.Error:
            return None, False
        return Path(name).name[:MAX_NAME], self._root_pid in line


def hidden(processes: list[GpuProcess], mem_used_bytes: int | None) -> str | None:
    """That processes use the GPU unseen from here, with the remedy; None where none does. Pure."""
    strangers = sum(one.name is None for one in processes)
    if strangers:
        return f"{strangers} of its processes cannot be seen from here; {PID_NAMESPACE}"
    if not processes and (mem_used_bytes or 0) > MIN_HELD_BYTES:
        return (
            f"{(mem_used_bytes or 0) / 2**30:.1f} GiB are in use by no process to be seen from "
            f"here; {PID_NAMESPACE}"
        )
    return None
