"""What the sampler asks of a vendor's library: the one protocol of all device readers.

A reader opens its library once, finds out once what each device can tell, and never raises after
that: what a device cannot tell is None and named in its state, what befalls it is a `Fault`.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from profiles.schema import CallCost, GpuInfo, GpuProcess, GpuSample, GpuState


class Fault(NamedTuple):
    """Something that befell a device or its reader.

    `kind` is an event's: `gpu_lost`, `gpu_back`, `gpu_error` (one reading), `xid`, `gpu_unknown`
    (asked for, not there), `processes_hidden`, `xids_unread`.
    """

    kind: str
    detail: str
    uuid: str | None = None
    code: int | None = None  # of an XID
    t_s: float | None = None  # when; None: now


class Reader(Protocol):
    """The devices of one machine, of one vendor."""

    def __len__(self) -> int:
        """How many devices there are."""

    def describe(self) -> Sequence[GpuInfo]:
        """What they are."""

    def sample(self, clock: Callable[[], float], due_s: float) -> Sequence[GpuSample]:
        """One sample of every device that answers; `due_s` is when the cycle was planned."""

    def processes(self, clock: Callable[[], float]) -> Sequence[GpuProcess]:
        """What each process holds of each device's memory."""

    def states(self, clock: Callable[[], float], when: str) -> Sequence[GpuState]:
        """What each device is and can tell, and its error counts; `when`: "begin" or "end"."""

    def watch_xids(self, clock: Callable[[], float]) -> None:
        """Have the driver's own reports of errors among the faults from now on, if it has any."""

    def calls(self) -> dict[str, CallCost]:
        """What each call to the library cost since the last time this was asked."""

    def faults(self) -> Sequence[Fault]:
        """What befell the devices since the last call."""

    def close(self) -> None:
        """Let the library go."""


class GpuError(Exception):
    """NVML is there but cannot be used; the text says what to do."""
