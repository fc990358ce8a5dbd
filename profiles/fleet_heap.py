"""Priority queues whose members can be moved: the four of a cell, in one set of arrays.

Queue h holds ids; `keys[h, id]` says when each is due, `order[h, :sizes[h]]` is a binary heap of
ids, `place[h, id]` where an id stands in it, -1 where it does not. Equal keys leave in the order
of their ids, so that what happens never depends on what happened before.
"""

import math
from typing import Any

from profiles.fleet_compile import compiled
from profiles.fleet_state import keys, order, place, sizes


@compiled
def first_key(cell: Any, h: int) -> float:
    """The smallest key of queue h; inf for an empty one."""
    return float(keys(cell)[h, order(cell)[h, 0]]) if sizes(cell)[h] > 0 else math.inf


@compiled
def first(cell: Any, h: int) -> int:
    """Whose key that is; the queue is not empty."""
    return int(order(cell)[h, 0])


@compiled
def put(cell: Any, h: int, who: int, key: float) -> None:
    """Enter an id, or move it to another key."""
    at = place(cell)[h, who]
    if at < 0:
        at = sizes(cell)[h]
        sizes(cell)[h] = at + 1
        order(cell)[h, at] = who
        place(cell)[h, who] = at
        keys(cell)[h, who] = key
        _up(cell, h, at)
        return
    sooner = key < keys(cell)[h, who]
    keys(cell)[h, who] = key
    if sooner:
        _up(cell, h, at)
    else:
        _down(cell, h, at)


@compiled
def drop(cell: Any, h: int, who: int) -> None:
    """Take an id out, if it is in."""
    at = place(cell)[h, who]
    if at < 0:
        return
    place(cell)[h, who] = -1
    last = sizes(cell)[h] - 1
    sizes(cell)[h] = last
    if at == last:
        return
    moved = order(cell)[h, last]
    order(cell)[h, at] = moved
    place(cell)[h, moved] = at
    _down(cell, h, at)
    if place(cell)[h, moved] == at:
        _up(cell, h, at)


@compiled
def _up(cell: Any, h: int, at: int) -> None:
    due, heap, where = keys(cell)[h], order(cell)[h], place(cell)[h]
    who = heap[at]
    key = due[who]
    while at > 0:
        over = (at - 1) >> 1
        other = heap[over]
        if due[other] < key or (due[other] == key and other < who):
            break
        heap[at] = other
        where[other] = at
        at = over
    heap[at] = who
    where[who] = at


@compiled
def _down(cell: Any, h: int, at: int) -> None:
    due, heap, where = keys(cell)[h], order(cell)[h], place(cell)[h]
    who = heap[at]
    key = due[who]
    size = sizes(cell)[h]
    while True:
        under = 2 * at + 1
        if under >= size:
            break
        other = heap[under]
        if under + 1 < size:
            right = heap[under + 1]
            if due[right] < due[other] or (due[right] == due[other] and right < other):
                under += 1
                other = right
        if key < due[other] or (key == due[other] and who < other):
            break
        heap[at] = other
        where[other] = at
        at = under
    heap[at] = who
    where[who] = at
