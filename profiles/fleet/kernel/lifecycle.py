"""Servers come and go: model loads, failures with their repairs, and the autoscaler."""

import math
from typing import Any

from profiles.fleet.kernel.autoscaler import delayed, desired, mean_of_last
from profiles.fleet.kernel.heap import drop, put
from profiles.fleet.kernel.jit import compiled
from profiles.fleet.kernel.people import end_otherwise
from profiles.fleet.kernel.server import fill, offer, withdraw
from profiles.fleet.kernel.state import (
    DOWN,
    DRAINING,
    FAILED,
    LIFE,
    OFF,
    STARTING,
    UP,
    WORK,
    alive,
    lead_of,
    running,
    samples,
    servers,
)
from profiles.fleet.kernel.streams import COLD, FAILURE, draw, exponential


@compiled
def begin(cell: Any) -> None:
    """What is up before the first arrival, and when chance first strikes."""
    first = cell.least if cell.scales else cell.servers
    for s in range(first):
        _rise(cell, 0.0, s)
    cell.target = first
    cell.next_control_s = cell.control_s if cell.scales else math.inf
    cell.next_sample_s = cell.sample_s
    cell.next_report_s = cell.report_s
    cell.next_failure_s = math.inf
    if cell.fails:
        _next_failure(cell, 0.0)


@compiled
def _rise(cell: Any, t_s: float, s: int) -> None:
    """A server is ready and takes requests."""
    server = servers(cell)[s]
    server.phase = UP
    server.place = cell.up
    alive(cell)[cell.up] = s
    cell.up += 1
    fill(cell, t_s, s)


@compiled
def _fall(cell: Any, s: int) -> None:
    """A server takes no requests any more; the last one takes its place among those that do."""
    server = servers(cell)[s]
    last = alive(cell)[cell.up - 1]
    alive(cell)[server.place] = last
    servers(cell)[last].place = server.place
    server.place = -1
    cell.up -= 1


@compiled
def start(cell: Any, t_s: float, s: int) -> None:
    """A server begins to load its model: ready after load_least_s .. load_most_s, uniform."""
    u = draw(cell.seed, COLD, cell.colds)
    cell.colds += 1
    servers(cell)[s].phase = STARTING
    cell.starting += 1
    ready_s = t_s + cell.load_least_s + u * (cell.load_most_s - cell.load_least_s)
    put(cell, LIFE, s, ready_s)


@compiled
def live_on(cell: Any, t_s: float, s: int) -> None:
    """A server's model is loaded, or its repair over."""
    drop(cell, LIFE, s)
    if servers(cell)[s].phase == STARTING:
        cell.starting -= 1
        _rise(cell, t_s, s)
    elif cell.scales:
        servers(cell)[s].phase = OFF  # the autoscaler has started another, or will start this one
    else:
        start(cell, t_s, s)


@compiled
def fail(cell: Any, t_s: float) -> None:
    """A random server fails, and its whole node or rack with it."""
    n = 4 * cell.failures
    victim = int(draw(cell.seed, FAILURE, n) * cell.servers)
    group = cell.rack if draw(cell.seed, FAILURE, n + 1) < cell.rack_share else cell.node
    u = draw(cell.seed, FAILURE, n + 2)
    back_s = t_s + cell.repair_least_s + u * (cell.repair_most_s - cell.repair_least_s)
    first = victim // group * group
    for s in range(first, min(first + group, cell.servers)):
        if servers(cell)[s].phase != DOWN:
            _break(cell, t_s, s)
            put(cell, LIFE, s, back_s)
    cell.failures += 1
    _next_failure(cell, t_s)


@compiled
def _next_failure(cell: Any, t_s: float) -> None:
    gap_s = exponential(cell.seed, FAILURE, 4 * cell.failures + 3) / cell.failures_per_s
    cell.next_failure_s = t_s + gap_s


@compiled
def _break(cell: Any, t_s: float, s: int) -> None:
    """A server is gone, with all that ran and waited on it."""
    server = servers(cell)[s]
    if server.phase == UP:
        _fall(cell, s)
    elif server.phase == STARTING:
        cell.starting -= 1
    server.phase = DOWN
    if server.running > 0:
        cell.busy -= 1
        cell.images -= server.running
    for i in range(server.running):
        if running(cell)[s, i] >= 0:
            _lose(cell, t_s, s, running(cell)[s, i])
    while server.waiting > 0:
        slot = server.first_paying if server.first_paying >= 0 else server.first_free
        _lose(cell, t_s, s, slot)
    server.running = server.ongoing = server.claimed = 0
    server.changed_s = t_s
    drop(cell, WORK, s)
    offer(cell, s)


@compiled
def _lose(cell: Any, t_s: float, s: int, slot: int) -> None:
    """An image is lost with server s, and its request with it."""
    lead = lead_of(cell, slot)
    withdraw(cell, t_s, lead, s)
    end_otherwise(cell, lead, t_s, FAILED, 0.0, True)


@compiled
def control(cell: Any, t_s: float) -> None:
    """One loop of the autoscaler: sample, report, decide, act."""
    if t_s >= cell.next_sample_s:
        samples(cell)[cell.sampled % cell.ring] = cell.flight
        cell.sampled += 1
        cell.next_sample_s += cell.sample_s
    if t_s >= cell.next_report_s:
        cell.ongoing = mean_of_last(samples(cell), cell.sampled)
        cell.next_report_s += cell.report_s
    if cell.up > 0 and cell.sampled > 0:
        wanted = desired(
            cell.ongoing, cell.up, cell.target_ongoing, cell.up_factor, cell.down_factor
        )
        target, direction, since_s = delayed(
            wanted,
            cell.target,
            t_s,
            cell.direction,
            cell.since_s,
            cell.up_delay_s,
            cell.down_delay_s,
        )
        cell.target = min(max(target, cell.least), cell.most)
        cell.direction, cell.since_s = direction, since_s
    _act(cell, t_s)
    cell.next_control_s = t_s + cell.control_s


@compiled
def _act(cell: Any, t_s: float) -> None:
    """Start the lowest servers that are off; stop the highest, those that still load first."""
    missing = cell.target - (cell.up + cell.starting)
    s = 0
    while missing > 0 and s < cell.servers:
        if servers(cell)[s].phase == OFF:
            start(cell, t_s, s)
            missing -= 1
        s += 1
    for phase in (STARTING, UP):
        s = cell.servers - 1
        while missing < 0 and s >= 0:
            if servers(cell)[s].phase == phase:
                _stop(cell, t_s, s)
                missing += 1
            s -= 1


@compiled
def _stop(cell: Any, t_s: float, s: int) -> None:
    """Take a server out of service; what it has taken on it still does."""
    server = servers(cell)[s]
    if server.phase == STARTING:
        drop(cell, LIFE, s)
        cell.starting -= 1
        server.phase = OFF
        return
    _fall(cell, s)
    server.phase = DRAINING
    offer(cell, s)
    if server.running == 0:
        fill(cell, t_s, s)
