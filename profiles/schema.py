"""Every data contract of a run folder, versioned.

Conventions, everywhere: SI units, and the unit is in the name (`_s`, `_w`, `_j`, `_bytes`, `_pct`);
unknown is None, never 0; `t_s` and every other instant is in seconds on the *run's clock*, which is
CLOCK_MONOTONIC of the machine that drives the run minus `RunManifest.clock_zero_monotonic_s`.
Values are frozen. Readers ignore fields they do not know, so a field may be added within a version;
anything else raises SCHEMA_VERSION.
"""

from enum import StrEnum
from typing import Literal

import msgspec

SCHEMA_VERSION = 1
LOCAL_ERROR = "this machine: "  # begins RequestRecord.error where the generator's own was at fault


class Outcome(StrEnum):
    """How one scheduled request ended. Every scheduled request ends in exactly one."""

    OK = "ok"  # the asked number of decodable images of the asked size and format came back
    REJECTED = "rejected"  # the server refused by design: 429 or 503
    FAILED = "failed"  # any other error, or an answer that is not what was asked for
    TIMEOUT = "timeout"  # no complete answer within the client's limit
    ABANDONED = "abandoned"  # the person ran out of patience
    UNSENT = "unsent"  # the run stopped before the request left


class Verdict(StrEnum):
    """What a run says, worst first in doubt: INVALID outranks every other."""

    PASS = "pass"  # valid, every threshold held
    FAIL = "fail"  # valid, a threshold did not hold
    INTERRUPTED = "interrupted"  # stopped by the user; what was recorded is reported
    INVALID = "invalid"  # the run cannot be trusted; `Summary.reasons` says why


class EndReason(StrEnum):
    """Why the run ended, as its driver saw it."""

    COMPLETED = "completed"  # the schedule was played to its end and drained
    INTERRUPTED = "interrupted"  # Ctrl-C
    GENERATOR_DIED = "generator_died"
    SAMPLER_DIED = "sampler_died"
    SERVER_DIED = "server_died"
    ERROR = "error"


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


class GpuInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A GPU as the driver describes it."""

    node: str
    index: int
    uuid: str
    name: str
    mem_total_bytes: int | None = None
    power_limit_w: float | None = None
    driver: str | None = None


class HostInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A machine of the run."""

    node: str
    os: str
    cpu: str | None = None
    cores: int
    mem_total_bytes: int


class DeviceLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one of the target's devices was measured to do at most, as the server told it."""

    device_name: str | None = None
    matmul_dtype: str | None = None  # of the measured matmul: "bfloat16" | "float32"
    matmul_flop_per_s: float | None = None  # 2 x MAC
    fp8_flop_per_s: float | None = None
    copy_bytes_per_s: float | None = None  # read plus written
    threads: int | None = None  # of a CPU
    measured_s: float | None = None  # how long measuring took
    torch_version: str | None = None


class TargetInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What was loaded."""

    url: str
    embedded: bool  # started by this run, as against an existing server (`--host`)
    model: str | None = None
    is_stub: bool = False  # answers after a stated time without a model
    replicas: int | None = None
    device: str | None = None  # "cuda" | "cpu"
    settings: dict[str, str | int | float | bool | None] | None = None
    limits: DeviceLimits | None = None  # of one device; its others are taken to be alike
    flop_per_image: float | None = None  # at the target's default size and steps


class LoadPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The schedule in numbers; the schedule itself is a function of (scenario.toml, seed)."""

    requests: int
    images: int
    people: int | None = None  # who make them, one request after another; None: independent ones
    duration_s: float  # as replayed
    real_duration_s: float  # of the event replayed
    time_compression: float  # kappa = real_duration_s / duration_s
    arrivals: str  # how they come around the rate curve, in words
    peak_images_per_s: float  # of the rate curve, as replayed
    mean_images_per_s: float
    peak_basis: str  # where the peak comes from, in words
    scale: float | None = None  # this run's rate over the event's own rate; None if no event
    capacity_images_per_s: float | None = None  # measured before the load; "1.5x" refers to it
    schedule_sha256: str
    curve_t_s: list[float] = []  # the rate curve, for drawing: seconds from load start ...
    curve_images_per_s: list[float] = []  # ... and images/s


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """The event a scenario stands for, in real time and full size."""

    peak_images_per_s: float
    images: float  # over the whole event replayed
    duration_s: float
    basis: str  # how the figures follow from published facts, in words


class SearchPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a search was asked for; in the manifest of its run folder."""

    slo: str  # "p(95) < 2s"
    limit_s: float
    allowed_share: float  # of the requests that may miss the limit
    precision: float  # relative half-width of the 95 % interval
    time_s: float
    most_per_s: float | None = None  # requests/s the generator is thought to send
    images_per_request: float = 1.0
    lone_latency_s: list[float] = []  # of requests that had the server to themselves


class RunManifest(msgspec.Struct, frozen=True, kw_only=True):
    """`run.json`: written first, rewritten as the run learns more, finished last."""

    schema_version: int = SCHEMA_VERSION
    run_id: str  # the folder's name
    start_utc: str  # ISO 8601
    end_utc: str | None = None
    end_reason: EndReason | None = None
    end_detail: str | None = None
    clock_zero_monotonic_s: float
    load_start_s: float | None = None  # on the run's clock; the first arrival may come here
    load_end_s: float | None = None  # load_start_s + plan.duration_s
    command: list[str]
    scenario: str
    title: str
    notes: list[str] = []  # the facts the scenario stands on, and its caveats
    seed: int
    labels: dict[str, str] = {}
    git_commit: str | None = None
    git_dirty: bool | None = None
    versions: dict[str, str] = {}
    target: TargetInfo
    plan: LoadPlan | None = None
    demand: Demand | None = None
    search: SearchPlan | None = None  # of `viralload find`
    slo_latency_s: float
    thresholds: dict[str, list[str]] = {}
    lateness_bound_s: float  # p99 above it makes the run INVALID; so do the next, None: not judged
    loop_stall_bound_s: float | None = None  # the longest stall of a generator's event loop
    loop_cpu_bound_pct: float | None = None  # of a core, by a generator's event loop ...
    loop_cpu_bound_for_s: float | None = None  # ... for so long without a break
    local_error_bound: int | None = None  # attempts that failed on the generator's own machine
    gpus: list[GpuInfo] = []
    hosts: list[HostInfo] = []
    gpu_price_usd_per_h: float
    gpu_price_basis: str
    carbon_g_per_kwh: float | None = None  # of the electricity, as stated by the user


class GpuSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU over the load window (means are over time)."""

    node: str
    index: int
    uuid: str
    name: str | None = None
    parent_uuid: str | None = None  # of a MIG instance: its GPU
    samples: int
    util_mean_pct: float | None = None
    sm_active_mean_pct: float | None = None
    sm_occupancy_mean_pct: float | None = None
    tensor_mean_pct: float | None = None
    dram_mean_pct: float | None = None
    power_mean_w: float | None = None
    power_max_w: float | None = None
    mem_used_max_bytes: int | None = None
    sm_clock_mean_mhz: float | None = None
    temp_max_c: float | None = None
    mem_temp_max_c: float | None = None
    pcie_rx_bytes_per_s: float | None = None
    pcie_tx_bytes_per_s: float | None = None
    power_capped_share: float | None = None  # of the load, the clock held down: by the power cap
    thermal_share: float | None = None  # ... by software, for temperature
    hw_thermal_share: float | None = None  # ... by hardware, for temperature
    brake_share: float | None = None  # ... by the external power brake
    energy_j: float | None = None  # by the meter that counts
    energy_counter_j: float | None = None
    energy_integrated_j: float | None = None
    energy_disagreement: float | None = None  # |counter - integrated| / counter
    counter_frozen: bool = False  # the counter stood while power was read
    counter_resets: int = 0
    ecc_corrected: int | None = None  # errors and remapped rows that came during the run
    ecc_uncorrected: int | None = None
    rows_corrected: int | None = None
    rows_uncorrected: int | None = None
    rows_pending: bool | None = None  # after the run: a row is remapped at the GPU's next reset
    rows_failed: bool | None = None  # ... one could not be remapped
    unable: dict[str, str] = {}  # readings this GPU cannot tell, and why
    replicas: list[str] = []  # that told this GPU's UUID
    images: int | None = None  # ok images they made in the load
    images_per_s: float | None = None
    tflops: float | None = None  # TFLOP/s of these
    replica_mem_max_bytes: int | None = None  # of this run's processes on it


class PhaseSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One phase of the curve: rise, peak or decay. Means are over the GPUs that made images."""

    name: str
    start_s: float  # since the load began
    end_s: float
    images: int  # ok images done in it
    images_per_s: float
    tflops: float | None = None  # TFLOP/s a device
    util_mean_pct: float | None = None
    sm_active_mean_pct: float | None = None
    tensor_mean_pct: float | None = None
    dram_mean_pct: float | None = None
    power_mean_w: float | None = None  # a GPU
    power_capped_share: float | None = None
    thermal_share: float | None = None
    hw_thermal_share: float | None = None
    brake_share: float | None = None
    energy_j: float | None = None  # all GPUs
    energy_j_per_image: float | None = None


class SamplerSummary(msgspec.Struct, frozen=True, kw_only=True):
    """How well the sampler of one machine kept its time over the load."""

    node: str
    hz: float
    planned: int  # cycles that were due
    missed: int
    lateness_p50_s: float | None = None  # of the samples, from when they were due
    lateness_p99_s: float | None = None
    gap_max_s: float | None = None  # the longest time without a sample of some device
    read_p99_s: float | None = None  # reading one GPU
    cpu_pct: float | None = None  # of one core
    calls: dict[str, float] = {}  # mean seconds of each call to the driver


class HostSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One machine over the load window."""

    node: str
    samples: int
    cpu_mean_pct: float | None = None
    cpu_max_pct: float | None = None
    mem_used_max_bytes: int | None = None
    cpu_energy_j: float | None = None  # of the processors; None where it cannot be read
    dram_energy_j: float | None = None


class HostEnergy(msgspec.Struct, frozen=True, kw_only=True):
    """What the machine's processors used over the load (RAPL), all that ran on them included.

    Told where they made the images; never part of a GPU's energy.
    """

    parts: list[str]  # "processors", and "memory" where it has counters
    energy_j: float
    j_per_image: float | None = None  # over ok images, gross
    low_j_per_image: float | None = None  # its 95 % interval
    high_j_per_image: float | None = None
    net_j_per_image: float | None = None  # less what idling costs
    idle_power_w: float | None = None  # before the load
    carbon_g_per_kwh: float | None = None  # as stated
    carbon_g_per_image: float | None = None


class GroupSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The requests that have one thing in common: a class, a number of steps, a size."""

    tag: str  # "class" | "steps" | "size"
    value: str  # "paying", "30", "512x512"
    requests: int  # intended, and on record
    images: int  # of these
    in_time_images: int  # ok and within the SLO
    outcomes: dict[str, int]  # every Outcome to its count of images; sums to `images`
    latency_p50_s: float | None = None  # of ok requests, from scheduled time
    latency_p95_s: float | None = None
    latency_p99_s: float | None = None
    attempts_per_image: float | None = None  # images asked for, retries and all, over `images`


class ThresholdResult(msgspec.Struct, frozen=True, kw_only=True):
    """One threshold with its limit and what was measured."""

    metric: str  # with its tag, if it has one: "latency{class:paying}"
    expression: str  # as written in the scenario
    actual: float | None  # in the metric's unit: seconds, a share 0..1, a count, images/s
    unit: str  # "s" | "share" | "count" | "images/s"
    limit: float
    passed: bool  # False where actual is unknown


Stand = Literal["measured", "published", "assumed"]


class Factor(msgspec.Struct, frozen=True, kw_only=True):
    """One factor of an extrapolation: lognormal about its value."""

    name: str
    value: float  # the median; images/s a GPU for goodput, a share for the others
    log_sd: float  # standard deviation of its logarithm; 0: taken as it is
    degrees: float | None = None  # of freedom of log_sd; None: published, assumed or exact
    stand: Stand
    source: str  # what value and spread stand on, in words


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """A run's goodput carried to a block of GPUs, or the reason it is not."""

    block_gpus: int
    withheld: str | None = None  # why there is no figure; then every figure below is None
    goodput_images_per_s_per_gpu: float | None = None  # as measured, at the SLO
    block_images_per_s: float | None = None  # with every factor
    block_low_images_per_s: float | None = None  # the predictive interval ...
    block_high_images_per_s: float | None = None
    level: float = 0.95  # ... at this level
    factors: list[Factor] = []  # the first is the goodput; their product times the GPUs: the block
    loud: list[str] = []  # what the evidence cannot bear well
    blocks_for_peak: float | None = None  # blocks of 100,000 GPUs the event's peak needs
    blocks_for_peak_low: float | None = None
    blocks_for_peak_high: float | None = None
    gpus_for_peak: int | None = None
    event_gpu_hours: float | None = None  # GPU-hours the whole event's images take
    usd_per_1000_images: float | None = None
    price_usd_per_gpu_h: float | None = None
    assumptions: list[str] = []


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """`summary.json`: the run in numbers.

    Rates are over the load window, `plan.duration_s` long: `completed` and goodput count only
    images that were *done* inside it, so a backlog finished later never inflates them.
    """

    schema_version: int = SCHEMA_VERSION
    run_id: str
    scenario: str
    valid: bool
    reasons: list[str]  # why not valid; empty if valid
    warnings: list[str] = []  # what a reader should know though the run is valid
    verdict: Verdict
    end_reason: EndReason | None = None
    is_stub: bool = False
    time_compression: float | None = None
    duration_s: float | None = None
    scheduled: int  # requests
    outcomes: dict[str, int]  # every Outcome to its count of requests; sums to `scheduled`
    errors: dict[str, int] = {}  # the most frequent error texts, of attempts
    scheduled_images: int
    ok_images: int
    decoded: int | None = None  # ok requests whose images were decoded in full, all their pixels
    offered_images_per_s: float | None = None
    sent_images_per_s: float | None = None
    completed_images_per_s: float | None = None
    goodput_images_per_s: float | None = None  # ok and within the SLO
    peak_window_s: float | None = None  # width of a busiest window; the three below: the most ...
    peak_offered_images_per_s: float | None = None  # ... images due in one
    peak_completed_images_per_s: float | None = (
        None  # ... ok images done in one (a window of its own)
    )
    peak_goodput_images_per_s: float | None = None  # ... of these, within the SLO
    slo_latency_s: float
    slo_share: float | None = None  # of scheduled images: ok and within the SLO
    latency_p50_s: float | None = None  # of ok requests, from scheduled time
    latency_p90_s: float | None = None
    latency_p95_s: float | None = None
    latency_p99_s: float | None = None
    latency_max_s: float | None = None
    lateness_p50_s: float | None = None  # of sent requests
    lateness_p99_s: float | None = None
    clock_uncertainty_s: float | None = (
        None  # of generators on other machines; None: there are none
    )
    queue_p50_s: float | None = None
    queue_p95_s: float | None = None
    service_p50_s: float | None = None  # text + denoise + decode + encode
    service_p95_s: float | None = None
    batch_mean: float | None = None
    image_bytes_mean: float | None = None  # response bytes per image
    people: int | None = None  # None, and so the seven below, where requests are independent
    people_gave_up: int | None = None  # who left at least one image they wanted
    attempts: int | None = None  # sent
    amplification: float | None = None  # attempts sent / first attempts sent
    peak_amplification: float | None = None  # the most in a stretch of amplification_window_s
    amplification_window_s: float | None = None
    attempt_latency_p50_s: float | None = None  # of ok attempts, from their own due time
    attempt_latency_p95_s: float | None = None
    gpus: list[GpuSummary] = []
    hosts: list[HostSummary] = []
    energy_j_per_image: float | None = None  # all GPUs' energy over ok images; None if unknown
    energy_basis: str | None = None  # "counter" | "integrated power"
    energy_disagreement: float | None = None  # of the two, the worst GPU
    energy_low_j_per_image: float | None = None  # its 95 % interval
    energy_high_j_per_image: float | None = None
    energy_net_j_per_image: float | None = None  # less what idling costs, and its interval
    energy_net_low_j_per_image: float | None = None
    energy_net_high_j_per_image: float | None = None
    idle_power_w: float | None = None  # all GPUs, before the load
    carbon_g_per_kwh: float | None = None  # as stated
    carbon_g_per_image: float | None = None
    host_energy: HostEnergy | None = None  # of the processors, where they made the images
    phases: list[PhaseSummary] = []
    instances: list[GpuSummary] = []  # of MIG
    samplers: list[SamplerSummary] = []
    faults: list[RunEvent] = []  # of the hardware: XIDs, lost GPUs, readings that failed
    tflop_per_image: float | None = None  # mean over the ok images whose FLOP the server told
    achieved_devices: int | None = (
        None  # GPUs (or replicas on a CPU) the rates below are a share of
    )
    achieved_tflops: float | None = None  # TFLOP/s a device: FLOP of ok images done in the load
    peak_achieved_tflops: float | None = None  # the same in its busiest window of peak_window_s
    limit_tflops: float | None = None  # measured matmul rate of one device, TFLOP/s ...
    limit_basis: str | None = None  # ... of what, in words
    limit_percent: float | None = None  # achieved_tflops of it
    peak_limit_percent: float | None = None  # peak_achieved_tflops of it
    datasheet_tflops: float | None = None  # the vendor's dense figure for one device, TFLOP/s ...
    datasheet_basis: str | None = None  # ... and where it stands
    datasheet_percent: float | None = None  # achieved_tflops of it
    groups: list[GroupSummary] = []  # by class, and by steps and size where these differ
    thresholds: list[ThresholdResult] = []
    capacity: Capacity | None = None


class WindowRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of Poisson arrivals at a constant rate, as planned: a line of `windows.jsonl`.

    Its requests are those of `first_seq` and the `requests - 1` after it.
    """

    index: int
    rate_per_s: float  # requests
    start_s: float  # on the run's clock
    duration_s: float
    first_seq: int
    requests: int
    images: int
    seed: int
    short: bool  # of the ramp: tells where to look, and nothing of the capacity
    fresh: bool  # it began on an idle server; else in the queue the one before had left


class FindVerdict(StrEnum):
    """What a search says."""

    FOUND = "found"  # the interval is as narrow as asked
    WIDE = "wide"  # time was out first; the interval reached is given
    UNKNOWN = "unknown"  # there is no interval; the rate is a guess
    UNMET = "unmet"  # the SLO is missed at every rate
    AT_LEAST = "at least"  # the SLO was met at every rate the generator can send


class FindWindow(msgspec.Struct, frozen=True, kw_only=True):
    """A window as it went, after its warm-up."""

    index: int
    rate_per_s: float
    start_s: float
    duration_s: float
    short: bool
    warm_up_s: float
    requests: int  # after the warm-up
    missed: int  # late, refused, failed or without an answer
    completed_images_per_s: float | None = None  # ok images due after the warm-up, a second
    latency_p50_s: float | None = None  # of ok requests
    latency_p95_s: float | None = None
    latency_p99_s: float | None = None
    lateness_p99_s: float | None = None
    thrown_out: str | None = None  # why it does not count

    @property
    def miss_share(self) -> float | None:
        """Of its requests."""
        return self.missed / self.requests if self.requests else None


class FindResult(msgspec.Struct, frozen=True, kw_only=True):
    """`find.json`: the highest rate that meets the SLO, with its 95 % interval."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    scenario: str
    verdict: FindVerdict
    interrupted: bool = False
    valid: bool
    reasons: list[str]  # why not valid; empty if valid
    warnings: list[str] = []
    slo: str
    limit_s: float
    allowed_share: float
    precision: float  # asked
    half_width: float | None = None  # reached, relative
    requests_per_s: float | None = None  # the capacity ...
    low_requests_per_s: float | None = None  # ... and its interval
    high_requests_per_s: float | None = None
    images_per_s: float | None = None
    low_images_per_s: float | None = None
    high_images_per_s: float | None = None
    slope: float | None = None  # of ln miss share over ln rate
    windows_used: int | None = None
    took_s: float | None = None
    is_stub: bool = False
    device: str | None = None
    windows: list[FindWindow] = []
