"""`viralload fleet`: a scenario at the scale of a block, simulated from measured service times."""

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np

from loadtest.block.people import left_out, people_of
from loadtest.errors import ConfigurationError, ScenarioError, ViralloadError
from loadtest.plan.plan import MAX_REQUESTS, Node, compression, stated_peak
from loadtest.plan.source import Source
from loadtest.scenario.scenario import Scenario, capacity_multiple
from loadtest.system.progress import Progress
from loadtest.traces.trace import Arrivals
from loadtest.traffic.arrivals import Process, Word, arrival_times
from loadtest.traffic.curve import Array
from loadtest.units import parse_duration
from profiles import edge
from profiles.fleet.estimate import Asked, Cost, afford, cores_here, estimate
from profiles.fleet.service_times import read_service
from profiles.fleet.simulate import Demand, simulate
from profiles.fleet.sizing import Needed, check_search, gpus_needed
from profiles.report.html.fleet import render
from profiles.schema.fleet import Autoscaling, Failures, Fleet, FleetError, People, Simulated
from profiles.summary.validity import COMPRESSION_LIMIT

BIN_S = 1.0
MAX_BINS = 20_000
MAX_GPUS = 10_000_000


def simulate_scenario(
    options: argparse.Namespace, scenario: Scenario, source: Source
) -> tuple[Simulated, Needed | None]:
    """The scenario on the fleet that the options describe.

    Raises:
        ConfigurationError: it cannot be simulated, or does not fit into --memory and --time.
    """
    try:
        fleet = with_steps(fleet_of(options), scenario)
        scenario = at_own_rate(scenario) if options.peak is None else scenario
        people = people_of(scenario)
        demand = demand_of(scenario, source, fleet, people)
        if options.slo_share is not None:
            check_search(demand)
        memory_bytes, time_s = options.memory * 2**30, parse_duration(options.time)
        asked = Asked(
            fleet=fleet,
            demand=demand,
            people=people,
            search_most=None if options.slo_share is None else MAX_GPUS,
            cores=cores_here(),
        )
        cost = estimate(asked, memory_bytes=memory_bytes)
        afford(asked, cost, memory_bytes=memory_bytes, time_s=time_s)
        missed = left_out(scenario)
        sys.stderr.write("".join(f"warning: not simulated: {one}\n" for one in missed))
        sys.stderr.write(cost_words(cost) + "\n")
        played, needed = _play(options, scenario, asked, cost.most_slots)
        peak = peak_words(scenario, source, fleet, people)
    except (FleetError, ValueError) as err:
        raise ConfigurationError(f"fleet: {err}") from err
    stated = [peak, *played.assumptions, *scaling_caveat(fleet, compression(scenario, source))]
    return msgspec.structs.replace(
        played, scenario=scenario.name, left_out=missed, assumptions=stated
    ), needed


def _play(
    options: argparse.Namespace, scenario: Scenario, asked: Asked, most_slots: int
) -> tuple[Simulated, Needed | None]:
    """The simulation and the search, telling how far they are on stderr."""
    fleet, slo_s = asked.fleet, float(scenario.slo.latency)
    progress = Progress(sys.stderr)
    try:
        played = simulate(
            fleet,
            asked.demand,
            seed=scenario.seed,
            slo_s=slo_s,
            people=asked.people,
            most_slots=most_slots,
            on_share=lambda share: progress.show(f"simulating {fleet.gpus:,} GPUs", share),
        )
        if asked.search_most is None:
            return played, None
        return played, gpus_needed(
            fleet,
            asked.demand,
            seed=scenario.seed,
            slo_s=slo_s,
            slo_share=options.slo_share,
            people=asked.people,
            most=asked.search_most,
            most_slots=most_slots,
            on_share=lambda gpus, share: progress.show(f"trying {gpus:,} GPUs", share),
        )
    finally:
        progress.clear()


def scaling_caveat(fleet: Fleet, kappa: float) -> list[str]:
    """What time compressed `kappa` times does to an autoscaler, in words; nothing where none is."""
    if fleet.autoscaling is None or kappa <= COMPRESSION_LIMIT:
        return []
    faster = f"time is compressed {kappa:,.0f} times: the curve rises that much faster than the"
    slow = "event did while models load in real time, so autoscaling looks worse than it is"
    return [f"Assumed: {faster} {slow}"]


def cost_words(cost: Cost) -> str:
    """What it will take, in one line."""
    told = (
        f"about {cost.requests:,.0f} requests: {cost.seconds:,.0f} s, "
        f"{cost.memory_bytes / 2**30:.2f} GiB at most"
    )
    if cost.search_seconds:
        told += f"; the search of GPUs needed {cost.search_seconds:,.0f} s more at most"
    return told


def fleet_of(options: argparse.Namespace) -> Fleet:
    """The block that the command line describes.

    Raises:
        FleetError: its service times are unreadable, or lack the batch sizes needed; too many GPUs.
        ValueError: a duration that is none.
    """
    if options.gpus > MAX_GPUS:
        raise FleetError(f"--gpus: at most {MAX_GPUS:,} are simulated, got {options.gpus:,}")
    batch = 1 if options.policy == "none" else options.max_batch
    service = read_service(options.service, batch)
    most = batch or service.largest_batch
    return Fleet(
        gpus=options.gpus,
        service=service,
        cell_gpus=min(options.cell_gpus, options.gpus),
        policy=options.policy,
        max_batch=most,
        routing=options.routing,
        max_queue=options.max_queue or None,
        deadline_s=None if options.deadline is None else parse_duration(options.deadline),
        gpu_spread=options.gpu_spread,
        autoscaling=Autoscaling(target_ongoing_requests=max(2.0, float(most)))
        if options.autoscale
        else None,
        failures=Failures() if options.failures else None,
    )


def with_steps(fleet: Fleet, scenario: Scenario) -> Fleet:
    """The block where every request asks for so many steps, if the scenario says how many."""
    asked, service = scenario.request.steps, fleet.service
    if asked is None or asked == service.steps:
        return fleet
    basis = f"{service.basis}, there {service.steps} steps"
    return msgspec.structs.replace(
        fleet, service=msgspec.structs.replace(service, steps=asked, basis=basis)
    )


def at_own_rate(scenario: Scenario) -> Scenario:
    """The scenario at its event's own rate, where its peak is a multiple of a node's capacity.

    A multiple is what a test of one node wants; of a whole block's it would be another event.
    """
    if scenario.event is None or capacity_multiple(scenario.load.peak) is None:
        return scenario
    return msgspec.structs.replace(scenario, load=msgspec.structs.replace(scenario.load, peak=None))


def peak_words(scenario: Scenario, source: Source, fleet: Fleet, people: People) -> str:
    """The load's peak and what it is: the event's own, or a stress."""
    peak, basis = stated_peak(scenario, source, _node(fleet, people))
    if capacity_multiple(scenario.load.peak) is not None:
        own = "" if scenario.event is None else "; the event's own rate is played without --peak"
        return f"Assumed: a stress, not an event: a peak of {peak:,.4g} images/s, {basis}{own}"
    return f"Assumed: a peak of {peak:,.4g} images/s, {basis}; --peak 1.5x plays a stress instead"


def _node(fleet: Fleet, people: People) -> Node:
    return Node(
        gpus=fleet.gpus,
        capacity_images_per_s=fleet.images_per_s(people.mean_steps),
        capacity_basis=f"all {fleet.service.servers} busy with full batches",
    )


def demand_of(scenario: Scenario, source: Source, fleet: Fleet, people: People) -> Demand:
    """The curve at the block's scale: Poisson in bins of about a second, or as instants.

    Raises:
        ConfigurationError: a trace of arrivals, or bursts of more requests than memory holds.
    """
    if isinstance(source.shape, Arrivals):
        raise ScenarioError(
            "fleet: the trace holds one node's arrivals; name its rate_column or count_column, so "
            "that its rate can be carried to a block"
        )
    peak, _ = stated_peak(scenario, source, _node(fleet, people))
    kappa = compression(scenario, source)
    duration_s = source.duration_s / kappa
    shape = source.shape
    scale = peak / source.peak_images_per_s
    factor = scale * source.images_per_arrival / source.images_per_request

    def arrivals_by(t: Array) -> Array:
        return shape.integral(kappa * t) * (factor / kappa)

    process = scenario.load.arrivals or "poisson"
    if process not in ("poisson", "smooth"):
        return _in_bursts(process, arrivals_by, duration_s, scenario.seed)
    bins = min(MAX_BINS, max(1, round(duration_s / BIN_S)))
    edges = np.linspace(0.0, duration_s, bins + 1)
    rates = np.diff(arrivals_by(edges)) * (bins / duration_s)
    return Demand(duration_s=duration_s, rates_per_s=tuple(np.maximum(rates, 0.0).tolist()))


def _in_bursts(
    process: Word | Process,
    arrivals_by: Callable[[Array], Array],
    duration_s: float,
    seed: int,
) -> Demand:
    expected = float(arrivals_by(np.array([duration_s]))[0])
    if expected > MAX_REQUESTS:
        raise ConfigurationError(
            f"fleet: {expected:,.0f} bursty arrivals do not fit into memory, at most "
            f"{MAX_REQUESTS:,} do: lower --peak, or use --arrivals poisson, which is streamed"
        )
    times = arrival_times(process, arrivals_by, duration_s, seed)
    return Demand(duration_s=duration_s, times_s=times)


def write(
    played: Simulated, needed: Needed | None, root: Path, command: Sequence[str] = ()
) -> Path:
    """A new folder with simulated.json and report.html; gives the report's path.

    Raises:
        ViralloadError: it cannot be written.
    """
    now = datetime.now(UTC)
    folder = root / f"{now.strftime('%Y%m%dT%H%M%SZ')}-{played.scenario}-simulated"
    about = [("Made", now.strftime("%Y-%m-%d %H:%M UTC"))]
    about += [("One GPU's times", played.fleet.service.basis), ("Command", shlex.join(command))]
    try:
        folder.mkdir(parents=True)
        (folder / "simulated.json").write_bytes(msgspec.json.format(msgspec.json.encode(played)))
        report = folder / "report.html"
        report.write_text(render(played, needed, about), encoding="utf-8")
    except OSError as err:
        raise ViralloadError(f"cannot write {folder}: {edge.reason(err)}") from err
    return report
