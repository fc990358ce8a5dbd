"""The node's capacity, measured before the load: what "1.5x" refers to.

A closed loop in a process of its own (`loadtest.calibration.closed_loop`) raises what is in flight
until more brings no more (`loadtest.calibration.concurrency`), and asks what the run will ask for.
It is a quick look, good to some ten percent; plan and report say so, with its interval.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec
import numpy as np

from loadtest.calibration.concurrency import TIME_S, Calibration, Window
from loadtest.errors import ViralloadError
from loadtest.plan.job import Job
from loadtest.plan.plan import Node, Schedule, expected_requests, make_plan
from loadtest.plan.source import Source
from loadtest.scenario.scenario import Scenario
from loadtest.system.child_environment import python
from loadtest.system.processes import Child
from profiles.requests.request_mix import Mix

NOTHING: Mapping[str, str] = MappingProxyType({})
PATIENCE_S = 60.0  # beyond its own time: starting, and the last requests
MAX_FIRST = 512
UNTOLD_BATCH = 2  # of a server that does not tell its batch size
ASKS = 4096
MORE = 1.2  # so that chance leaves enough of them


def in_flight_for(max_batch: int | None, replicas: int | None) -> int:
    """Requests to begin with: a batch that runs and one that waits, for every replica."""
    return min(2 * (max_batch or UNTOLD_BATCH) * (replicas or 1), MAX_FIRST)


def asks(scenario: Scenario, source: Source) -> Schedule:
    """What the scenario's requests ask for, in its own mix: a row each, in chance order.

    Of a schedule drawn for a made-up peak, at which it has about ASKS rows: how many images each,
    and what a trace or a mix of steps and sizes says.

    Raises:
        ConfigurationError: No schedule can be drawn.
    """
    peak = MORE * ASKS / expected_requests(scenario, source, 1.0)
    load = msgspec.structs.replace(scenario.load, peak=peak)
    _, schedule = make_plan(msgspec.structs.replace(scenario, load=load), source, Node())
    order = np.random.default_rng(scenario.seed).permutation(len(schedule))[:ASKS]
    rows: Schedule = schedule[order]
    return rows


def mix_of_asks(rows: Schedule, job: Job) -> Mix:
    """What such rows ask for, as a run's record would tell it."""
    told = {"width": job.width, "height": job.height, "steps": job.steps or 0}

    def column(name: str) -> list[int]:
        own = rows[name].tolist() if name in (rows.dtype.names or ()) else [0] * len(rows)
        return [value or told[name] for value in own]

    kinds = zip(rows["images"].tolist(), *(column(name) for name in told), strict=True)
    return Mix(len(rows), {kind: n / len(rows) for kind, n in Counter(kinds).items()})


def calibrate(
    job_path: Path,
    first: int,
    log: Path,
    tell: Callable[[Window], None] = lambda window: None,
    opened: Mapping[str, str] = NOTHING,
) -> Calibration:
    """Images/s that the server completes when always busy, and what limited the look.

    Args:
        job_path: The run's job.json.
        first: Requests in flight to begin with.
        log: What takes its stderr.
        tell: Told of each level as it ends.
        opened: What opens the server, as environment variables.

    Raises:
        ViralloadError: Requests fail, or nothing comes back in time.
    """
    found: Calibration | None = None
    for line in _lines(job_path, ["climb", str(first)], log, opened):
        told = msgspec.json.decode(line, type=Window | Calibration)
        if isinstance(told, Window):
            tell(told)
        else:
            found = told
    if found is None:
        raise ViralloadError("measuring the capacity failed: it did not end in time")
    return found


def alone(
    job_path: Path, log: Path, count: int = 1, opened: Mapping[str, str] = NOTHING
) -> list[float]:
    """Seconds that each of `count` requests takes on a server that does nothing else.

    `opened` is what opens the server, as environment variables.

    Raises:
        ViralloadError: One fails.
    """
    return [
        msgspec.json.decode(line, type=float)
        for line in _lines(job_path, ["alone", str(count)], log, opened)
    ]


def refusal(found: Calibration) -> str | None:
    """Why what was found is no capacity, and the ways out; None: it is one."""
    if found.limit is None:
        return None
    return (
        f"the capacity is not known: {found.images_per_s:.3g} images/s came back with "
        f"{found.in_flight} requests in flight and still rising when {found.limit}. Give the peak "
        "in images/s (--peak 20), the capacity (--capacity IMAGES_PER_S), or search for it with "
        "`viralload find`"
    )


def _lines(
    job_path: Path, words: list[str], log: Path, opened: Mapping[str, str]
) -> Iterator[bytes]:
    """What the closed loop prints, a line as it comes.

    Raises:
        ViralloadError: It failed.
    """
    command = python("loadtest.calibration.closed_loop", str(job_path), *words)
    child = Child("closed loop", command, log, opened)
    left, code = b"", None
    try:
        for block in child.output(TIME_S + PATIENCE_S):
            *whole, left = (left + block).split(b"\n")
            yield from whole
    finally:
        code = child.end(patience_s=1.0)
    if code != 0:
        raise ViralloadError(f"measuring the capacity failed: {child.last_words()}")
