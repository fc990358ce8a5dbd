"""The baselines: policies that hold a whole batch from its first step to its last.

none
    the stock pipeline, an image at a time: batches of one
request
    whole-loop batches: rows of the same recipe start and end together

`Queue` is the pure part: it takes the time as an argument and knows neither torch nor asyncio.
Paying rows stand before free ones. There is no admission by deadline: the bound alone refuses.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

import msgspec

from serve.engine.admission import ServiceRate, admit_by_count
from serve.engine.priority_queue import Line
from serve.engine.request import Generated, Image, Model, Order, Priority, Recipe, Row
from serve.engine.ticket import RefusedError, Ticket

Owner = TypeVar("Owner")


class Waiting(msgspec.Struct, Generic[Owner], frozen=True):
    """A row in the queue; the owner says whose it is, the index which of its rows."""

    owner: Owner
    index: int
    recipe: Recipe
    row: Row
    priority: Priority
    arrived_s: float


class Queue(Generic[Owner]):
    """First come, first served in each class; rows of the first one's recipe ride along."""

    def __init__(self, *, batch_limit: int, max_wait_s: float) -> None:
        self._batch_limit = batch_limit
        self._max_wait_s = max_wait_s
        self._line: Line[Waiting[Owner]] = Line()

    def __len__(self) -> int:
        return len(self._line)

    def put(
        self,
        owner: Owner,
        recipe: Recipe,
        rows: Sequence[Row],
        now_s: float,
        priority: Priority = "paying",
    ) -> None:
        """Append a request's rows."""
        self._line.put(
            Waiting(owner, index, recipe, row, priority, now_s) for index, row in enumerate(rows)
        )

    def drop(self, is_over: Callable[[Owner], bool]) -> None:
        """Drop the rows that have not started of every owner who is over."""
        self._line.keep(lambda waiting: not is_over(waiting.owner))

    def due_in_s(self, now_s: float) -> float | None:
        """Seconds until a batch should start: 0 now, None when nothing waits."""
        first = next(iter(self._line), None)
        if first is None:
            return None
        if sum(1 for _ in self._companions(first)) >= self._batch_limit:
            return 0.0
        return max(0.0, first.arrived_s + self._max_wait_s - now_s)

    def take(self) -> list[Waiting[Owner]]:
        """Remove and return the next batch: the first row and its companions, oldest first."""
        batch = list(self._companions(next(iter(self._line))))
        taken = set(map(id, batch))
        self._line.keep(lambda waiting: id(waiting) not in taken)
        return batch

    def _companions(self, first: Waiting[Owner]) -> Iterator[Waiting[Owner]]:
        same = (waiting for waiting in self._line if waiting.recipe == first.recipe)
        return itertools.islice(same, self._batch_limit)


class BatchEngine(Generic[Image]):
    """Runs orders on one model, a whole batch at a time.

    Args:
        model: What denoises and encodes.
        batch_limit: Most images in one denoising loop.
        max_wait_s: Longest an image waits for companions on an idle replica.
        max_queue: Most images waiting.
        clock: Monotonic seconds.
        on_batch: Told of every finished batch's images and of how many wait.

    Attributes:
        failures_in_a_row: Batches that raised since one last went well.
    """

    def __init__(
        self,
        model: Model[Image],
        *,
        batch_limit: int,
        max_wait_s: float,
        max_queue: int,
        clock: Callable[[], float],
        on_batch: Callable[[int, int], None] = lambda images, waiting: None,
    ) -> None:
        self._model = model
        self._max_queue = max_queue
        self._clock = clock
        self._on_batch = on_batch
        self._queue: Queue[Ticket[Image]] = Queue(batch_limit=batch_limit, max_wait_s=max_wait_s)
        self._arrival = asyncio.Event()
        self.rate = ServiceRate()
        self.failures_in_a_row = 0

    @property
    def waiting(self) -> int:
        """Images in the queue that have not started."""
        return len(self._queue)

    async def enter(self, order: Order) -> Ticket[Image]:
        """Take an order on.

        Raises:
            RefusedError: The queue has no room; nothing was queued.
        """
        self._queue.drop(lambda ticket: ticket.is_over)
        refusal = admit_by_count(
            len(order.rows),
            waiting=self.waiting,
            max_queue=self._max_queue,
            images_per_s=self.rate.images_per_s,
        )
        if refusal is not None:
            raise RefusedError(refusal)
        ticket: Ticket[Image] = Ticket(order, self._clock())
        self._queue.put(ticket, order.recipe, order.rows, ticket.arrived_s, order.priority)
        self._arrival.set()
        return ticket

    async def run(self) -> None:
        """The loop: form a batch, denoise it, hand its images out; for ever."""
        while True:
            self._queue.drop(lambda ticket: ticket.is_over)
            due_in_s = self._queue.due_in_s(self._clock())
            if due_in_s == 0.0:
                await self._generate(self._queue.take())
                continue
            self._arrival.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._arrival.wait(), due_in_s)

    async def _generate(self, waiting: list[Waiting[Ticket[Image]]]) -> None:
        started_s = self._clock()
        try:
            made = await self._model.generate(waiting[0].recipe, [w.row for w in waiting])
        except Exception as err:  # noqa: BLE001 - the requests fail, the replica lives on
            self.failures_in_a_row += 1
            for each in waiting:
                each.owner.fail(err)
            return
        self.failures_in_a_row = 0
        now_s = self._clock()
        self.rate.observe(len(waiting), now_s - started_s)
        self._on_batch(len(waiting), self.waiting)
        for ticket in {id(each.owner): each.owner for each in waiting}.values():
            _note(ticket, made, len(waiting))
        for each, image in zip(waiting, made.images, strict=True):
            if isinstance(image, Exception):
                each.owner.fail(image)
            else:
                each.owner.add(each.index, image, now_s)


def _note(ticket: Ticket[Image], made: Generated[Image], size: int) -> None:
    """Add a batch's seconds to a ticket's; a ticket may have rows in several batches."""
    ticket.text_s += made.text_s
    ticket.denoise_s += made.denoise_s
    ticket.decode_s += made.decode_s
    ticket.steps += 1
    ticket.batch_steps += size
