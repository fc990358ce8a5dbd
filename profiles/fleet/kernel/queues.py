"""The line before a server, or before all of them: paying before free, first come first served."""

from typing import Any

from profiles.fleet.kernel.jit import compiled
from profiles.fleet.kernel.state import WAITING, servers, slots


@compiled
def join_line(cell: Any, line: int, slot: int) -> None:
    """Stand at the end of the class."""
    person, server = slots(cell)[slot], servers(cell)[line]
    last = server.last_paying if person.paying else server.last_free
    person.before, person.after = last, -1
    if last >= 0:
        slots(cell)[last].after = slot
    elif person.paying:
        server.first_paying = slot
    else:
        server.first_free = slot
    if person.paying:
        server.last_paying = slot
    else:
        server.last_free = slot
    person.phase = WAITING
    person.server = line
    server.waiting += 1


@compiled
def leave_line(cell: Any, line: int, slot: int) -> None:
    """Step out of the line, from anywhere in it."""
    person, server = slots(cell)[slot], servers(cell)[line]
    if person.before >= 0:
        slots(cell)[person.before].after = person.after
    elif person.paying:
        server.first_paying = person.after
    else:
        server.first_free = person.after
    if person.after >= 0:
        slots(cell)[person.after].before = person.before
    elif person.paying:
        server.last_paying = person.before
    else:
        server.last_free = person.before
    server.waiting -= 1


@compiled
def count_on(cell: Any, t_s: float, s: int, more: int) -> None:
    """A server (or the line) has `more` requests than before, negative for fewer."""
    server = servers(cell)[s]
    server.ongoing += more
    server.changed_s = t_s


@compiled
def line_of(cell: Any, s: int) -> int:
    """Where a server takes its next images from."""
    return int(cell.servers) if cell.central else s


@compiled
def companion(cell: Any, slot: int, first_free: int, beside: int) -> int:
    """The first in line from `slot` on with as many steps as `beside`; -1 for none."""
    is_free = slot == first_free
    while slot >= 0 and slots(cell)[slot].work != slots(cell)[beside].work:
        slot = slots(cell)[slot].after
        if slot < 0 and not is_free:
            slot, is_free = first_free, True
    return slot
