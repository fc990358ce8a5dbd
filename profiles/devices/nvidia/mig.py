"""The instances that MIG cuts a GPU into: memory, and GPM averages of each.

An instance has no utilization, clock or power of its own: energy is told for the whole GPU only.
"""

from typing import Any

from profiles.devices.nvidia.gpm import Gpm
from profiles.devices.nvidia.return_codes import LOST


class Instance:
    """A MIG instance held open.

    Args:
        lib: pynvml.
        handle: its own.
        parent: its GPU's handle.
        after_s: how long its averages wait, so that many do not look at once.

    Raises:
        NVMLError: its UUID cannot be read.
    """

    def __init__(self, lib: Any, handle: Any, parent: Any, after_s: float) -> None:
        self._lib = lib
        self.handle = handle
        self.uuid = str(lib.nvmlDeviceGetUUID(handle))
        self._gpm: Gpm | None = None
        try:
            number = lib.nvmlDeviceGetGpuInstanceId(handle)
            if lib.nvmlGpmQueryDeviceSupport(parent).isSupportedDevice:
                self._gpm = Gpm.open_instance(lib, parent, number, after_s)
        except lib.NVMLError as err:
            if err.value in LOST:
                raise

    def read(self, t_s: float) -> dict[str, Any]:
        """GpuSample's attributes that are known now.

        Raises:
            NVMLError: the GPU is lost.
        """
        values: dict[str, Any] = {}
        try:
            memory = self._lib.nvmlDeviceGetMemoryInfo(self.handle, self._lib.nvmlMemory_v2)
            values["mem_used_bytes"] = memory.used
        except self._lib.NVMLError as err:
            if err.value in LOST:
                raise
        if self._gpm:
            values |= self._gpm.read(t_s)[0]
        return values

    def close(self) -> None:
        """Free what the averages hold."""
        if self._gpm:
            self._gpm.close()
            self._gpm = None


def instances(lib: Any, handle: Any, index: int) -> list[Instance]:
    """The instances of a GPU; none where MIG is off or unknown to the GPU.

    Raises:
        NVMLError: the GPU cannot be asked about MIG.
    """
    if not lib.nvmlDeviceGetMigMode(handle)[0]:
        return []
    found: list[Instance] = []
    for place in range(lib.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            own = lib.nvmlDeviceGetMigDeviceHandleByIndex(handle, place)
        except lib.NVMLError as err:
            if err.value in LOST:
                raise
            continue  # no instance at that place
        found.append(Instance(lib, own, handle, (index + len(found)) % 10 / 10))
    return found
