"""Made-up nodes whose rate is known: first come, first served, with batches, bounds and outages."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Any

import msgspec
import numpy as np

from profiles.record.columns import Recorded
from profiles.schema import LoadPlan, Outcome, RequestRecord
from profiles.stats.arrays import Floats
from tests.profiles.steady import SD15
from tests.profiles.synthetic import START_S, manifest, plan, record, recorded

STEADY = (1.0, 1.0)
VIRAL = tuple(0.12 + 0.88 * np.exp(-(((np.linspace(0, 1, 101) - 0.5) / 0.17) ** 2)))


@dataclass(frozen=True)
class Node:
    """`gpus` servers, each of which makes up to `batch` images at once."""

    gpus: int = 4
    service_s: float = 0.5  # of a batch of one ...
    slower: float = 0.0  # ... and so much longer, relatively, with each further image
    batch: int = 1
    queue_limit: int = 10**9
    spread: float = 0.0  # of the service: uniform, plus and minus
    exponential: bool = False
    outage: tuple[float, float] | None = None  # nothing is begun, and what was begun fails
    tells: bool = True  # its timings

    @property
    def images_per_s_per_gpu(self) -> float:
        """What a GPU does while a queue stands."""
        return self.batch / self._took(self.batch)

    def _took(self, images: int) -> float:
        return self.service_s * (1.0 + self.slower * (images - 1))

    def serve(self, due_s: Floats, random: np.random.Generator) -> list[RequestRecord]:
        """Every request of one image, due since the load began."""
        free = [(0.0, gpu) for gpu in range(self.gpus)]
        heapify(free)
        waiting: deque[int] = deque()
        found: list[RequestRecord] = []
        at = 0
        while at < due_s.size or waiting:
            now_s, gpu = heappop(free)
            now_s = max(now_s, float(due_s[waiting[0] if waiting else at]))
            if self.outage is not None and self.outage[0] <= now_s < self.outage[1]:
                now_s = self.outage[1]
            while at < due_s.size and due_s[at] <= now_s:
                # those that began since are no longer waiting: the queue is looked at when due
                if len(waiting) >= self.queue_limit:
                    found.append(_refused(at, float(due_s[at])))
                else:
                    waiting.append(at)
                at += 1
            taken = [waiting.popleft() for _ in range(min(self.batch, len(waiting)))]
            took = self._took(len(taken)) * (1.0 + self.spread * random.uniform(-1.0, 1.0))
            if self.exponential:
                took = random.exponential(self.service_s)
            lost = self.outage is not None and now_s < self.outage[0] < now_s + took
            took = self.outage[0] - now_s if lost and self.outage is not None else took
            found += [self._made(one, float(due_s[one]), now_s, took, lost) for one in taken]
            heappush(free, (now_s + took, gpu))
        return found

    def _made(self, seq: int, due: float, start: float, took: float, lost: bool) -> RequestRecord:
        told = self.tells and not lost
        return record(
            seq,
            scheduled_s=START_S + due,
            done_s=START_S + start + took,
            first_byte_s=None,
            outcome=Outcome.FAILED if lost else Outcome.OK,
            queue_s=start - due if told else None,
            denoise_s=took if told else None,
        )


class Split(Node):
    """A queue for each GPU, chosen at random, so that one is long while another GPU idles."""

    def serve(self, due_s: Floats, random: np.random.Generator) -> list[RequestRecord]:
        """As `Node` does, and told by which GPU."""
        free = np.zeros(self.gpus)
        found = []
        for seq, due in enumerate(due_s.tolist()):
            gpu = int(random.integers(self.gpus))
            start = max(due, float(free[gpu]))
            free[gpu] = start + self.service_s
            made = self._made(seq, due, start, self.service_s, lost=False)
            found.append(msgspec.structs.replace(made, gpu_uuid=f"GPU-{gpu}"))
        return found


def came(
    node: Node,
    demand: float,
    *,
    curve: Sequence[float] = STEADY,
    duration_s: float = 90.0,
    seed: int = 0,
    records: Sequence[RequestRecord] | None = None,
    **changes: Any,
) -> Recorded:
    """A run as it is read: Poisson arrivals on a curve that peaks at `demand` times the node.

    `records` in place of what the node answered.
    """
    due_s, load = _load(node, demand, np.array(curve), duration_s, seed)
    if records is None:
        records = node.serve(due_s, np.random.default_rng([seed, 1]))
    about = manifest(load, **({"run_id": "a-run", "target": SD15} | changes))
    return recorded(about, records)


def _load(
    node: Node, demand: float, curve: Floats, duration_s: float, seed: int
) -> tuple[Floats, LoadPlan]:
    """When requests are due since the load's start, and its plan."""
    peak = demand * node.images_per_s_per_gpu * node.gpus
    rates = peak * curve / curve.max()
    t_s = np.linspace(0.0, duration_s, curve.size)
    area = np.concatenate(([0.0], np.cumsum(np.diff(t_s) * (rates[1:] + rates[:-1]) / 2)))
    random = np.random.default_rng([seed, 0])
    marks = np.sort(random.uniform(0.0, area[-1], random.poisson(area[-1])))
    due_s = np.interp(marks, area, t_s)
    load = plan(
        due_s.size, duration_s, arrivals="poisson", peak_images_per_s=peak,
        mean_images_per_s=float(area[-1]) / duration_s, curve_t_s=t_s.tolist(),
        curve_images_per_s=rates.tolist(),
    )  # fmt: skip
    return due_s, load


def _refused(seq: int, due: float) -> RequestRecord:
    return record(
        seq, scheduled_s=START_S + due, done_s=START_S + due + 0.004, first_byte_s=None,
        outcome=Outcome.REJECTED, status=429,
    )  # fmt: skip
