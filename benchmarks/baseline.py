"""Policy `none` as the unit of the engine benchmark: its lone latency and its capacity."""

import asyncio
import contextlib
import statistics
import time
from collections.abc import Callable, Sequence

import msgspec

from benchmarks.doors import Door

ROUNDS = 3
LONE_IMAGES = 5
CAPACITY_S = 3.0

OpenDoor = Callable[[], "contextlib.AbstractAsyncContextManager[Door]"]


class Base(msgspec.Struct, frozen=True, kw_only=True):
    """Policy `none`, in whose terms loads and SLOs are said.

    Attributes:
        images_per_s: Its capacity.
        lone_s: Its latency with nobody else there; None where the capacity was given.
        flop: Floating point operations of an image, as it told; None likewise.
    """

    images_per_s: float
    lone_s: float | None = None
    flop: float | None = None

    def told(self, slo_s: float) -> str:
        """In words, with the SLO in seconds that stands on it."""
        lone = "" if self.lone_s is None else f"lone latency {self.lone_s:.3f} s, "
        made = "is said to make" if self.lone_s is None else "makes"
        return f"{lone}SLO {slo_s:.3f} s, none {made} {self.images_per_s:.3g} images/s"


async def base_of(open_door: OpenDoor, capacity: float | None) -> Base:
    """Policy `none` measured through its door; with a given capacity the door stays shut."""
    if capacity is not None:
        return Base(images_per_s=capacity)
    async with open_door() as door:
        lone_s, images_per_s = await _measured(door)
        flop = (await door.ask(0, 0.0, time.perf_counter())).flop
    return Base(images_per_s=images_per_s, lone_s=lone_s, flop=flop)


async def _measured(door: Door) -> tuple[float, float]:
    """Lone latency in seconds, and images/s with always another one waiting.

    Rounds of both; the best of each counts, since all that a shared machine can do is disturb.
    """
    lone_s, rates = [], []
    for _ in range(ROUNDS):
        took = [await _timed(door, [seed]) for seed in range(LONE_IMAGES)]
        lone_s.append(statistics.median(took))
        images = max(LONE_IMAGES, round(CAPACITY_S / lone_s[-1]))
        rates.append(images / await _timed(door, range(images)))
    return min(lone_s), max(rates)


async def _timed(door: Door, seeds: Sequence[int]) -> float:
    """Seconds for some images, one computed and one waiting."""
    begin_s = time.perf_counter()
    left = iter(seeds)

    async def ask_on() -> None:
        for seed in left:
            await door.ask(seed, 0.0, begin_s)

    await asyncio.gather(ask_on(), ask_on())
    return time.perf_counter() - begin_s
