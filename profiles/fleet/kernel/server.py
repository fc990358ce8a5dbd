"""What a server does: its batch, its steps, and whom it takes from its line.

Under step, nothing changes between two departures, so a server leaps from one to the next; an
arrival that finds room makes it stop at the next step's end. A server's next stop is in queue WORK.
"""

import math
from typing import Any

from profiles.fleet.kernel.heap import drop, key_of, put
from profiles.fleet.kernel.jit import compiled
from profiles.fleet.kernel.people import end_ok, end_otherwise, timer
from profiles.fleet.kernel.queues import companion, count_on, join_line, leave_line, line_of
from profiles.fleet.kernel.state import (
    DRAINING,
    OFF,
    OVER,
    REJECTED,
    REQUEST,
    ROOM,
    RUNNING,
    STEP,
    TAIL,
    UP,
    WAITING,
    WORK,
    images_of,
    lead_of,
    more_of,
    running,
    servers,
    slots,
)


@compiled
def step_s(cell: Any, images: int) -> float:
    """Seconds of a step of so many images on an average GPU: base + image·n."""
    return float(cell.base_s + cell.image_s * images)


@compiled
def offer(cell: Any, s: int) -> None:
    """Tell the central line whether a server has room, and how much."""
    if not cell.central:
        return
    server = servers(cell)[s]
    taken = server.running + server.claimed
    has_room = taken < cell.limit if cell.policy == STEP else taken == 0
    if server.phase == UP and has_room:
        put(cell, ROOM, s, float(taken * cell.servers + s))  # the emptiest, of several the first
    else:
        drop(cell, ROOM, s)


@compiled
def fill(cell: Any, t_s: float, s: int) -> None:
    """Hand free places to what waits, at a boundary of server s, and plan its next stop."""
    server = servers(cell)[s]
    line = line_of(cell, s)
    lined = servers(cell)[line]
    had = server.running
    takes = server.phase == UP or (server.phase == DRAINING and not cell.central)
    while takes and lined.waiting > 0 and server.running < cell.limit:
        slot = lined.first_paying if lined.first_paying >= 0 else lined.first_free
        if cell.step_mixes > 0 and cell.policy == REQUEST and server.running > 0:
            slot = companion(cell, slot, lined.first_free, running(cell)[s, 0])
            if slot < 0:
                break
        lead = lead_of(cell, slot) if cell.stride > 1 else slot
        person = slots(cell)[lead]
        alone_s = server.speed * (cell.tail_s + person.work * step_s(cell, 1))
        if t_s + alone_s > person.sent_s + cell.deadline_s:
            _refuse(cell, t_s, s, line, slot)
            continue
        leave_line(cell, line, slot)
        lined.ongoing -= 1  # nothing changes for who stood in the server's own line
        server.ongoing += 1
        running(cell)[s, server.running] = slot
        server.running += 1
        slots(cell)[slot].server = s
        slots(cell)[slot].phase = RUNNING
        slots(cell)[slot].left = int(person.work)
        if slot == lead and person.wanted_s >= cell.from_s:
            cell.waits += 1
            cell.wait_s += t_s - person.sent_s
            if t_s > person.sent_s:
                cell.waited += 1
    cell.images += server.running - had
    cell.busy += server.running > 0
    server.claimed = 0
    _plan(cell, t_s, s)
    offer(cell, s)
    if server.phase == DRAINING and server.running == 0 and (cell.central or server.waiting == 0):
        server.phase = OFF


@compiled
def _refuse(cell: Any, t_s: float, s: int, line: int, slot: int) -> None:
    """Server s gives up an image that cannot be in time any more, and all of its request."""
    lead = lead_of(cell, slot)
    if cell.stride == 1:
        leave_line(cell, line, slot)
    else:
        withdraw(cell, t_s, lead, s)
        servers(cell)[s].running = _close_up(cell, s)
    count_on(cell, t_s, line, -1)
    end_otherwise(cell, lead, t_s, REJECTED, 1.0, True)


@compiled
def withdraw(cell: Any, t_s: float, lead: int, here: int) -> None:
    """Take a request's images out of the line and the batches; server `here` looks by itself."""
    for slot in range(lead, lead + images_of(cell, lead)):
        image = slots(cell)[slot]
        s = image.server
        if image.phase == WAITING:
            leave_line(cell, s, slot)
        elif image.phase == RUNNING:
            for i in range(servers(cell)[s].running):
                if running(cell)[s, i] == slot:
                    running(cell)[s, i] = -1
            if cell.policy == STEP and s != here:
                _stop_soon(cell, t_s, s)
        image.phase = OVER


@compiled
def _close_up(cell: Any, s: int) -> int:
    """Close the gaps in a batch that has not begun; how many it now holds."""
    kept = 0
    for i in range(servers(cell)[s].running):
        if running(cell)[s, i] >= 0:
            running(cell)[s, kept] = running(cell)[s, i]
            kept += 1
    return kept


@compiled
def _plan(cell: Any, t_s: float, s: int) -> None:
    """When a server that begins a batch or a step now stops next."""
    server = servers(cell)[s]
    if server.running == 0:
        drop(cell, WORK, s)
        return
    took_s = server.speed * step_s(cell, server.running)
    server.began_s = t_s
    server.step_s = took_s
    if cell.policy == STEP:
        least = slots(cell)[running(cell)[s, 0]].left
        for i in range(1, server.running):
            least = min(least, slots(cell)[running(cell)[s, i]].left)
        stop_s = t_s + least * took_s
    else:
        longest = 0.0
        for i in range(server.running):
            longest = max(longest, slots(cell)[running(cell)[s, i]].work)
        stop_s = t_s + server.speed * cell.tail_s + longest * took_s
    put(cell, WORK, s, stop_s)


@compiled
def boundary_s(cell: Any, t_s: float, s: int) -> float:
    """When the step that runs at t ends."""
    server = servers(cell)[s]
    steps = math.ceil((t_s - server.began_s) / server.step_s)
    return float(server.began_s + steps * server.step_s)


@compiled
def nudge(cell: Any, t_s: float, s: int) -> None:
    """Let a server notice what came or went: at once when idle, else at the next boundary."""
    server = servers(cell)[s]
    if server.running == 0:
        fill(cell, t_s, s)
    elif cell.policy == STEP:
        _stop_soon(cell, t_s, s)


@compiled
def _stop_soon(cell: Any, t_s: float, s: int) -> None:
    stop_s = boundary_s(cell, t_s, s)
    if stop_s < key_of(cell, WORK, s):
        put(cell, WORK, s, stop_s)


@compiled
def stop(cell: Any, t_s: float, s: int) -> None:
    """A server's batch is done, or one of its steps: some leave, others may join."""
    server = servers(cell)[s]
    had, kept = server.running, 0
    if cell.policy == STEP:
        steps = round((t_s - server.began_s) / server.step_s)
        for i in range(had):
            slot = running(cell)[s, i]
            if slot < 0:
                continue
            slots(cell)[slot].left -= steps
            if slots(cell)[slot].left > 0:
                running(cell)[s, kept] = slot
                kept += 1
            elif _finish(cell, slot, t_s, t_s + server.speed * cell.tail_s):
                count_on(cell, t_s, s, -1)
    else:
        for i in range(had):
            slot = running(cell)[s, i]
            if slot >= 0 and _finish(cell, slot, t_s, t_s):
                count_on(cell, t_s, s, -1)
    server.running = kept
    cell.images -= had - kept
    if had > 0:
        cell.busy -= 1
    fill(cell, t_s, s)


@compiled
def _finish(cell: Any, slot: int, t_s: float, done_s: float) -> bool:
    """The last step of an image is over at t, its file out at `done_s`; was it the request's last?

    A request is answered with its last image.
    """
    lead = slot
    if cell.stride > 1:
        lead = lead_of(cell, slot)
        slots(cell)[slot].phase = OVER
        request = more_of(cell)[lead]
        request.pending -= 1
        done_s = request.done_s = max(request.done_s, done_s)
        if request.pending > 0:
            return False
    person = slots(cell)[lead]
    if done_s > person.expires_s:  # its client will have left: the timer ends it
        person.phase = TAIL
        return True
    if done_s > cell.from_s:
        cell.flight_s += done_s - t_s  # in flight still, though no event will say so
    end_ok(cell, lead, done_s)
    return True


@compiled
def hang_up(cell: Any, t_s: float, slot: int, outcome: int) -> None:
    """A client leaves: from the line, from the batch (its work is lost), or just before the end."""
    person = slots(cell)[slot]
    s = person.server
    if cell.stride > 1:
        if more_of(cell)[slot].pending > 0:
            withdraw(cell, t_s, slot, -1)
            count_on(cell, t_s, s, -1)
    elif person.phase == WAITING:
        leave_line(cell, s, slot)
        count_on(cell, t_s, s, -1)
    elif person.phase == RUNNING:
        for i in range(servers(cell)[s].running):
            if running(cell)[s, i] == slot:
                running(cell)[s, i] = -1
        count_on(cell, t_s, s, -1)
        if cell.policy == STEP:
            nudge(cell, t_s, s)
    end_otherwise(cell, slot, t_s, outcome, 0.0, True)


@compiled
def enqueue(cell: Any, t_s: float, s: int, line: int, slot: int) -> None:
    """Take a request on: into a line, and server s (if any) is told."""
    person = slots(cell)[slot]
    join_line(cell, line, slot)
    if cell.stride > 1:
        for image in range(slot + 1, slot + images_of(cell, slot)):
            slots(cell)[image].paying = person.paying
            slots(cell)[image].work = person.work
            join_line(cell, line, image)
    count_on(cell, t_s, line, 1)
    if person.expires_s < math.inf:
        timer(cell, slot, person.expires_s)
    if s >= 0:
        call(cell, t_s, s)


@compiled
def call(cell: Any, t_s: float, s: int) -> None:
    """Tell a server that something in its line is for it."""
    if cell.central and servers(cell)[s].running > 0:
        servers(cell)[s].claimed += 1
        offer(cell, s)
    nudge(cell, t_s, s)
