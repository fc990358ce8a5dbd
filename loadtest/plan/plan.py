"""A scenario and what is known of the node -> the exact schedule of this run.

Time compression: the node sees lambda(t) = scale x source(kappa t). Service and think times stay
real, so above kappa = 10 whatever reacts slowly (autoscaling) looks worse than it is.
"""

import hashlib

import msgspec
import numpy as np
import numpy.typing as npt

from loadtest.errors import ConfigurationError, ScenarioError
from loadtest.plan.source import Source
from loadtest.scenario import session
from loadtest.scenario.scenario import Scenario, TraceFile, capacity_multiple, image_weights
from loadtest.traces.trace import MAX_ARRIVALS, Arrivals, Rows
from loadtest.traffic.arrivals import Process, Word, arrival_times, describe, image_counts, resample
from loadtest.traffic.statistics import of_arrivals, of_shape
from profiles.schema import Demand, LoadPlan, Traffic

BLOCK_GPUS = 100_000
MAX_REQUESTS = MAX_ARRIVALS
DRAWN_POINTS = 240
ENOUGH = 10  # requests, of a schedule that has none
DUE_BINS = 48  # at most ...
DUE_MIN = 8  # ... and at least, ...
DUE_REQUESTS = 100  # ... of so many requests each: fewer vary by more than 10% by chance alone
SCHEDULE_FIELDS = [("t_s", "<f8"), ("images", "<u2")]
# a trace may tell more of each request; 0 where it does not
ASK_FIELDS = {"steps": "<u2", "width": "<u4", "height": "<u4", "prompt_chars": "<u2", "user": "<u4"}

Array = npt.NDArray[np.float64]
Schedule = np.ndarray[tuple[int], np.dtype[np.void]]


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """What the plan needs to know of the machine under load."""

    gpus: int | None = None  # None: no GPU, or unknown
    capacity_images_per_s: float | None = None  # measured or given; "1.5x" refers to it
    capacity_interval_images_per_s: tuple[float, float] | None = None  # 95%; None: not known
    capacity_basis: str = "given"


def needs_capacity(scenario: Scenario) -> bool:
    """Whether the peak is a multiple of a capacity."""
    return capacity_multiple(scenario.load.peak) is not None


def compression(scenario: Scenario, source: Source) -> float:
    """Kappa: real seconds replayed in one second."""
    if scenario.load.compression is not None:
        return scenario.load.compression
    if scenario.load.compress_to is not None:
        return max(1.0, source.duration_s / scenario.load.compress_to)
    return 1.0


def demand(scenario: Scenario, source: Source) -> Demand | None:
    """The event at full size, where the scenario stands for one."""
    if scenario.event is None:
        return None
    event = source.of_event()
    return Demand(
        peak_images_per_s=event.peak_images_per_s,
        images=event.images,
        duration_s=event.duration_s,
        basis=scenario.event.basis,
    )


def make_plan(scenario: Scenario, source: Source, node: Node) -> tuple[LoadPlan, Schedule]:
    """The plan in numbers, and every arrival.

    A row is `t_s` (seconds from load start), `images`, and of ASK_FIELDS what a trace tells; of
    people, a row of `session.PEOPLE_DTYPE`. A pure function of its arguments: the same everywhere.

    Raises:
        ConfigurationError: the peak refers to an unknown capacity, or the schedule would be empty
            or too long.
    """
    kappa = compression(scenario, source)
    peak, basis = stated_peak(scenario, source, node)
    scale = peak / source.peak_images_per_s
    expected = expected_requests(scenario, source, peak)
    if expected > MAX_REQUESTS:
        raise ConfigurationError(
            f"the schedule would hold {expected:,.0f} requests, more than {MAX_REQUESTS:,}: "
            f"lower --peak, or replay less time with {_shorter(source)}"
        )
    times, asks = _times(scenario, source, kappa, scale)
    if times.size == 0:
        raise ConfigurationError(
            f"the schedule is empty ({expected:.2g} requests expected in "
            f"{source.duration_s / kappa:.3g} s): {_fuller(scenario, kappa, peak, expected)}"
        )
    duration = source.duration_s / kappa
    schedule = _schedule(scenario, times, asks, duration)
    curve_t, curve_rate = _drawn(source, kappa, scale)
    if scenario.session is not None:
        curve_t, curve_rate = _drawn_due(schedule, duration)
    plan = LoadPlan(
        requests=int(schedule.size),
        people=int(times.size) if scenario.session is not None else None,
        images=int(schedule["images"].sum()),
        duration_s=duration,
        real_duration_s=source.duration_s,
        time_compression=kappa,
        arrivals=describe(process_of(scenario, source)),
        peak_images_per_s=peak,
        mean_images_per_s=source.images * scale / kappa / duration,
        peak_basis=basis,
        scale=scale if scenario.event else None,
        capacity_images_per_s=node.capacity_images_per_s,
        capacity_interval_images_per_s=node.capacity_interval_images_per_s,
        recorded=None if source.recorded is None else of_shape(source.recorded),
        sent=None if source.recorded is None else _sent(schedule, duration),
        window=source.window,
        schedule_sha256=hashlib.sha256(schedule.tobytes()).hexdigest(),
        curve_t_s=curve_t,
        curve_images_per_s=curve_rate,
    )
    return plan, schedule


def expected_requests(scenario: Scenario, source: Source, peak_images_per_s: float) -> float:
    """Requests of a whole schedule at such a peak, on average."""
    scale = peak_images_per_s / source.peak_images_per_s
    expected = source.images * scale / compression(scenario, source) / source.images_per_request
    if scenario.session is not None:  # so far of people
        expected *= session.requests_a_person(scenario.session)
    return expected


def _sent(schedule: Schedule, duration_s: float) -> Traffic:
    return of_arrivals(np.sort(schedule["t_s"]), duration_s)


def _shorter(source: Source) -> str:
    """The option that makes less of a load."""
    return "--compress-to" if source.recorded is None else "--window 10min@peak or --compress-to"


def _fuller(scenario: Scenario, kappa: float, peak: float, expected: float) -> str:
    """What fills a schedule in which no request falls due."""
    enough = max(ENOUGH / expected, 2.0) * peak if expected > 0 else None
    trace = scenario.curve if isinstance(scenario.curve, TraceFile) else None
    if trace is not None and trace.rate_scale != 1:
        more = "raise --rate-scale"
    elif scenario.load.peak is not None and capacity_multiple(scenario.load.peak) is not None:
        more = "raise the multiple in --peak"
    else:
        more = "raise --peak" + (f" (to {enough:.2g} images/s)" if enough is not None else "")
    if kappa > 1:
        more += ", or replay more time with a larger --compress-to or --real-time"
    elif trace is None:
        more += ", or give the curve a longer duration"
    return f"try another --seed, or {more}" if expected > 1 else more


def _drawn_due(schedule: Schedule, duration_s: float) -> tuple[list[float], list[float]]:
    """What people's scripts ask for over time, of a server that takes no time; images/s."""
    bins = int(np.clip(schedule.size // DUE_REQUESTS, DUE_MIN, DUE_BINS))
    edges = np.linspace(0.0, duration_s, bins + 1)
    images = np.histogram(schedule["t_s"], edges, weights=schedule["images"])[0]
    middles = (edges[:-1] + edges[1:]) / 2
    return middles.round(3).tolist(), (images / np.diff(edges)).round(6).tolist()


def stated_peak(scenario: Scenario, source: Source, node: Node) -> tuple[float, str]:
    """The highest rate in images/s, and where it comes from in words.

    Raises:
        ConfigurationError: it refers to an unknown capacity.
    """
    peak = scenario.load.peak
    multiple = capacity_multiple(peak)
    if multiple is not None:
        if node.capacity_images_per_s is None:
            raise ConfigurationError(
                f'a peak of "{peak}" needs the capacity: give --capacity IMAGES_PER_S, or let the '
                "run measure it"
            )
        capacity = f"{node.capacity_images_per_s:.3g} images/s ({node.capacity_basis})"
        basis = f"{multiple:g} x the capacity of {capacity}"
        return multiple * node.capacity_images_per_s, basis
    if peak == "share":
        gpus = node.gpus or 1
        share = source.peak_images_per_s * gpus / BLOCK_GPUS
        assumed = "" if node.gpus else " (no GPU known: taken as one)"
        return share, f"{gpus} of {BLOCK_GPUS:,} GPUs' share of the event's peak{assumed}"
    if isinstance(peak, float | int):
        return float(peak), "stated in images/s"
    return source.peak_images_per_s, "the curve's own rate"


def process_of(scenario: Scenario, source: Source) -> Word | Process:
    """How arrivals come.

    Raises:
        ScenarioError: a process for a trace that has its own arrivals, or the other way round.
    """
    recorded = isinstance(source.shape, Arrivals)
    process = scenario.load.arrivals or ("trace" if recorded else "poisson")
    if recorded and process != "trace":
        raise ScenarioError(
            "scenario: $.load.arrivals: the trace holds the arrivals themselves; leave it out, or "
            "name the trace's rate_column or count_column to draw arrivals from its rate"
        )
    if not recorded and process == "trace":
        raise ScenarioError(
            f'scenario: $.load.arrivals: "trace" needs a trace of arrivals, and this is a '
            f"{source.how}; leave it out for Poisson arrivals"
        )
    return process


def _times(
    scenario: Scenario, source: Source, kappa: float, scale: float
) -> tuple[Array, dict[str, Rows]]:
    """Every arrival's instant, and what the trace tells of each."""
    process = process_of(scenario, source)
    shape = source.shape
    if isinstance(shape, Arrivals):
        times, rows = resample(shape.times_s / kappa, scale / kappa, scenario.seed)
        return times, shape.take(times, rows).asks
    factor = scale * source.images_per_arrival / kappa / source.images_per_request

    def requests_by(t: Array) -> Array:
        return shape.integral(kappa * t) * factor

    try:
        return arrival_times(process, requests_by, shape.duration_s / kappa, scenario.seed), {}
    except ValueError as err:
        raise ScenarioError(f"scenario: $.load.arrivals: {err}") from err


def _schedule(
    scenario: Scenario, times: Array, asks: dict[str, Rows], duration_s: float
) -> Schedule:
    """A row a request: of people's scripts, or of arrivals that come by themselves.

    What a trace tells of an arrival overrules the scenario.
    """
    weights = image_weights(scenario.request)
    if scenario.session is not None:
        return session.scripts(scenario.session, weights, times, duration_s, scenario.seed)
    told = [(name, ASK_FIELDS[name]) for name in ASK_FIELDS if name in asks]
    schedule: Schedule = np.zeros(times.size, dtype=np.dtype([*SCHEDULE_FIELDS, *told]))
    schedule["t_s"] = times
    schedule["images"] = image_counts(times.size, weights, scenario.seed)
    for name, values in asks.items():
        # a row that does not tell its images asks for what the scenario says
        schedule[name] = np.where(values > 0, values, schedule[name])
    return schedule


def _drawn(source: Source, kappa: float, scale: float) -> tuple[list[float], list[float]]:
    """The curve as replayed, for drawing: mean rate over each of DRAWN_POINTS equal parts."""
    edges = np.linspace(0.0, source.duration_s, DRAWN_POINTS + 1)
    shape = source.shape
    if isinstance(shape, Arrivals):  # in the parts by which its peak is stated
        edges = np.linspace(0.0, source.duration_s, shape.parts + 1)
        counts = np.histogram(shape.times_s, bins=edges)[0].astype(np.float64)
    else:
        counts = np.diff(shape.integral(edges))
    rates = counts / np.diff(edges) * source.images_per_arrival * scale
    middles = (edges[:-1] + edges[1:]) / 2 / kappa
    return middles.round(3).tolist(), rates.round(6).tolist()
