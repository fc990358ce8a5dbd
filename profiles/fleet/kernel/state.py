"""One cell as a record: its rules, its counts, and the addresses of its arrays.

The kernel hands on nothing but this record, by reference; `servers(cell)` and its like give the
arrays behind it. `profiles.fleet.kernel.memory` owns them, and makes room for more slots when
asked.

`servers` has one row more than there are servers, number `cell.servers`: the cell's central line.
All whole numbers are of 64 bits: of every mix of widths numba would compile a kernel of its own.
A *slot* holds one person from arrival until they are through, with the request they now want. Where
a request is of several images, a person has `stride` slots, a power of two: the first, the *lead*,
is also that of the first image, the others are the other images'; `slot & lead_mask` is the lead.
"""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from profiles.fleet.kernel.histogram import BINS
from profiles.fleet.kernel.jit import carray, compiled, pointer

Records: TypeAlias = np.ndarray[tuple[int], np.dtype[Any]]  # structured: rows by field name
Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]

NONE, REQUEST, STEP = range(3)  # policy
RANDOM, ROUND_ROBIN, TWO, CENTRAL, LEAST = range(5)  # routing
NEVER, AT_ONCE, BACKOFF = range(3)  # retry
OFF, STARTING, UP, DRAINING, DOWN = range(5)  # a server's phase
RESTING, WAITING, RUNNING, TAIL, OVER = range(5)  # a slot's phase
WORK, LIFE, TIMERS, ROOM = range(4)  # queues of profiles.fleet.kernel.heap
FREE, PAYING = range(2)
OK, REJECTED, FAILED, TIMEOUT, ABANDONED, UNSENT = range(6)  # in the order of schema.Outcome
# Columns of `minutes`: the six outcomes, then these.
OFFERED, ATTEMPTS, REFUSED, DONE, GOOD, FLIGHT_S, UP_S, BUSY_S, IMAGES_S = range(6, 15)
# Four of them in images; kept only where requests differ in their images.
OFFERED_IMAGES, TRIED_IMAGES, DONE_IMAGES, GOOD_IMAGES = range(15, 19)
COLUMNS = 19
RETRY_AFTER_MAX_S = 600.0  # serve.engine.admission.RETRY_AFTER_MAX_S

CELL = np.dtype(
    [
        # the rules
        *((name, "i8") for name in ("servers", "policy", "routing", "limit", "steps", "max_queue")),
        *((name, "i8") for name in ("exponential", "central", "scales", "fails")),
        *((name, "f8") for name in ("base_s", "image_s", "tail_s", "deadline_s", "rate_per_s")),
        *((name, "f8") for name in ("load_least_s", "load_most_s", "load_end_s", "slo_s")),
        *((name, "f8") for name in ("from_s", "stop_s", "timeout_s", "first_s", "cap_s")),
        *((name, "f8") for name in ("paying_share",)),
        *((name, "i8") for name in ("retry", "most_attempts")),
        *((name, "f8") for name in ("target_ongoing", "up_delay_s", "down_delay_s")),
        *((name, "f8") for name in ("up_factor", "down_factor", "control_s", "sample_s")),
        *((name, "f8") for name in ("report_s",)),
        *((name, "i8") for name in ("least", "most", "node", "rack", "most_slots")),
        *((name, "f8") for name in ("failures_per_s", "rack_share", "repair_least_s")),
        *((name, "f8") for name in ("repair_most_s", "mean_steps")),
        *((name, "i8") for name in ("stride", "lead_mask", "paying_most", "free_most")),
        ("seed", "u8"),
        # how things stand
        *((name, "i8") for name in ("people", "flight", "up", "starting", "busy", "images")),
        *((name, "i8") for name in ("used", "spare", "routed", "turn", "jitters", "colds")),
        *((name, "i8") for name in ("failures", "target", "direction", "sampled")),
        *((name, "f8") for name in ("clock_s", "next_control_s", "next_sample_s", "next_report_s")),
        *((name, "f8") for name in ("next_failure_s", "since_s", "ongoing")),
        # of what was due from `from_s` on:
        *((name, "f8") for name in ("waits", "wait_s", "waited", "oks", "latency_s", "flight_s")),
        *((name, "f8") for name in ("paying_requests", "paying_good")),
        ("arrival_s", "f8"),
        ("row", "i8"),  # of the minute that clock_s is in ...
        ("row_end_s", "f8"),  # ... and its end
        # the arrays: where they are, and how long
        *((f"{name}_at", "i8") for name in ("servers", "slots", "running", "alive", "keys")),
        *((f"{name}_at", "i8") for name in ("order", "place", "sizes", "minutes", "latency")),
        *((f"{name}_at", "i8") for name in ("samples", "scratch", "think_s", "patience_s")),
        *((f"{name}_at", "i8") for name in ("go_on", "rates_per_s", "times_s")),
        *((f"{name}_at", "i8") for name in ("image_mix", "step_mix", "more")),
        *((name, "i8") for name in ("slot_rows", "width", "minute_rows", "ring")),
        *((name, "i8") for name in ("thinks", "patiences", "go_ons", "rates", "times")),
        *((name, "i8") for name in ("image_mixes", "step_mixes")),
        *((name, "f8") for name in ("bin_s",)),  # of rates_per_s
        *((name, "i8") for name in ("bin",)),  # that the next arrival is in
    ]
)
SERVER = np.dtype(
    [
        *((name, "f8") for name in ("speed", "began_s", "step_s", "changed_s")),
        *((name, "i8") for name in ("waiting", "running", "ongoing", "claimed", "phase", "place")),
        *((name, "i8") for name in ("first_free", "first_paying", "last_free", "last_paying")),
    ]
)
SLOT = np.dtype(
    [
        *((name, "f8") for name in ("wanted_s", "sent_s", "expires_s", "until_s", "patience_s")),
        *((name, "f8") for name in ("work",)),
        ("person", "i8"),
        *((name, "i8") for name in ("wish", "attempt", "left", "server", "before", "after", "row")),
        *((name, "i8") for name in ("phase", "paying")),
    ],
)


# More of a slot, apart, so that a simple request's stays small: read and written only where
# requests differ in images, or people go on (ideal_s).
MORE = np.dtype(
    [
        *((name, "i8") for name in ("images", "pending", "had")),
        *((name, "f8") for name in ("ideal_s", "done_s")),
    ]
)
INT64, FLOAT64 = np.dtype(np.int64), np.dtype(np.float64)


@compiled
def servers(cell: Any) -> Any:
    """Of SERVER, shape (servers + 1,)."""
    return carray(pointer(cell.servers_at), (cell.servers + 1,), SERVER)


@compiled
def slots(cell: Any) -> Any:
    """Of SLOT, shape (slot_rows,)."""
    return carray(pointer(cell.slots_at), (cell.slot_rows,), SLOT)


@compiled
def more_of(cell: Any) -> Any:
    """Of MORE, shape (slot_rows,)."""
    return carray(pointer(cell.more_at), (cell.slot_rows,), MORE)


@compiled
def images_of(cell: Any, slot: int) -> int:
    """Images of the request in a slot."""
    return int(more_of(cell)[slot].images) if cell.stride > 1 else 1


@compiled
def running(cell: Any) -> Any:
    """Slots in each server's batch, (servers, limit); -1 where the client has hung up."""
    return carray(pointer(cell.running_at), (cell.servers, cell.limit), INT64)


@compiled
def alive(cell: Any) -> Any:
    """(servers,): the first `cell.up` are those that take requests."""
    return carray(pointer(cell.alive_at), (cell.servers,), INT64)


@compiled
def keys(cell: Any) -> Any:
    """Of profiles.fleet.kernel.heap, (4, width)."""
    return carray(pointer(cell.keys_at), (4, cell.width), FLOAT64)


@compiled
def order(cell: Any) -> Any:
    """Of profiles.fleet.kernel.heap, (4, width)."""
    return carray(pointer(cell.order_at), (4, cell.width), INT64)


@compiled
def place(cell: Any) -> Any:
    """Of profiles.fleet.kernel.heap, (4, width)."""
    return carray(pointer(cell.place_at), (4, cell.width), INT64)


@compiled
def sizes(cell: Any) -> Any:
    """Of profiles.fleet.kernel.heap, (4,)."""
    return carray(pointer(cell.sizes_at), (4,), INT64)


@compiled
def minutes(cell: Any) -> Any:
    """(minute_rows, COLUMNS); the last row is what came after the load."""
    return carray(pointer(cell.minutes_at), (cell.minute_rows, COLUMNS), FLOAT64)


@compiled
def latency(cell: Any) -> Any:
    """(minute_rows, BINS), by the minute a request was due."""
    return carray(pointer(cell.latency_at), (cell.minute_rows, BINS), INT64)


@compiled
def samples(cell: Any) -> Any:
    """The autoscaler's ring of ongoing requests, (ring,)."""
    return carray(pointer(cell.samples_at), (cell.ring,), FLOAT64)


@compiled
def scratch(cell: Any) -> Any:
    """Room for a forecast, (limit,)."""
    return carray(pointer(cell.scratch_at), (cell.limit,), INT64)


@compiled
def think_s(cell: Any) -> Any:
    """Quantiles, (thinks,)."""
    return carray(pointer(cell.think_s_at), (cell.thinks,), FLOAT64)


@compiled
def patience_s(cell: Any) -> Any:
    """Quantiles, (patiences,)."""
    return carray(pointer(cell.patience_s_at), (cell.patiences,), FLOAT64)


@compiled
def go_on(cell: Any) -> Any:
    """Probabilities, (go_ons,)."""
    return carray(pointer(cell.go_on_at), (cell.go_ons,), FLOAT64)


@compiled
def rates_per_s(cell: Any) -> Any:
    """Arrivals/s in each bin of `cell.bin_s`, (rates,)."""
    return carray(pointer(cell.rates_per_s_at), (cell.rates,), FLOAT64)


@compiled
def times_s(cell: Any) -> Any:
    """The arrivals, sorted, (times,); where there are any, the rates are not read."""
    return carray(pointer(cell.times_s_at), (cell.times,), FLOAT64)


@compiled
def image_mix(cell: Any) -> Any:
    """Images a request: rows of cumulative share and count, (image_mixes, 2)."""
    return carray(pointer(cell.image_mix_at), (cell.image_mixes, 2), FLOAT64)


@compiled
def step_mix(cell: Any) -> Any:
    """Steps of a request: rows of cumulative share and count, (step_mixes, 2)."""
    return carray(pointer(cell.step_mix_at), (cell.step_mixes, 2), FLOAT64)


@compiled
def lead_of(cell: Any, slot: int) -> int:
    """The lead of an image's slot."""
    return int(slot & cell.lead_mask)
