"""Opens a reader for each vendor's GPUs of this machine, and says why some cannot be read."""

import sys
from collections.abc import Callable, Sequence

from profiles.devices.nvidia.reader import Nvml, open_gpus
from profiles.devices.polled import Devices
from profiles.devices.reader import GpuError, Reader
from profiles.devices.vendors import open_others

UUIDS = (
    "NVIDIA's UUIDs begin with GPU- or MIG- and are told by nvidia-smi -L, AMD's by amd-smi list, "
    "Intel's by xpu-smi discovery"
)


def open_readers(
    node: str,
    wanted: Sequence[str],
    root_pid: int | None,
    event: Callable[[str, str], object],
) -> list[Reader]:
    """A reader for each vendor's GPUs; an event where they cannot be asked.

    Args:
        node: this machine's name.
        wanted: UUIDs, or the beginnings of some; empty for all GPUs.
        root_pid: the process whose descendants count as the run's own.
        event: takes the kind of a fault, and its cause with the remedy.
    """
    # NVIDIA's UUIDs begin so, and no other vendor's does
    only = [uuid for uuid in wanted if uuid.startswith(("GPU-", "MIG-"))]
    only_others = [uuid for uuid in wanted if uuid not in only]
    nvml: Nvml | None = None
    others: list[Devices] = []
    unread: list[str] = []
    if only or not wanted:
        try:
            nvml = open_gpus(node, only=only, root_pid=root_pid)
        except GpuError as err:
            unread.append(str(err))
    if only_others or not wanted:
        first_index = len(nvml) if nvml else 0
        others, unread_others = open_others(node, first_index, only_others)
        unread += unread_others
        there = [gpu.uuid for reader in others for gpu in reader.describe()]
        for uuid in only_others:
            if not any(one.startswith(uuid) for one in there):
                event("gpu_unknown", f"there is no GPU {uuid}; {UUIDS}")
    for why in unread:
        sys.stderr.write(f"warning: no GPU readings: {why}\n")
        event("gpu_unreadable", why)
    if nvml is not None and nvml.absent is not None:
        if not others:
            event("gpu_absent", f"{nvml.absent}: {nvml.remedy}")
        nvml.close()
        nvml = None
    return [*([] if nvml is None else [nvml]), *others]  # also one without GPUs: it says why
