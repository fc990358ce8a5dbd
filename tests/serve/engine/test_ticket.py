import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from serve.engine.request import Done
from serve.engine.ticket import ExpiredError, Ticket, complete
from tests.serve.fakes import Clock, FakeModel, order, settle


def alone(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test in an event loop of its own."""
    return lambda: asyncio.run(test())


@alone
async def test_images_come_in_the_order_asked_whatever_order_they_are_made_in() -> None:
    ticket: Ticket[str] = Ticket(order(count=3), 0.0)
    for index in (2, 0):
        ticket.add(index, f"image {index}", 1.0)
        assert not ticket.is_over
    ticket.add(1, "image 1", 5.0)
    assert ticket.is_over
    assert await ticket.images() == ["image 0", "image 1", "image 2"]
    assert ticket.decoded_s == 5.0


@alone
async def test_what_comes_after_its_end_changes_nothing() -> None:
    ticket: Ticket[str] = Ticket(order(count=2), 0.0)
    ticket.fail(ExpiredError(1.0))
    ticket.fail(RuntimeError("later"))
    for index in (0, 1):
        ticket.add(index, "late", 1.0)
    ticket.preview("late")
    with pytest.raises(ExpiredError):
        await ticket.images()
    assert [image async for image in ticket.previews()] == []


@pytest.mark.parametrize(("deadline_s", "expires_s"), [(None, None), (2.5, 12.5)])
def test_when_it_expires(deadline_s: float | None, expires_s: float | None) -> None:
    async def run() -> float | None:
        ticket: Ticket[str] = Ticket(order(deadline_s=deadline_s), 10.0)
        return ticket.expires_s

    assert asyncio.run(run()) == expires_s


@alone
async def test_previews_come_until_the_image_is_there() -> None:
    ticket: Ticket[str] = Ticket(order(previews=2), 0.0)
    previews = ticket.previews()
    ticket.preview("first")
    assert await anext(previews) == "first"
    second = asyncio.ensure_future(anext(previews))
    await settle()
    assert not second.done()
    ticket.preview("second")
    ticket.add(0, "image", 1.0)
    assert await second == "second"
    assert [image async for image in previews] == []


@alone
async def test_its_stages_sum_to_its_time_in_the_replica() -> None:
    clock = Clock()
    ticket: Ticket[str] = Ticket(order(count=2), arrived_s=100.0)
    ticket.text_s, ticket.denoise_s, ticket.decode_s = 0.5, 4.0, 1.5
    ticket.steps, ticket.batch_steps = 8, 20
    ticket.truncated = "prompt: 77 of 120 tokens"
    ticket.add(0, "one", 107.0)
    ticket.add(1, "two", 109.0)
    clock.now_s = 109.25
    done = await complete(ticket, FakeModel(clock), clock)
    assert done.images == [b"one", b"two"]
    assert done.truncated == "prompt: 77 of 120 tokens"
    timing = done.timing
    assert (timing.text_s, timing.denoise_s, timing.decode_s) == (0.5, 4.0, 1.5)
    assert timing.queue_s == 3.0  # 109 - 100 - (0.5 + 4 + 1.5)
    assert timing.encode_s == 0.25
    assert timing.batch_mean == 2.5  # 20 / 8


@alone
async def test_cancelling_the_wait_gives_it_up() -> None:
    ticket: Ticket[str] = Ticket(order(), 0.0)
    waits = asyncio.create_task(complete(ticket, FakeModel(Clock()), Clock()))
    await settle()
    assert not ticket.is_over
    waits.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits
    assert ticket.is_over


@alone
async def test_cancelling_while_files_are_made_is_a_cancel() -> None:
    class Slow(FakeModel):
        async def encode(self, *asked: object) -> bytes:
            await asyncio.Event().wait()
            return b""

    ticket: Ticket[str] = Ticket(order(), 0.0)
    ticket.add(0, "image", 1.0)
    waits = asyncio.create_task(complete(ticket, Slow(Clock()), Clock()))
    await settle()
    waits.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits


@alone
async def test_errors_pass_as_they_are() -> None:
    ticket: Ticket[str] = Ticket(order(), 0.0)
    waits: asyncio.Task[Done] = asyncio.create_task(complete(ticket, FakeModel(Clock()), Clock()))
    await settle()
    ticket.fail(ZeroDivisionError("the model's own"))
    with pytest.raises(ZeroDivisionError, match="the model's own"):
        await waits


@alone
async def test_a_ticket_given_up_after_its_end_keeps_its_images() -> None:
    ticket: Ticket[str] = Ticket(order(), 0.0)
    ticket.add(0, "image", 1.0)
    ticket.give_up()
    assert await ticket.images() == ["image"]
