"""NVML held open, and the XIDs waited for in it; opened anew where a lost GPU needs that.

A GPU that fell off the bus (XID 79) is lost to the session of NVML that saw it fall, though it
answers again after a reset: NVML has to be shut and opened anew. That ends every handle, also those
of the GPUs that never were lost.
"""

from collections.abc import Callable, Sequence
from typing import Any

from profiles.devices.nvidia.gpu import Gpu
from profiles.devices.nvidia.return_codes import LOST, TIMEOUT, why_not
from profiles.devices.nvidia.xid import Xid, Xids
from profiles.devices.reader import Fault


class Session:
    """One process's session of NVML.

    Args:
        lib: pynvml, opened where `is_open`.
        is_open: whether NVML was reached.
    """

    def __init__(self, lib: Any, is_open: bool) -> None:
        self.is_open = is_open
        self._lib = lib
        self._clock: Callable[[], float] | None = None  # of XIDs; None: they are not waited for
        self._xids: Xids | None = None
        self._unread: set[str] = set()  # UUIDs of GPUs without XIDs, told already
        self._is_refused = False
        self._before: list[Xid] = []  # that arrived in sessions before this

    def watch_xids(self, gpus: Sequence[Gpu], clock: Callable[[], float]) -> list[Fault]:
        """Wait for the XIDs of these GPUs, in every session from now on; what is amiss."""
        self._clock = clock
        faults = self._wait_for_xids()
        untold: dict[str, list[str]] = {}
        for gpu in gpus:
            why = self.watch(gpu)
            if why is not None:
                untold.setdefault(why, []).append(str(gpu.info.index))
        return faults + [
            Fault("xids_unread", f"no XIDs of GPU {', '.join(which)}: {why}")
            for why, which in untold.items()
        ]

    def watch(self, gpu: Gpu) -> str | None:
        """Wait for the XIDs of this GPU too, if any are; why it has none, told once.

        One that is lost by now is watched when it is back.
        """
        if self._xids is None:
            return None
        try:
            self._xids.register(gpu.handle, gpu.info.uuid)
        except self._lib.NVMLError as err:
            if err.value not in LOST and gpu.info.uuid not in self._unread:
                self._unread.add(gpu.info.uuid)
                return why_not(err.value)
        return None

    def xids(self) -> list[Xid]:
        """Those that arrived since the last call."""
        told, self._before = self._before, []
        return told + (self._xids.take() if self._xids else [])

    def faults(self) -> list[Fault]:
        """That XIDs cannot be waited for after all; told once."""
        refused = self._xids.refused if self._xids is not None else None
        if refused is None or self._is_refused:
            return []
        self._is_refused = True
        return [_unwaited(refused)]

    def renew(self, gpus: Sequence[Gpu]) -> list[Fault]:
        """Shut NVML and open it anew: every handle of `gpus`, all there are, has to be taken anew.

        Raises:
            NVMLError: it cannot be opened, and is shut; or its wait for XIDs does not end.
        """
        if self.is_open:
            self.close(gpus)
        self._lib.nvmlInit()
        self.is_open = True
        return self._wait_for_xids()

    def close(self, gpus: Sequence[Gpu]) -> None:
        """Let the driver go, with all that `gpus` hold of it.

        Raises:
            NVMLError: the wait for XIDs does not end, and nothing was let go.
        """
        if self._xids is not None:
            if not self._xids.close():
                raise self._lib.NVMLError(TIMEOUT)
            self._before += self._xids.take()
            self._xids = None
        for gpu in gpus:
            gpu.close()
        self.is_open = False
        self._lib.nvmlShutdown()

    def _wait_for_xids(self) -> list[Fault]:
        if self._clock is None:
            return []
        try:
            self._xids = Xids(self._lib, self._clock)
        except self._lib.NVMLError as err:
            return [_unwaited(int(err.value))]
        return []


def _unwaited(code: int) -> Fault:
    return Fault("xids_unread", f"XIDs cannot be waited for: {why_not(code)}")
