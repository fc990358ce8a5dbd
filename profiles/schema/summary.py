"""`summary.json`: a run in numbers."""

import msgspec

from profiles.schema.common import SCHEMA_VERSION, EndReason, Stand, Verdict
from profiles.schema.records import RunEvent


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
    low_j_per_image: float | None = None  # its 95% interval
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
    default: bool = False  # not the scenario's own: every run is held to it


class Factor(msgspec.Struct, frozen=True, kw_only=True):
    """One factor of an extrapolation: lognormal about its value."""

    name: str
    value: float  # the median; images/s a GPU for goodput, a share for the others
    log_sd: float  # standard deviation of its logarithm; 0: taken as it is
    degrees: float | None = None  # of freedom of log_sd; None: published, assumed or exact
    stand: Stand
    source: str  # what value and spread stand on, in words


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """A run's rate carried to a block of GPUs, or the reason it is not."""

    block_gpus: int
    withheld: str | None = None  # why there is no figure; then every figure below is None
    images_per_s_per_gpu: float | None = None  # the first factor: saturated, or at the SLO
    block_images_per_s: float | None = None  # with every factor
    block_low_images_per_s: float | None = None  # the predictive interval ...
    block_high_images_per_s: float | None = None
    level: float = 0.95  # ... at this level
    factors: list[Factor] = []  # the first is a GPU's rate; their product times the GPUs: the block
    loud: list[str] = []  # what the evidence cannot bear well
    event: str | None = None  # the scenario whose peak and images the five below are of
    event_peak_images_per_s: float | None = None
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
    peak_planned_images_per_s: float | None = None  # the plan's
    peak_start_s: float | None = None  # of the curve's peak phase, since the load began ...
    peak_end_s: float | None = None  # ... all below are of this time
    peak_window_s: float | None = None  # of its busiest stretch; None: too few images to tell one
    peak_offered_images_per_s: float | None = None  # due in that stretch
    peak_due_images_per_s: float | None = None  # due in the whole peak
    peak_completed_images_per_s: float | None = None  # ok images done in the whole peak
    peak_goodput_images_per_s: float | None = None  # of these, within the SLO
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
    energy_low_j_per_image: float | None = None  # its 95% interval
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
    peak_achieved_tflops: float | None = None  # the same during the peak
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
