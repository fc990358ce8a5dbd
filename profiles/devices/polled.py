"""GPUs that are asked call by call: what the readers of AMD's and Intel's libraries share.

A vendor's module says how a GPU is found, and which call gives which attributes of a GpuSample.
What holds for all of them is here: found out once what a GPU can tell; null and named where it
cannot; a fault told once; lost, and taken up again.
"""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from profiles.devices.call_costs import Costs
from profiles.devices.reader import Fault
from profiles.schema import CallCost, GpuInfo, GpuProcess, GpuSample, GpuState

RETRY_LOST_S = 5.0  # how often a lost GPU is asked whether it is back

Value = float | int | None

_OF_THE_SAMPLE = {"t_s", "node", "index", "uuid", "parent_uuid", "lag_s", "read_s", "gpm_span_s"}
READINGS = [name for name in GpuSample.__struct_fields__ if name not in _OF_THE_SAMPLE]


class Unsupported(Exception):  # noqa: N818 - not an error: the reading is null
    """This GPU cannot tell; the text says why."""


class ReadError(Exception):
    """A reading failed this time."""


class LostError(Exception):
    """The GPU does not answer any more."""


class Ask(NamedTuple):
    """One call to the library.

    `read` gives a value for each of `attributes`, in its order and the unit of its name. It raises
    Unsupported, ReadError or LostError.
    """

    call: str
    attributes: tuple[str, ...]
    read: Callable[[], Sequence[Value]]


class Device:
    """One GPU.

    Args:
        info: what it is.
        find: takes the GPU up, at the start and after it was lost: what it can be asked.
    """

    def __init__(self, info: GpuInfo, find: Callable[[], list[Ask]]) -> None:
        self.info = info
        self.unable: dict[str, str] = {}  # reading -> why it cannot be told
        self.lost_until_s: float | None = None  # when to ask a lost GPU again; None: it answers
        self._find = find
        self._asks: list[Ask] = []
        self._told: set[str] = set()  # calls whose fault was told already

    def __str__(self) -> str:
        return f"GPU {self.info.index} ({self.info.uuid})"

    def take_up(self, absent: str) -> None:
        """Find out what the GPU can tell; `absent` is why there is no call for a reading.

        Raises:
            LostError: it does not answer.
        """
        asks = self._find()
        unable = dict.fromkeys(READINGS, absent)
        self._asks = []
        for ask in asks:
            try:
                ask.read()
            except Unsupported as err:
                unable |= dict.fromkeys(ask.attributes, f"{ask.call}: {err}")
                continue
            except ReadError:
                pass  # told by the first reading
            self._asks.append(ask)
            for name in ask.attributes:
                unable.pop(name, None)
        self.unable = unable
        self.lost_until_s = None

    def read(self, costs: Costs) -> tuple[dict[str, Value], list[str]]:
        """GpuSample's attributes that are known now, and what failed for the first time.

        Raises:
            LostError: the GPU does not answer any more.
        """
        values: dict[str, Value] = {}
        failed = []
        for ask in self._asks:
            began_s = time.perf_counter()
            try:
                values |= zip(ask.attributes, ask.read(), strict=True)
            except Unsupported:
                pass  # not now: null
            except ReadError as err:
                if ask.call not in self._told:
                    self._told.add(ask.call)
                    failed.append(f"{ask.call}: {err}")
            costs.add(ask.call, time.perf_counter() - began_s)
        return values, failed


class Devices:
    """The GPUs that one library shows: a `profiles.devices.reader.Reader`.

    Args:
        node: this machine's name.
        devices: its GPUs.
        absent: why a reading that no call gives is null.
        shut: lets the library go.
    """

    def __init__(
        self, node: str, devices: list[Device], absent: str, shut: Callable[[], object]
    ) -> None:
        self._node = node
        self._devices = devices
        self._absent = absent
        self._shut = shut
        self._faults: list[Fault] = []
        self._costs = Costs()
        for device in devices:
            try:
                device.take_up(absent)
            except LostError as err:
                self._lose(device, 0.0, err)

    def __len__(self) -> int:
        return len(self._devices)

    def describe(self) -> list[GpuInfo]:
        """What they are."""
        return [device.info for device in self._devices]

    def choose(self, only: Sequence[str]) -> None:
        """Keep the GPUs whose UUID begins with one of `only`; all of them where it is empty."""
        if only:
            self._devices = [
                device for device in self._devices if device.info.uuid.startswith(tuple(only))
            ]

    def sample(self, clock: Callable[[], float], due_s: float) -> list[GpuSample]:
        """One sample of every GPU that answers; `due_s` is when the cycle was planned."""
        samples = []
        for device in self._devices:
            t_s = clock()
            if device.lost_until_s is not None and t_s < device.lost_until_s:
                continue
            try:
                if device.lost_until_s is not None:
                    device.take_up(self._absent)
                    self._fault(device, "gpu_back", "answers again")
                values, failed = device.read(self._costs)
            except LostError as err:
                self._lose(device, t_s + RETRY_LOST_S, err)
                continue
            for what in failed:
                self._fault(device, "gpu_error", what)
            samples.append(
                GpuSample(
                    t_s=round(t_s, 6),
                    node=self._node,
                    index=device.info.index,
                    uuid=device.info.uuid,
                    lag_s=round(t_s - due_s, 6),
                    read_s=round(clock() - t_s, 6),
                    **values,  # type: ignore[arg-type] # of GpuSample's names, by Ask's contract
                )
            )
        return samples

    def states(self, clock: Callable[[], float], when: str) -> list[GpuState]:
        """What each GPU cannot tell, and why."""
        return [
            GpuState(
                t_s=round(clock(), 6),
                node=self._node,
                index=device.info.index,
                uuid=device.info.uuid,
                when=when,
                unable=device.unable,
            )
            for device in self._devices
            if device.lost_until_s is None
        ]

    def processes(self, clock: Callable[[], float]) -> list[GpuProcess]:
        """Nothing: which process holds what is read for NVIDIA's only."""
        return []

    def watch_xids(self, clock: Callable[[], float]) -> None:
        """Nothing: XIDs are NVIDIA's."""

    def calls(self) -> dict[str, CallCost]:
        """What each call cost since the last time this was asked."""
        return self._costs.tell()

    def faults(self) -> list[Fault]:
        """What befell the GPUs since the last call."""
        told, self._faults = self._faults, []
        return told

    def close(self) -> None:
        """Let the library go."""
        self._shut()

    def _lose(self, device: Device, until_s: float, err: Exception) -> None:
        if device.lost_until_s is None:
            self._fault(device, "gpu_lost", str(err))
        device.lost_until_s = until_s

    def _fault(self, device: Device, kind: str, what: str) -> None:
        between = " " if kind == "gpu_back" else ": "
        self._faults.append(Fault(kind, f"{device}{between}{what}", device.info.uuid))
