"""A scenario and what is known of the node -> the exact schedule of this run.

Time compression: the node sees lambda(t) = scale x source(kappa t). Service and think times stay
real, so above kappa = 10 whatever reacts slowly (autoscaling) looks worse than it is.
"""

import hashlib
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from loadtest.arrivals import Process, Word, arrival_times, describe, image_counts, resample
from loadtest.curve import Curve, peak_rate, total
from loadtest.errors import ConfigurationError, ScenarioError
from loadtest.scenario import Scenario, TraceFile, capacity_multiple, image_weights
from loadtest.trace import Arrivals, Rows, read_trace
from loadtest.units import format_duration
from profiles.schema import Demand, LoadPlan

BLOCK_GPUS = 100_000
MAX_REQUESTS = 20_000_000
DRAWN_POINTS = 240
SCHEDULE_FIELDS = [("t_s", "<f8"), ("images", "<u2")]
# a trace may tell more of each request; 0 where it does not
ASK_FIELDS = {"steps": "<u2", "width": "<u4", "height": "<u4", "prompt_chars": "<u2", "user": "<u4"}

Array = npt.NDArray[np.float64]
Schedule = np.ndarray[tuple[int], np.dtype[np.void]]


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """What the plan needs to know of the machine under load."""

    gpus: int | None = None  # None: no GPU, or unknown
    capacity_images_per_s: float | None = None  # measured or given; "1.5x" refers to it
    capacity_basis: str = "given"


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """The shape of the load in real time, and what one of its arrivals means in images."""

    shape: Curve | Arrivals
    images_per_arrival: float
    how: str  # how it was read, for people
    images_per_request: float = 1.0

    @property
    def duration_s(self) -> float:
        """Seconds of real time."""
        return self.shape.duration_s

    @property
    def peak_images_per_s(self) -> float:
        """At full size; of a trace of arrivals, the busiest of 60 equal parts."""
        if isinstance(self.shape, Arrivals):
            return self.shape.peak_per_s() * self.images_per_arrival
        return peak_rate(self.shape) * self.images_per_arrival

    @property
    def images(self) -> float:
        """Expected images over the whole, at full size."""
        count = self.shape.times_s.size if isinstance(self.shape, Arrivals) else total(self.shape)
        return count * self.images_per_arrival


def load_source(scenario: Scenario, folder: Path) -> Source:
    """The scenario's curve, or its trace read from `folder`.

    Raises:
        TraceError: the trace cannot be replayed.
        ScenarioError: the curve is 0 everywhere.
    """
    curve = scenario.curve
    mean = mean_images(scenario)
    per_person = scenario.event.images_per_person if scenario.event else None
    source: Source
    if isinstance(curve, TraceFile):
        path = folder / curve.file
        shape = read_trace(path, curve, scenario.seed)
        if isinstance(shape, Arrivals) and "images" in shape.asks:
            mean = float(shape.asks["images"].mean())
        rows = (
            f"{shape.times_s.size:,} arrivals"
            if isinstance(shape, Arrivals)
            else f"{len(shape.rates_per_s):,} bins"
        )
        source = Source(
            shape=shape,
            images_per_arrival=per_person or mean,
            how=f"trace {path.name}: {rows} over {format_duration(shape.duration_s)}",
            images_per_request=mean,
        )
    else:
        source = Source(
            shape=curve,
            images_per_arrival=per_person or 1.0,
            how=f"curve {curve.__struct_config__.tag} over {format_duration(curve.duration_s)}",
            images_per_request=mean,
        )
    if not source.peak_images_per_s > 0:
        raise ScenarioError("scenario: $.curve: its rate is 0 throughout")
    return source


def mean_images(scenario: Scenario) -> float:
    """Images a request, on average."""
    weights = image_weights(scenario.request)
    return sum(n * w for n, w in weights.items()) / sum(weights.values())


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
    return Demand(
        peak_images_per_s=source.peak_images_per_s,
        images=source.images,
        duration_s=source.duration_s,
        basis=scenario.event.basis,
    )


def make_plan(scenario: Scenario, source: Source, node: Node) -> tuple[LoadPlan, Schedule]:
    """The plan in numbers, and every arrival.

    A row is `t_s` (seconds from load start), `images`, and of ASK_FIELDS what a trace tells. A
    pure function of its arguments: the same everywhere.

    Raises:
        ConfigurationError: the peak refers to an unknown capacity, or the schedule would be empty
            or too long.
    """
    kappa = compression(scenario, source)
    peak, basis = _peak(scenario, source, node)
    scale = peak / source.peak_images_per_s
    expected = source.images * scale / kappa / source.images_per_request
    if expected > MAX_REQUESTS:
        raise ConfigurationError(
            f"the schedule would hold {expected:,.0f} requests, more than {MAX_REQUESTS:,}: "
            "lower --peak, or replay less time with --compress-to"
        )
    times, asks = _times(scenario, source, kappa, scale)
    if times.size == 0:
        raise ConfigurationError(
            f"the schedule is empty ({expected:.2g} requests expected): raise --peak, or replay "
            "more time with a larger --compress-to"
        )
    schedule = _schedule(scenario, times, asks)
    duration = source.duration_s / kappa
    curve_t, curve_rate = _drawn(source, kappa, scale)
    plan = LoadPlan(
        requests=int(times.size),
        images=int(schedule["images"].sum()),
        duration_s=duration,
        real_duration_s=source.duration_s,
        time_compression=kappa,
        arrivals=describe(_process(scenario, source)),
        peak_images_per_s=peak,
        mean_images_per_s=source.images * scale / kappa / duration,
        peak_basis=basis,
        scale=scale if scenario.event else None,
        capacity_images_per_s=node.capacity_images_per_s,
        schedule_sha256=hashlib.sha256(schedule.tobytes()).hexdigest(),
        curve_t_s=curve_t,
        curve_images_per_s=curve_rate,
    )
    return plan, schedule


def _peak(scenario: Scenario, source: Source, node: Node) -> tuple[float, str]:
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


def _process(scenario: Scenario, source: Source) -> Word | Process:
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
    process = _process(scenario, source)
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


def _schedule(scenario: Scenario, times: Array, asks: dict[str, Rows]) -> Schedule:
    """A row a request; what the trace tells of it overrules the scenario."""
    told = [(name, ASK_FIELDS[name]) for name in ASK_FIELDS if name in asks]
    schedule: Schedule = np.zeros(times.size, dtype=np.dtype([*SCHEDULE_FIELDS, *told]))
    schedule["t_s"] = times
    schedule["images"] = image_counts(times.size, image_weights(scenario.request), scenario.seed)
    for name, values in asks.items():
        schedule[name] = values
    return schedule


def _drawn(source: Source, kappa: float, scale: float) -> tuple[list[float], list[float]]:
    """The curve as replayed, for drawing: mean rate over each of DRAWN_POINTS equal parts."""
    edges = np.linspace(0.0, source.duration_s, DRAWN_POINTS + 1)
    shape = source.shape
    if isinstance(shape, Arrivals):
        bins = min(DRAWN_POINTS, 60)  # as the peak is stated
        edges = np.linspace(0.0, source.duration_s, bins + 1)
        counts = np.histogram(shape.times_s, bins=edges)[0].astype(np.float64)
    else:
        counts = np.diff(shape.integral(edges))
    rates = counts / np.diff(edges) * source.images_per_arrival * scale
    middles = (edges[:-1] + edges[1:]) / 2 / kappa
    return middles.round(3).tolist(), rates.round(6).tolist()
