"""What a run writes line by line: requests, readings of load, clocks, GPUs and hosts, events."""

import msgspec

from profiles.schema.common import Outcome


class RequestRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt of one scheduled request: a line of `requests-<generator>.jsonl`.

    `attempt` counts from 1; the outcome of a scheduled request is that of its last attempt. Each
    attempt has a `scheduled_s` of its own; where people are played, an attempt that was due and not
    made any more (the person had left) has no `sent_s`.

    Latency is `done_s - scheduled_s`, of a request from its first attempt's `scheduled_s`, so time
    spent waiting to be sent counts (no coordinated omission). Lateness is `sent_s - scheduled_s`:
    the generator's own fault. The `*_s` stages from `queue_s` to `encode_s` are durations the
    server told in `Server-Timing`; None when not told.
    """

    seq: int  # index in the schedule, 0 first
    attempt: int = 1
    session: int | None = None  # the person; None where arrivals are independent
    priority: str | None = None  # the person's class, "paying" | "free"
    phase: str = "load"
    scheduled_s: float
    sent_s: float | None = None
    first_byte_s: float | None = None
    done_s: float | None = None
    outcome: Outcome
    status: int | None = None  # HTTP status
    error: str | None = None  # one line, for people
    images: int  # asked for
    width: int
    height: int
    steps: int | None = None
    prompt_chars: int
    bytes_in: int | None = None  # body of the response
    request_id: str | None = None
    queue_s: float | None = None
    text_s: float | None = None
    denoise_s: float | None = None
    decode_s: float | None = None
    encode_s: float | None = None
    batch_mean: float | None = None  # images that shared the denoiser call, averaged over steps
    replica: str | None = None
    gpu_uuid: str | None = None
    flop: float | None = None  # floating point operations its images took, told in `X-Flop`
    decoded: bool | None = None  # all its pixels were decoded; None: there was nothing to check


class LoadSample(msgspec.Struct, frozen=True, kw_only=True):
    """The generator watching itself, once a second: a line of `load-<generator>.jsonl`.

    Counts are cumulative attempts of this generator's share of the schedule.
    """

    t_s: float
    generator: str
    due: int  # scheduled time has come
    sent: int
    done: int  # an outcome is known
    in_flight: int
    cpu_pct: float | None = None  # of one core, this process
    loop_lag_s: float | None = None  # worst oversleep of the event loop since the last line
    loop_cpu_pct: float | None = None  # of one core, the event loop's thread
    unasked: int | None = None  # kept connections on which bytes came that nobody asked for
    untrue: int | None = None  # answers that told of themselves what cannot be


class ClockSample(msgspec.Struct, frozen=True, kw_only=True):
    """A generator on another machine measured its clock against the master's: in `clocks.jsonl`.

    Once before the load and once after it. All its records are on the run's clock by the first
    reading; the true offset is within `uncertainty_s` of `offset_s`.
    """

    t_s: float
    generator: str
    host: str
    offset_s: float  # the master's clock less the generator's
    uncertainty_s: float  # half of the best round trip


class GpuSample(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU at one instant: a line of `gpu-<node>.jsonl`."""

    t_s: float
    node: str
    index: int
    uuid: str
    util_pct: float | None = None  # share of time some kernel ran; not how full the GPU was
    sm_active_pct: float | None = None
    tensor_pct: float | None = None
    dram_pct: float | None = None
    sm_occupancy_pct: float | None = None  # warps resident, of the most there can be
    gpm_span_s: float | None = None  # the four above but util_pct are averages over so long a time
    mem_used_bytes: int | None = None
    power_w: float | None = None  # instant
    power_average_w: float | None = None  # over the second before, as the driver forms it
    energy_j: float | None = None  # the driver's counter, since the driver was loaded
    sm_clock_mhz: float | None = None
    mem_clock_mhz: float | None = None
    temp_c: float | None = None
    mem_temp_c: float | None = None
    throttle_power_s: float | None = None  # counters of time throttled, by cause
    throttle_thermal_s: float | None = None
    throttle_hw_thermal_s: float | None = None
    throttle_brake_s: float | None = None
    pcie_rx_bytes: int | None = None  # counters
    pcie_tx_bytes: int | None = None
    parent_uuid: str | None = None  # of a MIG instance: the GPU it is part of
    lag_s: float  # how late this sample was taken: it was due at t_s - lag_s
    read_s: float | None = None  # how long reading it took


class GpuState(msgspec.Struct, frozen=True, kw_only=True):
    """A GPU before and after the run: a line of `state-<node>.jsonl`.

    `unable` names the attributes of a GpuSample that this GPU cannot tell, each with why.
    """

    t_s: float
    node: str
    index: int
    uuid: str
    when: str  # "begin" | "end"
    unable: dict[str, str] = {}
    ecc_corrected: int | None = None  # errors since the driver was loaded
    ecc_uncorrected: int | None = None
    rows_corrected: int | None = None  # memory rows remapped, by the cause
    rows_uncorrected: int | None = None
    rows_pending: bool | None = None  # remapped at the next reset of the GPU
    rows_failed: bool | None = None


class GpuProcess(msgspec.Struct, frozen=True, kw_only=True):
    """A process's share of one GPU's memory, once a second: a line of `process-<node>.jsonl`."""

    t_s: float
    node: str
    uuid: str
    pid: int
    name: str | None = None  # None where the process is not to be seen from here
    ours: bool = False  # started by this run
    mem_used_bytes: int | None = None


class CallCost(msgspec.Struct, frozen=True, kw_only=True):
    """What one call to the driver cost since the sampler's last line."""

    count: int
    mean_s: float
    max_s: float


class SamplerSample(msgspec.Struct, frozen=True, kw_only=True):
    """The sampler watching itself, every few seconds: a line of `sampler-<node>.jsonl`.

    Counts are cumulative; maxima, CPU use and costs are since the last line.
    """

    t_s: float
    node: str
    hz: float  # cycles a second as planned
    cycles: int
    missed: int  # cycles that were due and got no sample
    lag_max_s: float | None = None
    work_max_s: float | None = None  # the longest cycle
    cpu_pct: float | None = None  # of one core, this process
    calls: dict[str, CallCost] = {}


class HostSample(msgspec.Struct, frozen=True, kw_only=True):
    """The machine itself at one instant: a line of `host-<node>.jsonl`."""

    t_s: float
    node: str
    cpu_pct: float  # of all cores together, 0..100
    mem_used_bytes: int
    cpu_energy_j: float | None = None  # of all processors (RAPL), since the sampler began
    dram_energy_j: float | None = None
    lag_s: float


class RunEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened at an instant: a line of `events.jsonl`.

    `kind` is a phase (`server_starting`, `server_ready`, `calibrated`, `load_start`, `load_end`,
    `drained`) or a fault (`server_unhealthy`, `server_died`, `generator_died`, `sampler_died`,
    `interrupted`, ...).
    """

    t_s: float
    kind: str
    source: str  # runner | generator id | node
    detail: str = ""
    gpu_uuid: str | None = None
    code: int | None = None  # of an XID
