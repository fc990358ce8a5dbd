"""Which server gets a request, and whether it is taken at all (`serve.engine.admission`)."""

import math
from typing import Any

from profiles.fleet.kernel.forecast import forecast_s
from profiles.fleet.kernel.heap import first, first_key
from profiles.fleet.kernel.jit import compiled
from profiles.fleet.kernel.people import begin_attempt, end_otherwise
from profiles.fleet.kernel.queues import count_on
from profiles.fleet.kernel.server import call, enqueue, step_s, withdraw
from profiles.fleet.kernel.state import (
    LEAST,
    PAYING,
    RANDOM,
    REJECTED,
    RETRY_AFTER_MAX_S,
    ROOM,
    ROUND_ROBIN,
    WAITING,
    alive,
    images_of,
    lead_of,
    servers,
    slots,
)
from profiles.fleet.kernel.streams import ROUTE, draw


@compiled
def send(cell: Any, t_s: float, slot: int) -> None:
    """An attempt leaves at t: a server or the central line takes it, or it is refused."""
    begin_attempt(cell, slot, t_s)
    if cell.up == 0:
        end_otherwise(cell, slot, t_s, REJECTED, 1.0, True)
        return
    s = -1
    line = int(cell.servers)
    if not cell.central:
        s = line = _chosen(cell)
    elif first_key(cell, ROOM) < math.inf:
        s = first(cell, ROOM)
    if _is_taken(cell, t_s, s, line, slot):
        enqueue(cell, t_s, s, line, slot)
        if cell.stride > 1 and cell.central:
            for _ in range(1, images_of(cell, slot)):  # each to whichever has room
                if servers(cell)[line].waiting > 0 and first_key(cell, ROOM) < math.inf:
                    call(cell, t_s, first(cell, ROOM))


@compiled
def _chosen(cell: Any) -> int:
    """A server that is up, by the routing."""
    up = cell.up
    if cell.routing == ROUND_ROBIN:
        cell.turn = (cell.turn + 1) % up
        return int(alive(cell)[cell.turn])
    if cell.routing == LEAST:
        return int(_emptiest(cell))
    first = alive(cell)[int(draw(cell.seed, ROUTE, cell.routed) * up)]
    cell.routed += 1
    if cell.routing == RANDOM or up == 1:
        return int(first)
    at = int(draw(cell.seed, ROUTE, cell.routed) * (up - 1))
    cell.routed += 1
    second = alive(cell)[at]
    if second == first:  # the draw is from all but the first: the last stands in for it
        second = alive(cell)[up - 1]
    fewer = servers(cell)[second].ongoing < servers(cell)[first].ongoing
    return int(second if fewer else first)


@compiled
def _emptiest(cell: Any) -> int:
    """The server with the fewest requests; of several, the one that has had so many for longest.

    So HAProxy does it: a server whose count changes goes behind its equals (src/lb_fwlc.c).
    """
    best = alive(cell)[0]
    for i in range(1, cell.up):
        s = alive(cell)[i]
        one, other = servers(cell)[s], servers(cell)[best]
        if one.ongoing < other.ongoing or (
            one.ongoing == other.ongoing and one.changed_s < other.changed_s
        ):
            best = s
    return int(best)


@compiled
def _is_taken(cell: Any, t_s: float, s: int, line: int, slot: int) -> bool:
    """Admission: the bound on what waits, then the predicted completion; refuses by itself."""
    person = slots(cell)[slot]
    share = cell.up if cell.central else 1
    waiting = servers(cell)[line].waiting
    if waiting > 0 and waiting + images_of(cell, slot) > cell.max_queue * share:
        excess = waiting + images_of(cell, slot) - cell.max_queue * share
        retry_s = _retry_after_s(excess / (cell.rate_per_s * share))
        if person.paying != PAYING or _sheddable(cell, line, excess) < excess:
            end_otherwise(cell, slot, t_s, REJECTED, retry_s, True)
            return False
        while excess > 0:
            free = _newest(cell, servers(cell)[line].last_free)
            excess -= images_of(cell, free)
            withdraw(cell, t_s, free, -1)
            count_on(cell, t_s, line, -1)
            end_otherwise(cell, free, t_s, REJECTED, retry_s, True)
    if cell.deadline_s < math.inf:
        if cell.central:
            done_s = cell.tail_s + person.work * step_s(cell, 1)
            if s < 0:
                ahead = servers(cell)[line].waiting + images_of(cell, slot)
                done_s += ahead / (cell.rate_per_s * share)
        else:
            done_s = forecast_s(cell, t_s, s, slot)
        if done_s > cell.deadline_s:
            retry_s = _retry_after_s(done_s - cell.deadline_s)
            end_otherwise(cell, slot, t_s, REJECTED, retry_s, True)
            return False
    return True


@compiled
def _newest(cell: Any, slot: int) -> int:
    """Of the free requests up to `slot` in line, the newest none of whose images runs; -1: none."""
    while slot >= 0:
        lead = lead_of(cell, slot)
        if slots(cell)[lead].phase == WAITING:
            return lead
        slot = slots(cell)[slot].before
    return -1


@compiled
def _sheddable(cell: Any, line: int, enough: int) -> int:
    """Images that free requests can give back, the newest first; `enough` or more, if they can."""
    images = 0
    lead = _newest(cell, servers(cell)[line].last_free)
    while lead >= 0 and images < enough:
        images += images_of(cell, lead)
        lead = _newest(cell, slots(cell)[lead].before)
    return images


@compiled
def _retry_after_s(delay_s: float) -> float:
    """Whole seconds of the header, within 1 .. 600."""
    return float(min(max(math.ceil(delay_s), 1), RETRY_AFTER_MAX_S))
