"""`run.json`: what was run, on what, and how it was planned."""

import msgspec

from profiles.schema.common import SCHEMA_VERSION, EndReason


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


class Approximation(msgspec.Struct, frozen=True, kw_only=True):
    """Something that changes the images to make them faster, as the server told it."""

    name: str  # "fp8", "cache_steps=2, guidance_until=0.67"
    of: str  # what the error is of: "final latent", "denoiser's output"
    relative_error: float | None = None  # ‖x - x'‖ / ‖x'‖ against the exact x'


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
    approximations: list[Approximation] = []


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """How requests come: of a trace as it was recorded, or of a schedule as it is sent."""

    requests: float  # of bins, what their counts or rates come to
    duration_s: float
    peak_per_s: float  # requests/s in the busiest of equal parts, or bins, ...
    peak_over_s: float  # ... each so long
    gap_cv: float | None = None  # coefficient of variation of the gaps, 1 if Poisson; None: of bins
    dispersion_1s: float | None = None  # index of dispersion in windows of 1 s, 1 if Poisson ...
    dispersion_60s: float | None = None  # ... and of 60 s; None: bins, or fewer than ten windows

    @property
    def mean_per_s(self) -> float:
        """Requests/s."""
        return self.requests / self.duration_s


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
    capacity_interval_images_per_s: tuple[float, float] | None = None  # 95%, of a measured one
    schedule_sha256: str
    recorded: Traffic | None = None  # of a trace: the whole of it, before any scale or stretch ...
    sent: Traffic | None = None  # ... and what is sent of it
    window: str | None = None  # of a trace: the stretch that is played, in words
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
    precision: float  # relative half-width of the 95% interval
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
    thresholds: dict[str, list[str]] = {}  # the scenario's own
    default_thresholds: dict[str, list[str]] = {}  # beside them; empty where switched off
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
