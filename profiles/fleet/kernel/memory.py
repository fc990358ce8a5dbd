"""A cell's memory: its record, the arrays whose addresses it holds, and room for more slots."""

import math
from typing import Any

import numpy as np

from profiles.fleet.kernel.histogram import BINS
from profiles.fleet.kernel.state import CELL, COLUMNS, MORE, SERVER, SLOT, Floats, Records
from profiles.schema.fleet import POLICIES, ROUTINGS, Fleet, People

SAMPLES_MAX = 4096
FIRST_SLOTS = 256
BELOW = 4  # of profiles.fleet.kernel.heap: keys behind the last
UNBOUNDED = 2**40  # times the GPUs of a cell, it still fits 64 bits


class Memory:
    """A cell's record and the arrays whose addresses it holds; all servers are off.

    Args:
        fleet: The block.
        people: What one arrival does.
        servers: GPUs of this cell.
        seed: Of this cell.
        speeds: Factors on each GPU's seconds, (servers,).
        span: duration_s, slo_s, from_s and drain_s, by name.
        rates_per_s: Arrivals/s in bins of equal width that fill the duration, (bins,).
        times_s: Arrivals in seconds, sorted; where there are any, the rates are not read.
        most_slots: Requests held at once, at most.
        cell: The record to fill, (1,), whose clock others may look at; default: its own.
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
        rates_per_s: Floats,
        times_s: Floats,
        most_slots: int,
        cell: Records | None = None,
    ) -> None:
        rows = minute_rows(span["duration_s"])
        scaling = fleet.autoscaling
        ring = 1
        if scaling is not None:
            ring = min(max(1, round(scaling.look_back_s / scaling.sample_s)), SAMPLES_MAX)
        self.cell: Records = np.zeros(1, CELL) if cell is None else cell
        self._arrays: dict[str, np.ndarray[Any, Any]] = {}
        for name, value in _rules(fleet, people, servers, span).items():
            self.cell[name] = value
        self.cell["seed"], self.cell["most_slots"] = seed, most_slots
        self.cell["minute_rows"], self.cell["ring"] = rows, ring
        images = _cumulated(people.images) if people.counts_images else ()
        steps = _cumulated(people.steps)
        for name, table in (
            ("think_s", people.think_s),
            ("patience_s", people.patience_s),
            ("go_on", people.go_on),
            ("image_mix", images),
            ("step_mix", steps),
            ("rates_per_s", rates_per_s),
            ("times_s", times_s),
        ):
            self._hold(name, np.append(np.asarray(table, np.float64), 0.0))  # never of no length
        for name, table in (
            ("thinks", people.think_s),
            ("patiences", people.patience_s),
            ("go_ons", people.go_on),
            ("image_mixes", images[::2]),
            ("step_mixes", steps[::2]),
            ("rates", rates_per_s),
            ("times", times_s),
        ):
            self.cell[name] = len(table)
        self.cell["bin_s"] = span["duration_s"] / max(1, len(rates_per_s))
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
        self._resize(2 * had, max(int(self.cell["width"][0]) - BELOW, 2 * had))
        self.cell["spare"] = had
        return True

    def _resize(self, count: int, ids: int) -> None:
        wide = ids + BELOW
        held = self._arrays.get("slots", np.zeros(0, SLOT))
        grown = np.zeros(count, SLOT)
        grown[: len(held)] = held
        stride = int(self.cell["stride"][0])
        leads = np.arange(len(held), count, stride)
        grown["after"][leads] = np.append(leads[1:], -1)
        self._hold("slots", grown)
        more = np.zeros(count, MORE)
        more[: len(held)] = self._arrays.get("more", more[:0])
        self._hold("more", more)
        for name, new in (
            ("keys", np.full((4, wide), np.inf)),
            ("order", np.zeros((4, wide), np.int64)),
            ("place", np.full((4, wide), -1, np.int64)),
        ):
            old = self._arrays.get(name, new[:, :0])
            new[:, : old.shape[1]] = old
            self._hold(name, new)
        self.cell["slot_rows"], self.cell["width"] = count, wide

    def _hold(self, name: str, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        self._arrays[name] = array
        self.cell[f"{name}_at"] = array.ctypes.data
        return array


def minute_rows(duration_s: float) -> int:
    """One a minute begun, and one for what comes after the load."""
    return math.ceil(duration_s / 60.0 - 1e-9) + 1


def stride_of(people: People) -> int:
    """Slots a person: a power of two, for the most images of a request."""
    return 1 << (max(count for count, _ in people.images) - 1).bit_length()


def _cumulated(mix: tuple[tuple[int, float], ...]) -> tuple[float, ...]:
    """Cumulative share and value, one pair after the other."""
    total, reached = sum(weight for _, weight in mix), 0.0
    told: list[float] = []
    for value, weight in mix:
        reached += weight
        told += [reached / total, float(value)]
    return tuple(told)


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
        "rate_per_s": fleet.images_per_s(people.mean_steps) / fleet.gpus,
        "mean_steps": people.mean_steps or service.steps,
        "stride": stride_of(people),
        "lead_mask": ~(stride_of(people) - 1),
        "paying_most": people.paying_images or UNBOUNDED,
        "free_most": people.free_images or UNBOUNDED,
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
    a_slot = SLOT.itemsize + MORE.itemsize + 4 * 24
    return servers * a_server + 3 * slots * a_slot + minutes * 8 * (COLUMNS + BINS)
