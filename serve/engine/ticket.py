"""A request under way in an engine: it fills up as its images come, in any order.

EngineError
    RefusedError    it is not taken, or was shed while it waited: 429
    ExpiredError    its deadline passed: 503
A model's own exceptions pass as they are.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Generic, Protocol

from serve.engine.admission import Refusal
from serve.engine.request import Done, Image, Model, Order, Timing


class EngineError(Exception):
    """A request that ends without images by the engine's decision."""


class RefusedError(EngineError):
    """The request is not taken, or was shed; carries the refusal."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"{refusal.reason}: {refusal.waiting} images waiting")
        self.refusal = refusal


class ExpiredError(EngineError):
    """The request's deadline passed before it was done."""

    def __init__(self, deadline_s: float) -> None:
        super().__init__(f"not done within its deadline of {deadline_s:g} s")
        self.deadline_s = deadline_s


class Ticket(Generic[Image]):
    """One order's progress.

    Attributes:
        order: What was asked.
        arrived_s: When, on the engine's clock.
        joined_s: When its first image was taken up by the denoiser.
        denoised_s: When its last image left it.
        decoded_s: When its last image was pixels.
        text_s: Seconds its texts took before its first image was taken up.
        denoise_s: Seconds in the denoiser.
        decode_s: Seconds from there to pixels.
        batch_steps: Sum over its images' steps of the images in the call.
        steps: Steps its images have done.
        truncated: Which texts were cut, in words; None when none was.
    """

    def __init__(self, order: Order, arrived_s: float) -> None:
        self.order = order
        self.arrived_s = arrived_s
        self.joined_s: float | None = None
        self.denoised_s: float | None = None
        self.decoded_s: float | None = None
        self.text_s = 0.0
        self.denoise_s = 0.0
        self.decode_s = 0.0
        self.batch_steps = 0
        self.steps = 0
        self.truncated: str | None = None
        self._images: list[Image | None] = [None] * len(order.rows)
        self._missing = len(order.rows)
        self._previews: asyncio.Queue[Image | None] = asyncio.Queue()
        self._done: asyncio.Future[list[Image]] = asyncio.get_running_loop().create_future()

    @property
    def is_over(self) -> bool:
        """Whether nobody waits for it any more: done, failed, or given up."""
        return self._done.done()

    @property
    def expires_s(self) -> float | None:
        """When its deadline passes, on the engine's clock."""
        deadline_s = self.order.deadline_s
        return None if deadline_s is None else self.arrived_s + deadline_s

    def add(self, index: int, image: Image, now_s: float) -> None:
        """Take an image; the last one completes the ticket."""
        if self.is_over:
            return
        self._images[index] = image
        self._missing -= 1
        if self._missing == 0:
            self.decoded_s = now_s
            self._done.set_result([image for image in self._images if image is not None])
            self._previews.put_nowait(None)

    def preview(self, image: Image) -> None:
        """Take an image as it looks on the way."""
        if not self.is_over:
            self._previews.put_nowait(image)

    def fail(self, err: Exception) -> None:
        """End the ticket with an error."""
        if not self.is_over:
            self._done.set_exception(err)
            self._done.exception()  # asyncio shall not complain if nobody asks any more
            self._previews.put_nowait(None)

    def give_up(self) -> None:
        """Nobody waits any more: its images free their slots at the next step."""
        self._done.cancel()

    async def images(self) -> list[Image]:
        """Its images, in the order asked.

        Raises:
            EngineError: It was refused, shed, or its deadline passed.
            Exception: Whatever the model raised.
        """
        return await asyncio.shield(self._done)

    async def previews(self) -> AsyncIterator[Image]:
        """Its previews as they come, until it is over."""
        while (image := await self._previews.get()) is not None:
            yield image


class Engine(Protocol[Image]):
    """What a replica asks of an engine, whatever its policy."""

    @property
    def failures_in_a_row(self) -> int:
        """Calls of the model that raised since one of their kind last went well."""
        ...

    @property
    def waiting(self) -> int:
        """Images that have not started."""
        ...

    async def enter(self, order: Order) -> Ticket[Image]:
        """Take an order on.

        Raises:
            RefusedError: It is not taken; nothing was queued.
        """
        ...

    async def run(self) -> None:
        """Serve for ever."""
        ...


async def complete(ticket: Ticket[Image], model: Model[Image], clock: Callable[[], float]) -> Done:
    """A ticket's files, once its images are there; cancelling this gives the ticket up.

    Raises:
        EngineError: It was refused, shed, or its deadline passed.
        Exception: Whatever the model raised.
    """
    try:
        images = await ticket.images()
    except asyncio.CancelledError:
        ticket.give_up()
        raise
    order = ticket.order
    encoding = [model.encode(image, order.recipe, order.encoding) for image in images]
    # One image needs no task of its own beside this one.
    files = [await encoding[0]] if len(encoding) == 1 else await asyncio.gather(*encoding)
    decoded_s = ticket.arrived_s if ticket.decoded_s is None else ticket.decoded_s
    served_s = ticket.text_s + ticket.denoise_s + ticket.decode_s
    timing = Timing(
        queue_s=max(0.0, decoded_s - ticket.arrived_s - served_s),
        text_s=ticket.text_s,
        denoise_s=ticket.denoise_s,
        decode_s=ticket.decode_s,
        encode_s=clock() - decoded_s,
        batch_mean=ticket.batch_steps / max(ticket.steps, 1),
    )
    return Done(images=files, timing=timing, truncated=ticket.truncated)
