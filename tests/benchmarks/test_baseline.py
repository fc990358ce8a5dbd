"""Policy `none` as a unit: measured through its door, or given."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from benchmarks import baseline
from benchmarks.baseline import base_of
from benchmarks.cell import Outcome


class Instant:
    """A door whose images take no time."""

    def __init__(self) -> None:
        self.asked = 0

    async def ask(self, seed: int, due_s: float, begin_s: float) -> Outcome:
        self.asked += 1
        return Outcome(due_s=due_s, done_s=due_s, flop=2.0)


def test_a_given_capacity_opens_no_door() -> None:
    """GPU finding 21: two minutes of a GPU went to a server that only said the unit."""

    def open_door() -> "contextlib.AbstractAsyncContextManager[Instant]":
        raise AssertionError("a server was started")

    base = asyncio.run(base_of(open_door, 1.5))
    assert (base.images_per_s, base.lone_s, base.flop) == (1.5, None, None)
    assert base.told(20.0) == "SLO 20.000 s, none is said to make 1.5 images/s"


def test_a_measured_one_asks_in_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baseline, "CAPACITY_S", 0.0)
    door = Instant()

    @contextlib.asynccontextmanager
    async def open_door() -> AsyncIterator[Instant]:
        yield door

    base = asyncio.run(base_of(open_door, None))
    assert door.asked == 3 * (5 + 5) + 1
    assert base.lone_s is not None
    assert 0 < base.lone_s < 1
    assert (base.images_per_s > 1, base.flop) == (True, 2.0)
