"""What a person does once an attempt has ended (as `loadtest.generator.person`), and is counted."""

import math
from typing import Any

from profiles.fleet.kernel.heap import drop, put
from profiles.fleet.kernel.histogram import bin_of
from profiles.fleet.kernel.jit import compiled
from profiles.fleet.kernel.state import (
    ABANDONED,
    AT_ONCE,
    ATTEMPTS,
    DONE,
    DONE_IMAGES,
    FREE,
    GOOD,
    GOOD_IMAGES,
    NEVER,
    OFFERED,
    OFFERED_IMAGES,
    OK,
    PAYING,
    REFUSED,
    REJECTED,
    RESTING,
    TIMEOUT,
    TIMERS,
    TRIED_IMAGES,
    UNSENT,
    go_on,
    image_mix,
    latency,
    minutes,
    more_of,
    patience_s,
    slots,
    step_mix,
    think_s,
)
from profiles.fleet.kernel.streams import (
    CLASS,
    GO_ON,
    IMAGES,
    JITTER,
    PATIENCE,
    STEPS,
    THINK,
    WISHES,
    draw,
    exponential,
    picked,
    quantile,
)
from profiles.fleet.kernel.streams import WORK as WORK_DRAWS


@compiled
def minute_of(cell: Any, t_s: float) -> int:
    """The row of `minutes` of an instant."""
    if t_s >= cell.load_end_s:
        return int(cell.minute_rows - 1)
    return int(min(int(t_s / 60.0), cell.minute_rows - 2))


@compiled
def timer(cell: Any, slot: int, at_s: float) -> None:
    """Set a slot's one timer; inf takes it off."""
    if at_s < math.inf:
        put(cell, TIMERS, slot, at_s)
    else:
        drop(cell, TIMERS, slot)


@compiled
def arrive(cell: Any, t_s: float) -> int:
    """A person comes, and wants an image at once: the slot that holds them."""
    slot = cell.spare
    person = slots(cell)[slot]
    cell.spare = person.after
    cell.used += 1
    person.person = cell.people
    cell.people += 1
    person.wish = 0
    if cell.go_ons > 0:
        more_of(cell)[slot].ideal_s = t_s
    person.paying = PAYING
    if cell.paying_share < 1.0:
        paying = draw(cell.seed, CLASS, person.person) < cell.paying_share
        person.paying = PAYING if paying else FREE
    person.patience_s = math.inf
    if cell.patiences > 0:
        person.patience_s = quantile(patience_s(cell), draw(cell.seed, PATIENCE, person.person))
    _want(cell, slot, t_s)
    return int(slot)


@compiled
def _want(cell: Any, slot: int, t_s: float) -> None:
    person = slots(cell)[slot]
    person.wanted_s = t_s
    person.until_s = t_s + person.patience_s
    person.attempt = 1
    n = person.person * WISHES + person.wish
    person.work = float(cell.steps)
    if cell.exponential:
        person.work *= exponential(cell.seed, WORK_DRAWS, n)
    elif cell.step_mixes > 0:
        person.work = float(picked(step_mix(cell), draw(cell.seed, STEPS, n)))
    person.row = cell.row if t_s == cell.clock_s else minute_of(cell, t_s)
    minutes(cell)[person.row, OFFERED] += 1
    if cell.paying_share < 1.0 and person.paying == PAYING:
        cell.paying_requests += 1
    if cell.image_mixes > 0:
        images = picked(image_mix(cell), draw(cell.seed, IMAGES, n))
        more = more_of(cell)[slot]
        had = 0 if person.wish == 0 else more.had
        more.images = min(images, _most(cell, person.paying) - had)
        more.had = had + more.images
        minutes(cell)[person.row, OFFERED_IMAGES] += more.images


@compiled
def _most(cell: Any, paying: int) -> int:
    """Images that one person of a class may ask for."""
    return int(cell.paying_most if paying == PAYING else cell.free_most)


@compiled
def begin_attempt(cell: Any, slot: int, t_s: float) -> None:
    """Note that an attempt leaves now, and when its client would give up."""
    person = slots(cell)[slot]
    person.sent_s = t_s
    person.expires_s = min(t_s + cell.timeout_s, person.until_s)
    cell.flight += 1
    minutes(cell)[cell.row, ATTEMPTS] += 1
    if cell.image_mixes > 0:
        more = more_of(cell)[slot]
        more.pending = more.images
        more.done_s = 0.0
        minutes(cell)[cell.row, TRIED_IMAGES] += more.images


@compiled
def end_ok(cell: Any, slot: int, done_s: float) -> None:
    """All images of a request came back at `done_s`."""
    person = slots(cell)[slot]
    latency_s = done_s - person.wanted_s
    done = cell.row if done_s < cell.row_end_s else minute_of(cell, done_s)
    latency(cell)[person.row, bin_of(latency_s)] += 1
    is_good = latency_s <= cell.slo_s
    minutes(cell)[done, DONE] += 1
    if is_good:
        minutes(cell)[done, GOOD] += 1
        if cell.paying_share < 1.0 and person.paying == PAYING:
            cell.paying_good += 1
    if cell.image_mixes > 0:
        images = more_of(cell)[slot].images
        minutes(cell)[done, DONE_IMAGES] += images
        if is_good:
            minutes(cell)[done, GOOD_IMAGES] += images
    if person.wanted_s >= cell.from_s:
        cell.oks += 1
        cell.latency_s += latency_s
    cell.flight -= 1
    timer(cell, slot, math.inf)
    _through(cell, slot, done_s, OK)


@compiled
def end_otherwise(
    cell: Any, slot: int, t_s: float, outcome: int, retry_after_s: float, is_flying: bool
) -> None:
    """An attempt ended without an image: try again later, or take it as the answer."""
    person = slots(cell)[slot]
    if is_flying:
        cell.flight -= 1
    if outcome == REJECTED:
        minutes(cell)[cell.row, REFUSED] += 1
    timer(cell, slot, math.inf)
    again = cell.retry != NEVER and person.attempt < cell.most_attempts
    if again and (outcome in (REJECTED, TIMEOUT)):
        pause_s = 0.0
        if cell.retry != AT_ONCE:
            longest_s = min(cell.cap_s, cell.first_s * 2.0 ** min(person.attempt - 1, 60))
            pause_s = retry_after_s + draw(cell.seed, JITTER, cell.jitters) * longest_s
            cell.jitters += 1
        if t_s + pause_s < person.until_s:
            person.attempt += 1
            person.phase = RESTING
            timer(cell, slot, t_s + pause_s)
            return
        outcome = ABANDONED
    _through(cell, slot, t_s, outcome)


@compiled
def _through(cell: Any, slot: int, t_s: float, outcome: int) -> None:
    """A request has its outcome: on to the next one, or gone."""
    person = slots(cell)[slot]
    minutes(cell)[person.row, outcome] += 1
    if cell.go_ons > 0 and _goes_on(cell, slot, t_s, outcome):
        return
    person.after = cell.spare
    cell.spare = slot
    cell.used -= 1


@compiled
def _goes_on(cell: Any, slot: int, t_s: float, outcome: int) -> bool:
    """Whether a person now waits for the next request to come due.

    Who has left, or is late for the load's end, makes none of those still intended: each of these
    is counted, too.
    """
    person = slots(cell)[slot]
    while person.wish < WISHES - 1:
        n = person.person * WISHES + person.wish
        goes_on = draw(cell.seed, GO_ON, n) < go_on(cell)[min(person.wish, cell.go_ons - 1)]
        pause_s = quantile(think_s(cell), draw(cell.seed, THINK, n))
        more_of(cell)[slot].ideal_s += pause_s
        is_allowed = cell.image_mixes == 0 or more_of(cell)[slot].had < _most(cell, person.paying)
        if not (goes_on and is_allowed and more_of(cell)[slot].ideal_s < cell.load_end_s):
            return False
        person.wish += 1
        due_s = t_s if outcome in (ABANDONED, UNSENT) else t_s + pause_s
        _want(cell, slot, due_s)
        if outcome != ABANDONED and due_s < cell.load_end_s:
            person.phase = RESTING
            timer(cell, slot, due_s)
            return True
        if outcome != ABANDONED:
            t_s, outcome = due_s, UNSENT
        minutes(cell)[person.row, outcome] += 1
    return False
