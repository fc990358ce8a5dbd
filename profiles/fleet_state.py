"""One cell as a record: its rules, its counts, and the addresses of its arrays.

The kernel hands on nothing but this record, by reference; `servers(cell)` and its like give the
arrays behind it. `Memory` owns them, and makes room for more slots when the kernel asks.

`servers` has one row more than there are servers, number `cell.servers`: the cell's central line.
All whole numbers are of 64 bits: of every mix of widths numba would compile a kernel of its own.
A *slot* holds one person from arrival until they are through, with the request they now want.
"""

import math
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from profiles.fleet_compile import carray, compiled, pointer
from profiles.fleet_latency import BINS
from profiles.fleet_values import POLICIES, ROUTINGS, Fleet, People

Records: TypeAlias = np.ndarray[tuple[int], np.dtype[Any]]  # structured: rows by field name
Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]

NONE, REQUEST, STEP = range(3)  # policy
RANDOM, ROUND_ROBIN, TWO, CENTRAL, LEAST = range(5)  # routing
NEVER, AT_ONCE, BACKOFF = range(3)  # retry
OFF, STARTING, UP, DRAINING, DOWN = range(5)  # a server's phase
RESTING, WAITING, RUNNING, TAIL = range(4)  # a slot's phase
WORK, LIFE, TIMERS, ROOM = range(4)  # queues of profiles.fleet_heap
FREE, PAYING = range(2)
OK, REJECTED, FAILED, TIMEOUT, ABANDONED, UNSENT = range(6)  # in the order of schema.Outcome
# Columns of `minutes`: the six outcomes, then these.
OFFERED, ATTEMPTS, REFUSED, DONE, GOOD, FLIGHT_S, UP_S, BUSY_S, IMAGES_S = range(6, 15)
COLUMNS = 15
RETRY_AFTER_MOST_S = 600.0  # serve.admission.RETRY_AFTER_MAX_S

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
        *((name, "f8") for name in ("repair_most_s",)),
        ("seed", "u8"),
        # how things stand
        *((name, "i8") for name in ("people", "flight", "up", "starting", "busy", "images")),
        *((name, "i8") for name in ("used", "spare", "routed", "turn", "jitters", "colds")),
        *((name, "i8") for name in ("failures", "target", "direction", "sampled")),
        *((name, "f8") for name in ("clock_s", "next_control_s", "next_sample_s", "next_report_s")),
        *((name, "f8") for name in ("next_failure_s", "since_s", "ongoing")),
        # of what was due from `from_s` on:
        *((name, "f8") for name in ("waits", "wait_s", "waited", "oks", "latency_s", "flight_s")),
        ("arrival_s", "f8"),
        ("row", "i8"),  # of the minute that clock_s is in ...
        ("row_end_s", "f8"),  # ... and its end
        # the arrays: where they are, and how long
        *((f"{name}_at", "i8") for name in ("servers", "slots", "running", "alive", "keys")),
        *((f"{name}_at", "i8") for name in ("order", "place", "sizes", "minutes", "latency")),
        *((f"{name}_at", "i8") for name in ("samples", "scratch", "think_s", "patience_s")),
        *((f"{name}_at", "i8") for name in ("go_on",)),
        *((name, "i8") for name in ("slot_rows", "width", "minute_rows", "ring")),
        *((name, "i8") for name in ("thinks", "patiences", "go_ons")),
    ]
)
SERVER = np.dtype(
    [
        *((name, "f8") for name in ("speed", "began_s", "step_s")),
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
SAMPLES_MOST = 4096
FIRST_SLOTS = 256
UNBOUNDED = 2**40  # times the GPUs of a cell, it still fits 64 bits


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
def running(cell: Any) -> Any:
    """Slots in each server's batch, (servers, limit); -1 where the client has hung up."""
    return carray(pointer(cell.running_at), (cell.servers, cell.limit), INT64)


@compiled
def alive(cell: Any) -> Any:
    """(servers,): the first `cell.up` are those that take requests."""
    return carray(pointer(cell.alive_at), (cell.servers,), INT64)


@compiled
def keys(cell: Any) -> Any:
    """Of profiles.fleet_heap, (4, width)."""
    return carray(pointer(cell.keys_at), (4, cell.width), FLOAT64)


@compiled
def order(cell: Any) -> Any:
    """Of profiles.fleet_heap, (4, width)."""
    return carray(pointer(cell.order_at), (4, cell.width), INT64)


@compiled
def place(cell: Any) -> Any:
    """Of profiles.fleet_heap, (4, width)."""
    return carray(pointer(cell.place_at), (4, cell.width), INT64)


@compiled
def sizes(cell: Any) -> Any:
    """Of profiles.fleet_heap, (4,)."""
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


class Memory:
    """A cell's record and the arrays whose addresses it holds; all servers are off.

    Args:
        fleet: The block.
        people: What one arrival does.
        servers: GPUs of this cell.
        seed: Of this cell.
        speeds: Factors on each GPU's seconds, (servers,).
        span: duration_s, slo_s, from_s and drain_s, by name.
        most_slots: Requests held at once, at most.
    """

    def __init__(
        self,
        fleet: Fleet,
        people: People,
        *,
        servers: int,
        seed: np.uint64,
        speeds: Floats,
        span: dict[str, float],
        most_slots: int,
    ) -> None:
        rows = minute_rows(span["duration_s"])
        scaling = fleet.autoscaling
        ring = 1
        if scaling is not None:
            ring = min(max(1, round(scaling.look_back_s / scaling.sample_s)), SAMPLES_MOST)
        self.cell: Records = np.zeros(1, CELL)
        self._arrays: dict[str, np.ndarray[Any, Any]] = {}
        for name, value in _rules(fleet, people, servers, span).items():
            self.cell[name] = value
        self.cell["seed"], self.cell["most_slots"] = seed, most_slots
        self.cell["minute_rows"], self.cell["ring"] = rows, ring
        for name, table in (
            ("think_s", people.think_s),
            ("patience_s", people.patience_s),
            ("go_on", people.go_on),
        ):
            self._hold(name, np.array([*table, 0.0]))  # an address even where there are none
        self.cell["thinks"], self.cell["patiences"], self.cell["go_ons"] = (
            len(people.think_s),
            len(people.patience_s),
            len(people.go_on),
        )
        rows_of_servers = np.zeros(servers + 1, SERVER)
        rows_of_servers["speed"][:servers] = speeds
        for name in ("first_free", "first_paying", "last_free", "last_paying", "place"):
            rows_of_servers[name] = -1
        self._hold("servers", rows_of_servers)
        self._hold("running", np.full((servers, fleet.batch_limit), -1, np.int64))
        self._hold("alive", np.zeros(servers, np.int64))
        self._hold("scratch", np.zeros(fleet.batch_limit, np.int64))
        self._hold("samples", np.zeros(ring))
        self._hold("sizes", np.zeros(4, np.int64))
        self.minutes = self._hold("minutes", np.zeros((rows, COLUMNS)))
        self.latency = self._hold("latency", np.zeros((rows, BINS), np.int64))
        self._resize(FIRST_SLOTS, max(servers + 1, FIRST_SLOTS))
        self.cell["spare"] = 0

    def grow(self) -> bool:
        """Twice the slots, all the new ones spare; False where that would be too many."""
        had = len(self._arrays["slots"])
        if 2 * had > self.cell["most_slots"][0]:
            return False
        self._resize(2 * had, max(int(self.cell["width"][0]), 2 * had))
        self.cell["spare"] = had
        return True

    def _resize(self, count: int, width: int) -> None:
        held = self._arrays.get("slots", np.zeros(0, SLOT))
        grown = np.zeros(count, SLOT)
        grown[: len(held)] = held
        grown["after"][len(held) :] = np.append(np.arange(len(held) + 1, count), -1)
        self._hold("slots", grown)
        for name, new in (
            ("keys", np.zeros((4, width))),
            ("order", np.zeros((4, width), np.int64)),
            ("place", np.full((4, width), -1, np.int64)),
        ):
            old = self._arrays.get(name, new[:, :0])
            new[:, : old.shape[1]] = old
            self._hold(name, new)
        self.cell["slot_rows"], self.cell["width"] = count, width

    def _hold(self, name: str, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        self._arrays[name] = array
        self.cell[f"{name}_at"] = array.ctypes.data
        return array


def minute_rows(duration_s: float) -> int:
    """One a minute begun, and one for what comes after the load."""
    return math.ceil(duration_s / 60.0 - 1e-9) + 1


def _rules(
    fleet: Fleet,
    people: People,
    servers: int,
    span: dict[str, float],
) -> dict[str, float]:
    """Fleet and people as the record's fields."""
    service, scaling, failures = fleet.service, fleet.autoscaling, fleet.failures
    told: dict[str, float] = {
        "servers": servers,
        "policy": POLICIES.index(fleet.policy),
        "routing": ROUTINGS.index(fleet.routing),
        "central": fleet.routing == "central",
        "limit": fleet.batch_limit,
        "steps": service.steps,
        "exponential": service.spread == "exponential",
        "base_s": service.step_base_s,
        "image_s": service.step_image_s,
        "tail_s": service.tail_s,
        "rate_per_s": fleet.capacity_images_per_s / fleet.gpus,
        "max_queue": UNBOUNDED if fleet.max_queue is None else fleet.max_queue,
        "deadline_s": fleet.deadline_s or np.inf,
        "load_least_s": fleet.load_least_s,
        "load_most_s": fleet.load_most_s,
        "load_end_s": span["duration_s"],
        "slo_s": span["slo_s"],
        "from_s": span["from_s"],
        "stop_s": span["duration_s"] + span["drain_s"],
        "timeout_s": people.timeout_s or np.inf,
        "first_s": people.first_s,
        "cap_s": people.cap_s,
        "paying_share": people.paying_share,
        "retry": ("none", "immediate", "backoff").index(people.retry),
        "most_attempts": people.most_attempts,
        "scales": scaling is not None,
        "fails": failures is not None,
    }
    if scaling is not None:
        told |= {
            "target_ongoing": scaling.target_ongoing_requests,
            "up_delay_s": scaling.upscale_delay_s,
            "down_delay_s": scaling.downscale_delay_s,
            "up_factor": scaling.upscaling_factor,
            "down_factor": scaling.downscaling_factor,
            "control_s": scaling.control_s,
            "sample_s": scaling.sample_s,
            "report_s": scaling.metrics_interval_s,
            "least": min(scaling.least, servers),
            "most": min(scaling.most or servers, servers),
        }
    if failures is not None:
        told |= {
            "failures_per_s": servers / (failures.gpu_hours_each * 3600.0),
            "node": failures.node_gpus,
            "rack": failures.rack_gpus,
            "rack_share": failures.rack_share,
            "repair_least_s": failures.repair_least_s,
            "repair_most_s": failures.repair_most_s,
        }
    return told


def cell_bytes(servers: int, limit: int, slots: int, minutes: int) -> int:
    """Memory of a cell with so many slots, at its growth: old and new slots together."""
    a_server = SERVER.itemsize + 8 * limit + 8 + 4 * 24
    a_slot = SLOT.itemsize + 4 * 24
    return servers * a_server + 3 * slots * a_slot + minutes * 8 * (COLUMNS + BINS)
