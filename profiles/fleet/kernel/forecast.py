"""When a server would have done one request more, by its own rule (`serve.engine.forecast`)."""

from typing import Any

from profiles.fleet.kernel.heap import key_of
from profiles.fleet.kernel.jit import compiled
from profiles.fleet.kernel.server import boundary_s, step_s
from profiles.fleet.kernel.state import (
    PAYING,
    STEP,
    WORK,
    images_of,
    running,
    scratch,
    servers,
    slots,
)


@compiled
def forecast_s(cell: Any, t_s: float, s: int, slot: int) -> float:
    """Seconds from now until server s would have done one request more, by its own rule."""
    server, person = servers(cell)[s], slots(cell)[slot]
    ahead = server.waiting
    if person.paying == PAYING:
        ahead, waits = 0, server.first_paying
        while waits >= 0:
            ahead += 1
            waits = slots(cell)[waits].after
    ahead += images_of(cell, slot) - 1  # the last of its images
    if cell.policy == STEP:
        return float(_played_s(cell, t_s, s, ahead, slot) + server.speed * cell.tail_s)
    left_s = key_of(cell, WORK, s) - t_s if server.running > 0 else 0.0
    full_s = cell.tail_s + cell.mean_steps * step_s(cell, cell.limit)
    own_s = cell.tail_s + _steps(cell, slot) * step_s(cell, ahead % cell.limit + 1)
    return float(left_s + server.speed * (ahead // cell.limit * full_s + own_s))


@compiled
def _steps(cell: Any, slot: int) -> int:
    """Denoising steps of a request's images."""
    return int(slots(cell)[slot].work if cell.step_mixes > 0 else cell.steps)


@compiled
def _played_s(cell: Any, t_s: float, s: int, ahead: int, slot: int) -> float:
    """Seconds until an image behind `ahead` others has had its steps (serve.engine.forecast).

    It is of the request in `slot`, whose other images are the last of those ahead.
    """
    waits = servers(cell)[s].first_paying
    if waits < 0:
        waits = servers(cell)[s].first_free
    server = servers(cell)[s]
    now_s, n = 0.0, 0
    if server.running > 0:
        stop_s = boundary_s(cell, t_s, s)
        steps = round((stop_s - server.began_s) / server.step_s)
        now_s = stop_s - t_s
        for i in range(server.running):
            image = running(cell)[s, i]
            if image >= 0 and slots(cell)[image].left > steps:
                scratch(cell)[n] = slots(cell)[image].left - steps
                n += 1
    own = -1  # steps left; not joined yet
    while own != 0:
        while n < cell.limit and ahead > 0:
            is_own = ahead < images_of(cell, slot)
            scratch(cell)[n] = _steps(cell, slot if is_own else waits)
            if cell.step_mixes > 0 and not is_own:
                waits = _behind(cell, s, waits)
            n += 1
            ahead -= 1
        joins = own < 0 and n < cell.limit
        own = _steps(cell, slot) if joins else own
        least = own if own > 0 else scratch(cell)[0]
        for i in range(n):
            least = min(least, scratch(cell)[i])
        now_s += least * server.speed * step_s(cell, n + (1 if own > 0 else 0))
        kept = 0
        for i in range(n):
            if scratch(cell)[i] > least:
                scratch(cell)[kept] = scratch(cell)[i] - least
                kept += 1
        n = kept
        own = own - least if own > 0 else own
    return now_s


@compiled
def _behind(cell: Any, s: int, slot: int) -> int:
    """Who stands next in line; paying before free."""
    after = slots(cell)[slot].after
    if after < 0 and slots(cell)[slot].paying == PAYING:
        after = servers(cell)[s].first_free
    return int(after)
