"""One cell, played from its first arrival to its last answer: the loop over what happens next.

Arrivals are a Poisson process whose rate is given in bins of equal width, drawn one at a time by
the time-rescaling theorem (unit exponentials through the inverse of the integrated rate, exact for
a rate that is constant in each bin), so nothing is held but the requests in flight. Or they are
instants, as given.
"""

import math
from typing import Any

import numpy as np

from profiles.fleet.kernel.dispatch import send
from profiles.fleet.kernel.heap import first, first_key
from profiles.fleet.kernel.jit import compiled
from profiles.fleet.kernel.lifecycle import begin, control, fail, live_on
from profiles.fleet.kernel.memory import Memory
from profiles.fleet.kernel.people import arrive, end_otherwise, minute_of, timer
from profiles.fleet.kernel.server import hang_up, stop
from profiles.fleet.kernel.state import (
    ABANDONED,
    BUSY_S,
    FLIGHT_S,
    IMAGES_S,
    LIFE,
    RESTING,
    TIMEOUT,
    TIMERS,
    UP_S,
    WORK,
    Records,
    minutes,
    rates_per_s,
    slots,
    times_s,
)
from profiles.fleet.kernel.streams import ARRIVAL, exponential

ENDED, FULL = range(2)


def play(memory: Memory) -> bool:
    """Play a new cell to its end; False where it outgrew `cell.most_slots`."""
    _begin(memory.cell)
    while _play(memory.cell) == FULL:
        if not memory.grow():
            return False
    return True


@compiled
def _begin(cells: Records) -> None:
    cell = cells[0]
    cell.row_end_s = min(60.0, cell.load_end_s)
    begin(cell)
    cell.arrival_s = _next_arrival(cell, 0.0)


@compiled
def _play(cells: Records) -> int:
    """Go on until the end, or until an arrival finds no slot."""
    cell = cells[0]
    while True:
        work_s = first_key(cell, WORK)
        life_s = first_key(cell, LIFE)
        timer_s = first_key(cell, TIMERS)
        chance_s = min(cell.next_failure_s, cell.next_control_s)
        t_s = min(work_s, life_s, timer_s, chance_s, cell.arrival_s)
        is_over = cell.arrival_s == math.inf and cell.used == 0
        if is_over or t_s > cell.stop_s or t_s == math.inf:
            break
        if t_s == work_s:
            _pass(cell, t_s)
            stop(cell, t_s, first(cell, WORK))
        elif t_s == cell.arrival_s and t_s < min(life_s, chance_s, timer_s):
            if cell.spare < 0:
                return FULL
            _pass(cell, t_s)
            send(cell, t_s, arrive(cell, t_s))
            cell.arrival_s = _next_arrival(cell, t_s)
        else:
            _pass(cell, t_s)
            _other(cell, t_s, life_s)
    _cut_off(cell)
    return ENDED


@compiled
def _other(cell: Any, t_s: float, life_s: float) -> None:
    """What is neither a server's stop nor an arrival."""
    if t_s == life_s:
        live_on(cell, t_s, first(cell, LIFE))
    elif t_s == cell.next_failure_s:
        fail(cell, t_s)
    elif t_s == cell.next_control_s:
        control(cell, t_s)
    else:
        _ring(cell, t_s, first(cell, TIMERS))


@compiled
def _next_arrival(cell: Any, t_s: float) -> float:
    """When the next person comes after t, the last arrival; inf: nobody does."""
    n = cell.people
    if cell.times > 0:
        return float(times_s(cell)[n]) if n < cell.times else math.inf
    owed = exponential(cell.seed, ARRIVAL, n)
    while cell.bin < cell.rates:
        rate_per_s, end_s = rates_per_s(cell)[cell.bin], (cell.bin + 1) * cell.bin_s
        mass = rate_per_s * (end_s - t_s)
        if owed < mass:
            return float(t_s + owed / rate_per_s)
        owed -= mass
        t_s = end_s
        cell.bin += 1
    return math.inf


@compiled
def _pass(cell: Any, t_s: float) -> None:
    """Let time go by until t: what is in flight, ready and busy adds up, minute by minute."""
    if t_s > cell.from_s:
        cell.flight_s += cell.flight * min(t_s - cell.clock_s, t_s - cell.from_s)
    while t_s >= cell.row_end_s:
        _add(cell, cell.row_end_s)
        cell.row = minute_of(cell, cell.row_end_s)
        cell.row_end_s = math.inf
        if cell.row < cell.minute_rows - 1:
            cell.row_end_s = min(60.0 * (cell.row + 1), cell.load_end_s)
    _add(cell, t_s)


@compiled
def _add(cell: Any, t_s: float) -> None:
    """Up to t, within one minute."""
    span_s = t_s - cell.clock_s
    row = minutes(cell)[cell.row]
    row[FLIGHT_S] += cell.flight * span_s
    row[UP_S] += cell.up * span_s
    row[BUSY_S] += cell.busy * span_s
    row[IMAGES_S] += cell.images * span_s
    cell.clock_s = t_s


@compiled
def _ring(cell: Any, t_s: float, slot: int) -> None:
    """A timer goes off: the next attempt is due, or the client has waited long enough."""
    person = slots(cell)[slot]
    if person.phase == RESTING:
        timer(cell, slot, math.inf)
        send(cell, t_s, slot)
    else:
        hang_up(cell, t_s, slot, ABANDONED if person.until_s <= t_s else TIMEOUT)


@compiled
def _cut_off(cell: Any) -> None:
    """What is left when the time is up never came back: each still gets its outcome."""
    spare = np.zeros(cell.slot_rows, np.bool_)
    slot = cell.spare
    while slot >= 0:
        spare[slot] = True
        slot = slots(cell)[slot].after
    cell.most_attempts = 0  # nobody tries again, nobody goes on
    cell.load_end_s = min(cell.load_end_s, cell.clock_s)
    for slot in range(0, cell.slot_rows, cell.stride):
        if not spare[slot]:
            rests = slots(cell)[slot].phase == RESTING
            end_otherwise(cell, slot, cell.clock_s, TIMEOUT, 0.0, not rests)
