"""A run folder as numpy columns: what every reader computes on.

The streams are decoded a chunk at a time, so a few million records take about 100 bytes each and
never live as Python values all at once. Unknown is NaN.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from operator import attrgetter
from typing import TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from profiles.record.error_groups import ErrorGroups
from profiles.record.folder import RunFolder
from profiles.schema import (
    ClockSample,
    GpuProcess,
    GpuSample,
    GpuState,
    HostSample,
    LoadSample,
    Outcome,
    RequestRecord,
    RunEvent,
    RunManifest,
    SamplerSample,
)
from profiles.stats.arrays import Floats

T = TypeVar("T")
Device = tuple[str | None, str | None]  # the GPU's UUID and the replica, as the server told them

OUTCOMES = tuple(Outcome)
CODES = {outcome: code for code, outcome in enumerate(OUTCOMES)}
PRIORITIES = ("paying", "free")
_CODES_OF_CLASSES: dict[str | None, int] = {name: k for k, name in enumerate(PRIORITIES)}

CHUNK = 65_536
MAX_ERROR_TEXTS = 10_000  # groups of them, see ErrorGroups

_PLAIN = (
    "images",
    "scheduled_s",
    "sent_s",
    "done_s",
    "first_byte_s",
    "bytes_in",
    "queue_s",
    "batch_mean",
    "flop",
    "width",
    "height",
    "steps",
    "decoded",
    "session",
)
_STAGES = ("text_s", "denoise_s", "decode_s", "encode_s")
_GPU = (
    "t_s",
    "util_pct",
    "sm_active_pct",
    "tensor_pct",
    "mem_used_bytes",
    "power_w",
    "energy_j",
    "sm_clock_mhz",
    "mem_clock_mhz",
    "temp_c",
    "lag_s",
    "sm_occupancy_pct",
    "dram_pct",
    "gpm_span_s",
    "mem_temp_c",
    "power_average_w",
    "throttle_power_s",
    "throttle_thermal_s",
    "throttle_hw_thermal_s",
    "throttle_brake_s",
    "pcie_rx_bytes",
    "pcie_tx_bytes",
    "read_s",
)
_HOST = ("t_s", "cpu_pct", "mem_used_bytes", "cpu_energy_j", "dram_energy_j", "lag_s")


@dataclass(frozen=True)
class Requests:
    """The request records, in file order; every column has shape (records,).

    `outcome` holds indices into OUTCOMES, `priority` into PRIORITIES (-1: none). `service_s` is
    text + denoise + decode + encode, as far as the server told them; NaN where it told none.
    """

    seq: NDArray[np.int64]
    attempt: NDArray[np.int64]  # 1 first
    outcome: NDArray[np.int8]
    priority: NDArray[np.int8]
    images: Floats
    scheduled_s: Floats
    sent_s: Floats
    done_s: Floats
    first_byte_s: Floats
    bytes_in: Floats
    queue_s: Floats
    service_s: Floats
    batch_mean: Floats
    flop: Floats
    width: Floats
    height: Floats
    steps: Floats
    session: Floats  # the person
    decoded: Floats  # 1 where the answer's pixels were decoded in full, 0 where not
    device: NDArray[np.int32]  # index into `devices`; -1: the server told neither
    devices: list[Device] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return int(self.seq.size)

    def where(self, outcome: Outcome) -> NDArray[np.bool_]:
        """Which records ended so; shape (records,)."""
        return np.equal(self.outcome, CODES[outcome])

    @property
    def latency_s(self) -> Floats:
        """Done - scheduled: waiting to be sent counts."""
        return self.done_s - self.scheduled_s

    @property
    def lateness_s(self) -> Floats:
        """Sent - scheduled: the generator's own fault."""
        return self.sent_s - self.scheduled_s

    def take(self, rows: NDArray[np.int64]) -> "Requests":
        """These rows only."""
        columns = {
            name: value[rows] for name, value in vars(self).items() if isinstance(value, np.ndarray)
        }
        return Requests(**columns, devices=self.devices, errors=self.errors)


@dataclass(frozen=True)
class Gpu:
    """The samples of one GPU, sorted by time; every column has shape (samples,)."""

    node: str
    index: int
    uuid: str
    t_s: Floats
    util_pct: Floats
    sm_active_pct: Floats
    tensor_pct: Floats
    mem_used_bytes: Floats
    power_w: Floats
    energy_j: Floats
    sm_clock_mhz: Floats
    mem_clock_mhz: Floats
    temp_c: Floats
    lag_s: Floats
    sm_occupancy_pct: Floats
    dram_pct: Floats
    gpm_span_s: Floats
    mem_temp_c: Floats
    power_average_w: Floats
    throttle_power_s: Floats
    throttle_thermal_s: Floats
    throttle_hw_thermal_s: Floats
    throttle_brake_s: Floats
    pcie_rx_bytes: Floats
    pcie_tx_bytes: Floats
    read_s: Floats
    parent_uuid: str | None = None  # of a MIG instance: its GPU


@dataclass(frozen=True)
class Host:
    """The samples of one machine, sorted by time; every column has shape (samples,)."""

    node: str
    t_s: Floats
    cpu_pct: Floats
    mem_used_bytes: Floats
    cpu_energy_j: Floats
    dram_energy_j: Floats
    lag_s: Floats


@dataclass(frozen=True)
class Recorded:
    """Everything a run recorded."""

    manifest: RunManifest
    requests: Requests
    gpus: list[Gpu]  # whole ones
    hosts: list[Host]
    load: list[LoadSample]
    events: list[RunEvent]
    damaged: int = 0  # lines that do not decode
    instances: list[Gpu] = field(default_factory=list)  # of MIG
    states: list[GpuState] = field(default_factory=list)  # before and after
    processes: list[GpuProcess] = field(default_factory=list)
    sampler: list[SamplerSample] = field(default_factory=list)
    clocks: list[ClockSample] = field(default_factory=list)
    generators: list[str] = field(default_factory=list)  # of whom there are request records


def read(folder: RunFolder) -> Recorded:
    """Read a run folder, finished or not.

    Raises:
        RunError: run.json is unreadable.
    """
    manifest = folder.manifest()
    requests, gpu, host = folder.requests(), folder.gpu(), folder.host()
    states, processes, sampler = folder.states(), folder.processes(), folder.sampler()
    devices = gpu_columns(gpu)
    load, events, clocks = folder.load(), folder.events(), folder.clocks()
    happened = sorted(events.read(), key=lambda event: event.t_s)
    return Recorded(
        manifest=_with_load(manifest, happened),
        requests=request_columns(requests),
        gpus=[one for one in devices if one.parent_uuid is None],
        hosts=host_columns(host),
        load=load.read(),
        events=happened,
        instances=[one for one in devices if one.parent_uuid is not None],
        states=states.read(),
        processes=processes.read(),
        sampler=sampler.read(),
        damaged=sum(
            tail.damaged
            for tail in (requests, gpu, host, load, events, states, processes, sampler, clocks)
        ),
        clocks=clocks.read(),
        generators=folder.generators(),
    )


def load_start_s(manifest: RunManifest, events: Sequence[RunEvent]) -> float | None:
    """When the load began, on the run's clock; None if it never did.

    run.json says so once the driver has seen it; where that was killed before, the event does.
    """
    if manifest.load_start_s is not None:
        return manifest.load_start_s
    return next((event.t_s for event in events if event.kind == "load_start"), None)


def _with_load(manifest: RunManifest, events: Sequence[RunEvent]) -> RunManifest:
    """The manifest with when the load began and would have ended."""
    start_s = load_start_s(manifest, events)
    if start_s is None or manifest.load_start_s is not None or manifest.plan is None:
        return manifest
    end_s = start_s + manifest.plan.duration_s
    return msgspec.structs.replace(manifest, load_start_s=start_s, load_end_s=end_s)


def request_columns(records: Iterable[RequestRecord]) -> Requests:
    """The records as columns."""
    pick = attrgetter("seq", "attempt", *_PLAIN, *_STAGES)
    chunks: list[Floats] = []
    codes: list[NDArray[np.int8]] = []
    classes: list[NDArray[np.int8]] = []
    errors = ErrorGroups(MAX_ERROR_TEXTS)
    numbers: dict[Device, int] = {(None, None): -1}
    devices: list[NDArray[np.int32]] = []
    for chunk in _chunks(records):
        rows = np.array([pick(record) for record in chunk], dtype=np.float64)
        stages = rows[:, -len(_STAGES) :]
        service = np.where(np.isnan(stages).all(axis=1), np.nan, np.nansum(stages, axis=1))
        chunks.append(np.column_stack((rows[:, : -len(_STAGES)], service)))
        codes.append(np.array([CODES[record.outcome] for record in chunk], dtype=np.int8))
        who = [_CODES_OF_CLASSES.get(record.priority, -1) for record in chunk]
        classes.append(np.array(who, dtype=np.int8))
        told = [(record.gpu_uuid, record.replica) for record in chunk]
        devices.append(
            np.array([numbers.setdefault(one, len(numbers) - 1) for one in told], dtype=np.int32)
        )
        for record in chunk:
            if record.error is not None:
                errors.add(record.error)
    table = np.concatenate(chunks).T if chunks else np.empty((len(_PLAIN) + 3, 0))
    names = [*_PLAIN, "service_s"]
    columns = dict(zip(names, np.ascontiguousarray(table[2:]), strict=True))
    return Requests(
        seq=table[0].astype(np.int64),
        attempt=table[1].astype(np.int64),
        outcome=np.concatenate(codes) if codes else np.empty(0, dtype=np.int8),
        priority=np.concatenate(classes) if classes else np.empty(0, dtype=np.int8),
        **columns,
        device=np.concatenate(devices) if devices else np.empty(0, dtype=np.int32),
        devices=list(numbers)[1:],
        errors=errors.counts(),
    )


def gpu_columns(samples: Iterable[GpuSample]) -> list[Gpu]:
    """The samples as columns, a value per GPU, sorted by node and index."""
    tables = _grouped(
        samples, lambda one: (one.node, one.index, one.parent_uuid or "", one.uuid), _GPU
    )
    return [
        Gpu(
            node,
            index,
            uuid,
            **dict(zip(_GPU, table, strict=True)),
            parent_uuid=parent or None,
        )
        for (node, index, parent, uuid), table in sorted(tables.items())
    ]


def host_columns(samples: Iterable[HostSample]) -> list[Host]:
    """The samples as columns, a value per machine, sorted by node."""
    tables = _grouped(samples, lambda one: (one.node,), _HOST)
    return [
        Host(*key, **dict(zip(_HOST, table, strict=True))) for key, table in sorted(tables.items())
    ]


K = TypeVar("K", bound=tuple[object, ...])


def _grouped(samples: Iterable[T], key: Callable[[T], K], names: Sequence[str]) -> dict[K, Floats]:
    """One table of shape (names, samples) per key, sorted by the first name."""
    pick = attrgetter(*names)
    parts: dict[K, list[Floats]] = {}
    for chunk in _chunks(samples):
        rows: dict[K, list[tuple[float | None, ...]]] = {}
        for sample in chunk:
            rows.setdefault(key(sample), []).append(pick(sample))
        for name, values in rows.items():
            parts.setdefault(name, []).append(np.array(values, dtype=np.float64))
    tables = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    return {name: table[np.argsort(table[:, 0], kind="stable")].T for name, table in tables.items()}


def _chunks(values: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(values)
    while chunk := list(islice(iterator, CHUNK)):
        yield chunk
