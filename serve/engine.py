"""One replica's denoising loop: a bounded queue, batches formed from it, and one model.

`Queue` is the pure part: it takes the time as an argument and knows neither torch nor asyncio.
`Engine` is the thin shell that drives it on an event loop. Policies:

none
    the stock pipeline, an image at a time: batches of one
request
    whole-loop batches: rows of the same recipe start and end together
"""

import asyncio
import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import msgspec

from serve.admission import Refusal, ServiceRate, admit
from serve.work import Generated, Image, Model, Order, Recipe, Row

Ticket = TypeVar("Ticket")


class Waiting(msgspec.Struct, Generic[Ticket], frozen=True):
    """A row in the queue; the ticket says whose it is."""

    ticket: Ticket
    recipe: Recipe
    row: Row
    arrived_s: float


class Queue(Generic[Ticket]):
    """First come, first served; later rows of the same recipe ride along with the first."""

    def __init__(self, *, batch_limit: int, max_wait_s: float) -> None:
        self._batch_limit = batch_limit
        self._max_wait_s = max_wait_s
        self._rows: deque[Waiting[Ticket]] = deque()

    def __len__(self) -> int:
        return len(self._rows)

    def put(self, ticket: Ticket, recipe: Recipe, rows: Sequence[Row], now_s: float) -> None:
        """Append a request's rows."""
        self._rows.extend(Waiting(ticket, recipe, row, now_s) for row in rows)

    def cancel(self, ticket: Ticket) -> int:
        """Drop a ticket's rows that have not started; returns how many."""
        kept = [waiting for waiting in self._rows if waiting.ticket is not ticket]
        dropped = len(self._rows) - len(kept)
        self._rows = deque(kept)
        return dropped

    def due_in_s(self, now_s: float) -> float | None:
        """Seconds until a batch should start: 0 now, None when nothing waits."""
        if not self._rows:
            return None
        first = self._rows[0]
        if sum(1 for _ in self._companions(first)) >= self._batch_limit:
            return 0.0
        return max(0.0, first.arrived_s + self._max_wait_s - now_s)

    def take(self) -> list[Waiting[Ticket]]:
        """Remove and return the next batch: the oldest row and its companions, oldest first."""
        batch = list(self._companions(self._rows[0]))
        taken = set(map(id, batch))
        self._rows = deque(waiting for waiting in self._rows if id(waiting) not in taken)
        return batch

    def _companions(self, first: Waiting[Ticket]) -> "itertools.islice[Waiting[Ticket]]":
        same = (waiting for waiting in self._rows if waiting.recipe == first.recipe)
        return itertools.islice(same, self._batch_limit)


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request's seconds went; the stages sum to its time in the replica."""

    queue_s: float
    text_s: float
    denoise_s: float
    decode_s: float
    encode_s: float
    batch_mean: float


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """A finished request: a base64 file an image, in the order asked."""

    images: list[bytes]
    timing: Timing


class Batch(msgspec.Struct, Generic[Image], frozen=True):
    """A finished batch, as each of its requests remembers it."""

    size: int
    generated: Generated[Image]


class Request(Generic[Image]):
    """A request under way: fills up, in order, as its rows finish, maybe in several batches."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self.images: list[Image] = []
        self.batches: list[Batch[Image]] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def add(self, batch: Batch[Image], image: Image) -> None:
        """Take the next row's image."""
        if not self.batches or self.batches[-1] is not batch:
            self.batches.append(batch)
        self.images.append(image)
        if len(self.images) == self._rows and not self.done.done():
            self.done.set_result(None)

    def fail(self, err: Exception) -> None:
        """End the request with an error."""
        if not self.done.done():
            self.done.set_exception(err)


class QueueFullError(Exception):
    """The replica's queue has no room for the request."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"queue full: {refusal.waiting} images waiting")
        self.refusal = refusal


class Engine(Generic[Image]):
    """Runs orders on one model, a batch at a time.

    Args:
        model: What denoises and encodes.
        batch_limit: Most images in one denoising loop.
        max_wait_s: Longest an image waits for companions on an idle replica.
        max_queue: Most images waiting.
        clock: Monotonic seconds.
        on_batch: Told of every finished batch's size, and its seconds.
    """

    def __init__(
        self,
        model: Model[Image],
        *,
        batch_limit: int,
        max_wait_s: float,
        max_queue: int,
        clock: Callable[[], float],
        on_batch: Callable[[int, Generated[Image]], None] = lambda size, generated: None,
    ) -> None:
        self._model = model
        self._max_queue = max_queue
        self._clock = clock
        self._on_batch = on_batch
        self._queue: Queue[Request[Image]] = Queue(batch_limit=batch_limit, max_wait_s=max_wait_s)
        self._arrival = asyncio.Event()
        self.rate = ServiceRate()

    @property
    def waiting(self) -> int:
        """Images in the queue that have not started."""
        return len(self._queue)

    async def submit(self, order: Order) -> Done:
        """Run one order to its encoded images.

        Cancelling the caller's task drops the rows that have not started.

        Raises:
            QueueFullError: The queue has no room; nothing was queued.
        """
        arrived_s = self._clock()
        refusal = admit(
            len(order.rows),
            waiting=self.waiting,
            max_queue=self._max_queue,
            images_per_s=self.rate.images_per_s,
        )
        if refusal is not None:
            raise QueueFullError(refusal)
        request: Request[Image] = Request(len(order.rows))
        self._queue.put(request, order.recipe, order.rows, arrived_s)
        self._arrival.set()
        try:
            await request.done
        except BaseException:
            self._queue.cancel(request)
            raise
        return await self._encode(order, request, arrived_s)

    async def run(self) -> None:
        """The loop: form a batch, denoise it, hand its images out; for ever."""
        while True:
            due_in_s = self._queue.due_in_s(self._clock())
            if due_in_s == 0.0:
                await self._denoise(self._queue.take())
                continue
            self._arrival.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._arrival.wait(), due_in_s)

    async def _denoise(self, waiting: list[Waiting[Request[Image]]]) -> None:
        started_s = self._clock()
        try:
            generated = await self._model.generate(waiting[0].recipe, [w.row for w in waiting])
        except Exception as err:  # noqa: BLE001 - the requests fail, the replica lives on
            for each in waiting:
                each.ticket.fail(err)
            return
        self.rate.observe(len(waiting), self._clock() - started_s)
        self._on_batch(len(waiting), generated)
        batch = Batch(len(waiting), generated)
        for each, image in zip(waiting, generated.images, strict=True):
            each.ticket.add(batch, image)

    async def _encode(self, order: Order, request: Request[Image], arrived_s: float) -> Done:
        generated_s = self._clock()
        files = await asyncio.gather(
            *(self._model.encode(image, order.recipe, order.encoding) for image in request.images)
        )
        text_s, denoise_s, decode_s = (
            sum(getattr(batch.generated, stage) for batch in request.batches)
            for stage in ("text_s", "denoise_s", "decode_s")
        )
        timing = Timing(
            queue_s=max(0.0, generated_s - arrived_s - text_s - denoise_s - decode_s),
            text_s=text_s,
            denoise_s=denoise_s,
            decode_s=decode_s,
            encode_s=self._clock() - generated_s,
            batch_mean=sum(b.size for b in request.batches) / len(request.batches),
        )
        return Done(images=files, timing=timing)
