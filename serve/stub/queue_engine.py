"""The stub as a textbook queue, M/G/c under Poisson arrivals: its capacity is known from theory.

One line, first come first served, before so many servers; each image takes one of them for a time
drawn by seed. When an image is done follows from when it came (Kiefer and Wolfowitz, Trans. AMS 78,
1955: it starts when the first server is free), so a late wake-up makes its own answer late and
nobody else's: the servers lose no time to the event loop.
"""

import asyncio
import heapq
from collections.abc import Callable
from typing import Literal

import numpy as np

from serve.engine.admission import ServiceRate, admit_by_count
from serve.engine.request import Order
from serve.engine.ticket import RefusedError, Ticket

ServiceTime = Literal["fixed", "exponential"]
DRAWS = 4096  # at a time


class Counter:
    """So many servers behind one line; pure.

    Args:
        servers: How many.
        draw: The next service time in seconds.
    """

    def __init__(self, servers: int, draw: Callable[[], float]) -> None:
        self._free_s = [0.0] * servers
        self._draw = draw

    def take(self, now_s: float) -> tuple[float, float]:
        """When an image that comes now starts and ends; calls come in the order of time."""
        start_s = max(now_s, self._free_s[0])
        end_s = start_s + self._draw()
        heapq.heapreplace(self._free_s, end_s)
        return start_s, end_s


def service_times(kind: ServiceTime, mean_s: float, seed: int) -> Callable[[], float]:
    """Draws of a service time with that mean: always the mean, or exponential."""
    if kind == "fixed":
        return lambda: mean_s
    rng = np.random.Generator(np.random.PCG64(seed))
    drawn: list[float] = []

    def draw() -> float:
        if not drawn:
            drawn.extend(rng.exponential(mean_s, DRAWS).tolist())
        return drawn.pop()

    return draw


class QueueEngine:
    """An engine that answers each image when its server is done.

    Args:
        counter: The servers.
        mean_s: Of a service time, for Retry-After.
        servers: How many.
        max_queue: Most images that wait.
        clock: Monotonic seconds.
        on_batch: Told of every image done: one, and how many wait.
    """

    failures_in_a_row = 0

    def __init__(
        self,
        counter: Counter,
        *,
        mean_s: float,
        servers: int,
        max_queue: int,
        clock: Callable[[], float],
        on_batch: Callable[[int, int], None] = lambda images, waiting: None,
    ) -> None:
        self._counter = counter
        self._max_queue = max_queue
        self._clock = clock
        self._on_batch = on_batch
        self._starts_s: list[float] = []  # of the images that wait, or did
        self._timers: set[asyncio.Task[None]] = set()
        self.rate = ServiceRate()
        self.rate.observe(servers, max(mean_s, 1e-6))

    @property
    def waiting(self) -> int:
        """Images whose server is not free yet."""
        now_s = self._clock()
        while self._starts_s and self._starts_s[0] <= now_s:
            heapq.heappop(self._starts_s)
        return len(self._starts_s)

    async def enter(self, order: Order) -> Ticket[Literal["prepared"]]:
        """Take an order on.

        Raises:
            RefusedError: The line has no room; nothing was queued.
        """
        refusal = admit_by_count(
            len(order.rows),
            waiting=self.waiting,
            max_queue=self._max_queue,
            images_per_s=self.rate.images_per_s,
        )
        if refusal is not None:
            raise RefusedError(refusal)
        now_s = self._clock()
        ticket: Ticket[Literal["prepared"]] = Ticket(order, now_s)
        for index in range(len(order.rows)):
            start_s, end_s = self._counter.take(now_s)
            heapq.heappush(self._starts_s, start_s)
            timer = asyncio.create_task(self._answer(ticket, index, start_s, end_s))
            self._timers.add(timer)
            timer.add_done_callback(self._timers.discard)
        return ticket

    async def run(self) -> None:
        """Nothing to do: what is taken ends by itself."""
        await asyncio.Event().wait()

    async def _answer(
        self, ticket: Ticket[Literal["prepared"]], index: int, start_s: float, end_s: float
    ) -> None:
        await asyncio.sleep(max(0.0, end_s - self._clock()))
        ticket.denoise_s = max(ticket.denoise_s, end_s - start_s)
        ticket.steps += 1
        ticket.batch_steps += 1
        ticket.add(index, "prepared", self._clock())
        self._on_batch(1, self.waiting)
