"""Priority queues whose members can be moved: the four of a cell, in one set of arrays.

Queue h holds ids, each with a key that says when it is due, as a heap in which the members below
position i stand at 4i + 1 .. 4i + 4: `keys[h, i]` and `order[h, i]` are the key and the id at i,
`place[h, id]` is where an id stands, -1 where it does not. Beyond the last member keys are inf, so
that four can always be compared; all keys of members are finite. Equal keys leave in the order of
their ids, so that what happens never depends on what happened before.

Four below each instead of two: half as many levels, and the keys of four lie in one line of the
cache (LaMarca and Ladner, The Influence of Caches on the Performance of Heaps, JEA 1, 1996). Which
of them is least is reckoned without branches, which no processor could foretell.
"""

import math
from typing import Any

import numpy as np

from profiles.fleet.kernel.jit import compiled
from profiles.fleet.kernel.state import Floats, Ints, keys, order, place, sizes


@compiled
def first_key(cell: Any, h: int) -> float:
    """The smallest key of queue h; inf for an empty one."""
    return float(keys(cell)[h, 0])


@compiled
def first(cell: Any, h: int) -> int:
    """Whose key that is; the queue is not empty."""
    return int(order(cell)[h, 0])


@compiled
def key_of(cell: Any, h: int, who: int) -> float:
    """The key of an id that is in."""
    return float(keys(cell)[h, place(cell)[h, who]])


@compiled
def put(cell: Any, h: int, who: int, key: float) -> None:
    """Enter an id, or move it to another key."""
    at = place(cell)[h, who]
    if at < 0:
        at = sizes(cell)[h]
        sizes(cell)[h] = at + 1
        _up(cell, h, at, who, key)
    elif key < keys(cell)[h, at]:
        _up(cell, h, at, who, key)
    else:
        _down(cell, h, at, who, key)


@compiled
def drop(cell: Any, h: int, who: int) -> None:
    """Take an id out, if it is in."""
    at = place(cell)[h, who]
    if at < 0:
        return
    place(cell)[h, who] = -1
    last = sizes(cell)[h] - 1
    sizes(cell)[h] = last
    moved, key = order(cell)[h, last], keys(cell)[h, last]
    keys(cell)[h, last] = math.inf
    if at == last:
        return
    _down(cell, h, at, moved, key)
    if at > 0 and place(cell)[h, moved] == at:
        _up(cell, h, at, moved, key)


@compiled
def _up(cell: Any, h: int, at: int, who: int, key: float) -> None:
    """Let an id that belongs at `at` or above find its place."""
    due, heap, where = keys(cell)[h], order(cell)[h], place(cell)[h]
    while at > 0:
        over = (at - 1) >> 2
        other_key = due[np.uint64(over)]
        if other_key < key or (other_key == key and heap[np.uint64(over)] < who):
            break
        _set(due, heap, where, at, heap[np.uint64(over)], other_key)
        at = over
    _set(due, heap, where, at, who, key)


@compiled
def _down(cell: Any, h: int, at: int, who: int, key: float) -> None:
    """Let an id that belongs at `at` or below find its place."""
    due, heap, where = keys(cell)[h], order(cell)[h], place(cell)[h]
    size = sizes(cell)[h]
    while 4 * at + 1 < size:
        under = 4 * at + 1
        k0, k1 = due[np.uint64(under)], due[np.uint64(under + 1)]
        k2, k3 = due[np.uint64(under + 2)], due[np.uint64(under + 3)]
        left, right = min(k0, k1), min(k2, k3)
        least = min(left, right)
        one, other = under + int(k1 < k0), under + 2 + int(k3 < k2)
        one += (other - one) * int(right < left)
        if k0 == k1 or k2 == k3 or left == right:
            one = _first_of_four(due, heap, under)
        if least > key or (least == key and heap[np.uint64(one)] > who):
            break
        _set(due, heap, where, at, heap[np.uint64(one)], least)
        at = one
    _set(due, heap, where, at, who, key)


@compiled
def _first_of_four(due: Floats, heap: Ints, under: int) -> int:
    """Where keys are equal: of those the least id's."""
    best = under
    for at in range(under + 1, under + 4):
        if due[at] < due[best] or (due[at] == due[best] and heap[at] < heap[best]):
            best = at
    return best


@compiled
def _set(due: Floats, heap: Ints, where: Ints, at: int, who: int, key: float) -> None:
    due[np.uint64(at)] = key
    heap[np.uint64(at)] = who
    where[np.uint64(who)] = at
