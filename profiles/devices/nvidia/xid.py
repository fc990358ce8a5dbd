"""XIDs, the driver's own reports of GPU errors, waited for on a thread of their own.

A wait for an event blocks inside the driver, so it cannot share the sampler's loop. Meanings and
remedies are those of NVIDIA's "XID Errors" catalogue, in our words.
"""

import ctypes
import queue
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from profiles.devices.nvidia.return_codes import NEVER, TIMEOUT

WAIT_MS = 250  # how long one wait in the driver lasts: the most that an end has to wait
PAUSE_S = 1.0  # after a wait that failed
XID_EVENT = 8  # nvmlEventTypeXidCriticalError

MEANINGS = {
    13: "a kernel made an illegal access or instruction: see the application",
    31: "a kernel touched memory it does not have: see the application",
    43: "a process's GPU work was stopped after an error of its own: see the application",
    45: "a process ended and its GPU work was cleaned up",
    48: "an uncorrectable memory error: reset the GPU; if it comes back, replace it",
    63: "a memory row was remapped: reset the GPU when convenient",
    64: "a memory row could not be remapped: replace the GPU",
    74: "an NVLink error: check the link's hardware",
    79: "the GPU has fallen off the bus: restart the machine; check power, cooling and seating",
    92: "many correctable memory errors: watch the GPU",
    94: "a memory error, contained to one process: restart that process",
    95: "a memory error that was not contained: reset the GPU",
    119: "the GPU's own processor (GSP) does not answer: reset the GPU",
    120: "an error of the GPU's own processor (GSP): reset the GPU",
}


class Xid(NamedTuple):
    """One XID and when it arrived."""

    t_s: float
    uuid: str | None  # None for a GPU that was not registered
    code: int


def meaning(code: int) -> str:
    """`XID 79: the GPU has fallen off the bus: ...`."""
    return f"XID {code}: {MEANINGS.get(code, 'see NVIDIA XID errors for its meaning')}"


class Xids:
    """Waits for XIDs of the registered GPUs until closed.

    Args:
        lib: pynvml.
        clock: stamps each arrival.

    Raises:
        NVMLError: the driver has no events.
    """

    def __init__(self, lib: Any, clock: Callable[[], float]) -> None:
        self._lib = lib
        self._clock = clock
        self._set = lib.nvmlEventSetCreate()
        self._arrived: queue.SimpleQueue[Xid] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._wait, name="xids", daemon=True)
        self._begun = False
        self.refused: int | None = None  # NVML's code where waiting is not possible
        self._uuids: dict[int | None, str] = {}  # a lost GPU cannot tell its own any more

    def register(self, handle: Any, uuid: str) -> None:
        """Wait for those of this GPU too.

        Raises:
            NVMLError: it has no such event.
        """
        self._uuids[_address(handle)] = uuid
        self._lib.nvmlDeviceRegisterEvents(handle, XID_EVENT, self._set)
        if not self._begun:
            self._begun = True
            self._thread.start()

    def take(self) -> list[Xid]:
        """Those that arrived since the last call."""
        return [self._arrived.get_nowait() for _ in range(self._arrived.qsize())]

    def close(self) -> bool:
        """End the thread, within WAIT_MS; False where the driver does not let go of it."""
        self._stop.set()
        if self._begun:
            self._thread.join(WAIT_MS / 1e3 + 2 * PAUSE_S)
        if self._thread.is_alive():
            return False
        self._lib.nvmlEventSetFree(self._set)
        return True

    def _wait(self) -> None:
        lib = self._lib
        while not self._stop.is_set():
            try:
                event = lib.nvmlEventSetWait_v2(self._set, WAIT_MS)
            except lib.NVMLError as err:
                if err.value in NEVER:
                    self.refused = int(err.value)
                    return
                if err.value != TIMEOUT:
                    self._stop.wait(PAUSE_S)  # a lost GPU makes waits fail at once
                continue
            t_s = self._clock()
            if event.eventType & XID_EVENT:
                uuid = self._uuids.get(_address(event.device))
                self._arrived.put(Xid(t_s, uuid, int(event.eventData)))


def _address(handle: Any) -> int | None:
    return ctypes.cast(handle, ctypes.c_void_p).value
