"""What a fleet is made of, and what simulating it gives: frozen values, checked at the door.

A *fleet* is `gpus` servers, one a GPU, in independent *cells* of `cell_gpus` that each have a
router of their own and get an equal share of the arrivals at random.
"""

import math
from typing import Annotated, Literal

import msgspec

from profiles.schema import SCHEMA_VERSION

Positive = Annotated[float, msgspec.Meta(gt=0)]
NonNegative = Annotated[float, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=1)]
Weight = Annotated[float, msgspec.Meta(gt=0)]
ImagesARequest = Annotated[int, msgspec.Meta(ge=1, le=16)]

Policy = Literal["none", "request", "step"]
Routing = Literal["random", "round-robin", "two", "central", "least"]
POLICIES: tuple[Policy, ...] = ("none", "request", "step")
ROUTINGS: tuple[Routing, ...] = ("random", "round-robin", "two", "central", "least")


class FleetError(Exception):
    """A fleet that cannot be simulated as asked; the text says what to change."""


class BacklogError(FleetError):
    """More requests are held at once than the memory given has room for."""


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A value whose keys are all known."""


class Service(_Table, frozen=True, kw_only=True):
    """How long one GPU takes, as a line in the batch (after `serve.engine.forecast.StepRate`).

    A denoising step of n images takes step_base_s + step_image_s·n. Policies none and request hold
    the GPU for tail_s more a batch (text, decoding, file); under step the tail runs beside.
    """

    step_base_s: NonNegative
    step_image_s: NonNegative
    tail_s: NonNegative = 0.0
    steps: Count
    largest_batch: Count  # the largest batch that was measured
    spread: Literal["fixed", "exponential"] = "fixed"  # exponential: the theory's, no real GPU's
    basis: str = "stated"  # where it comes from, for people
    no_gpu: bool = False  # a CPU's or a stub's: then what is simulated are servers, not GPUs

    @property
    def servers(self) -> str:
        """What has these times, in words: GPUs, or servers without one."""
        return "servers without a GPU" if self.no_gpu else "GPUs"

    def batch_s(self, images: int) -> float:
        """Seconds of a whole batch: tail + steps·(base + image·n)."""
        return self.tail_s + self.steps * (self.step_base_s + self.step_image_s * images)


class Autoscaling(_Table, frozen=True, kw_only=True):
    """Ray Serve's own rules; the defaults are those of `ray.serve.config.AutoscalingConfig` 2.60.

    A cell is one deployment. Times are seconds; `least` and `most` are replicas a cell.
    """

    target_ongoing_requests: Positive = 2.0
    upscale_delay_s: NonNegative = 30.0
    downscale_delay_s: NonNegative = 600.0
    upscaling_factor: Positive = 1.0
    downscaling_factor: Positive = 1.0
    look_back_s: Positive = 30.0
    metrics_interval_s: Positive = 10.0
    sample_s: Positive = 2.0  # RAY_SERVE_AUTOSCALING_METRIC_RECORD_INTERVAL_FACTOR x interval
    control_s: Positive = 0.1  # RAY_SERVE_CONTROL_LOOP_INTERVAL_S
    least: Count = 1
    most: Count | None = None  # None: every GPU of the cell


class Failures(_Table, frozen=True, kw_only=True):
    """Interruptions, one at a time a cell, each taking a node or a whole rack with it.

    419 in 54 days on 16,384 GPUs (The Llama 3 Herd of Models, 2024, section 3.3.4); a node is
    drained for 4 to 72 h. That 2% of them take a rack is assumed: nobody published it.
    """

    gpu_hours_each: Positive = 50_677.0
    node_gpus: Count = 8
    rack_gpus: Count = 32
    rack_share: Share = 0.02
    repair_least_s: NonNegative = 4 * 3600.0
    repair_most_s: NonNegative = 72 * 3600.0


class People(_Table, frozen=True, kw_only=True):
    """What one arrival does; the rules are those of `loadtest.generator.person`.

    `think_s` and `patience_s` are quantile functions at equal shares from 0 to 1, straight between;
    one number is a fixed time; an empty patience is endless, an empty `go_on` one image a person.
    `go_on[n]` is the probability of another request after the (n+1)-th; the last holds for all
    later ones.
    `images` and `steps` are mixes of (value, weight): images of a request, denoising steps of its
    images; empty steps are the service's. `paying_images` and `free_images` are all that one person
    of the class may ask for.
    """

    go_on: tuple[Share, ...] = ()
    think_s: tuple[NonNegative, ...] = (0.0,)
    patience_s: tuple[NonNegative, ...] = ()
    timeout_s: Positive | None = None
    retry: Literal["none", "immediate", "backoff"] = "none"
    most_attempts: Count = 5
    first_s: Positive = 1.0
    cap_s: Positive = 30.0
    paying_share: Share = 1.0
    images: Annotated[tuple[tuple[ImagesARequest, Weight], ...], msgspec.Meta(min_length=1)] = (
        (1, 1.0),
    )
    steps: tuple[tuple[Count, Weight], ...] = ()
    paying_images: Count | None = None
    free_images: Count | None = None

    @property
    def counts_images(self) -> bool:
        """Whether requests are not just one image each, without a limit."""
        limited = self.paying_images is not None or self.free_images is not None
        return limited or any(count != 1 for count, _ in self.images)

    @property
    def mean_images(self) -> float:
        """Of a request, before limits."""
        return _mean(self.images)

    @property
    def mean_steps(self) -> float | None:
        """Of an image; None: the service's."""
        return _mean(self.steps) if self.steps else None


class Fleet(_Table, frozen=True, kw_only=True):
    """The block and its rules.

    Attributes:
        gpus: Servers, one a GPU.
        cell_gpus: GPUs behind one router.
        max_batch: Images that one GPU denoises at once.
        routing: To a GPU at random; in turn; to the one of two random ones with fewer requests (as
            Ray Serve); from one queue to whichever has room; to the one with the fewest requests
            (HAProxy's leastconn, the ingress of viralload's own server).
        max_queue: Most images waiting a GPU; None: no bound.
        deadline_s: What is predicted to be done later is refused at once; None: nothing is.
        gpu_spread: Standard deviation of the logarithm of a GPU's seconds (SC22: 0.08).
        load_least_s, load_most_s: Seconds to load the model, uniform (GenTD26: 10 to 45 s).
    """

    gpus: Count
    service: Service
    cell_gpus: Count = 1000
    policy: Policy = "step"
    max_batch: Count = 8
    routing: Routing = "two"
    max_queue: Count | None = 64
    deadline_s: Positive | None = None
    gpu_spread: NonNegative = 0.0
    load_least_s: NonNegative = 10.0
    load_most_s: NonNegative = 45.0
    autoscaling: Autoscaling | None = None
    failures: Failures | None = None

    @property
    def batch_limit(self) -> int:
        """Images at once; policy none takes one at a time."""
        return 1 if self.policy == "none" else self.max_batch

    @property
    def capacity_images_per_s(self) -> float:
        """All GPUs busy with full batches of the service's steps."""
        return self.images_per_s()

    def images_per_s(self, steps: float | None = None) -> float:
        """The same of images of so many steps on average; None: the service's.

        Under step the tail takes none of the GPUs' time.
        """
        service = self.service
        tail_s = 0.0 if self.policy == "step" else service.tail_s
        step_s = service.step_base_s + service.step_image_s * self.batch_limit
        return self.gpus * self.batch_limit / (tail_s + (steps or service.steps) * step_s)

    @property
    def cells(self) -> int:
        """How many; all hold `cell_gpus`, but for a last smaller one."""
        return math.ceil(self.gpus / self.cell_gpus)


def check(fleet: Fleet, people: People) -> None:
    """Make sure that people can be played on a fleet.

    Raises:
        FleetError: names the field and the remedy.
    """
    service = fleet.service
    if service.batch_s(1) <= 0:
        raise FleetError("service: an image takes 0 s; give step_base_s, step_image_s or tail_s")
    if fleet.batch_limit > service.largest_batch:
        raise FleetError(
            f"service: batches of up to {service.largest_batch} were measured and the fleet makes "
            f"batches of {fleet.batch_limit}: lower max_batch (--max-batch), or measure larger ones"
        )
    if service.spread == "exponential" and fleet.policy == "step":
        raise FleetError("service.spread: exponential goes with policies none and request")
    if service.spread == "exponential" and people.steps:
        raise FleetError("service.spread: exponential goes without a mix of steps")
    if fleet.load_least_s > fleet.load_most_s:
        raise FleetError("load_least_s is above load_most_s: swap them")
    failures = fleet.failures
    if failures is not None and failures.repair_least_s > failures.repair_most_s:
        raise FleetError("failures.repair_least_s is above repair_most_s: swap them")
    scaling = fleet.autoscaling
    if scaling is not None and scaling.least > (scaling.most or fleet.cell_gpus):
        raise FleetError("autoscaling.least is above what the cell holds: lower it")


def _mean(mix: tuple[tuple[int, float], ...]) -> float:
    return sum(value * weight for value, weight in mix) / sum(weight for _, weight in mix)


class Simulated(msgspec.Struct, frozen=True, kw_only=True):
    """A simulated hour in numbers; nothing in it was measured. Curves have one entry a minute.

    Rates are over the load, as in `profiles.schema.Summary`; minutes are those in which a request
    was due, for `done`, `good` and `attempts` those in which it happened. A latency is known to
    `latency_resolution` of itself, for percentiles are read from a logarithmic histogram. Of the
    curves, offered, attempts, completed and goodput are images/s, refused and outcomes requests/s.
    """

    schema_version: int = SCHEMA_VERSION
    simulated: bool = True
    scenario: str = ""
    fleet: Fleet
    people: People
    seed: int
    duration_s: float
    slo_s: float
    requests: int  # due
    images: int  # due: those of all requests
    attempts: int
    outcomes: dict[str, int]  # every Outcome to its count; sums to `requests`
    refused_attempts: int
    offered_images_per_s: float
    completed_images_per_s: float
    goodput_images_per_s: float
    slo_share: float | None  # of requests: ok and within the SLO
    slo_share_by_class: dict[str, float]  # the same of paying and free; empty without classes
    shed_share: float | None  # of attempts: refused
    latency_p50_s: float | None
    latency_p95_s: float | None
    latency_p99_s: float | None
    latency_mean_s: float | None
    latency_resolution: float
    wait_mean_s: float | None  # from an attempt to its first step, of those that started
    waited_share: float | None  # of those: had to wait
    in_flight_mean: float
    busy_share: float | None  # of ready GPUs' time: at least one image
    batch_mean: float | None  # images at once on a busy GPU, over time
    minutes: dict[str, list[float]]
    latency_by_minute_s: dict[str, list[float | None]]
    latency_counts: list[int]  # the histogram: see profiles.fleet.kernel.histogram
    assumptions: list[str] = []
    left_out: list[str] = []  # what the scenario says and is not simulated
