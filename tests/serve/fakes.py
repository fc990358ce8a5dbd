"""A model whose calls a test lets pass one by one, a clock that it turns, and an engine on both.

An image is a text: the seed of its row. `64x64` costs one FLOP a step, other sizes in proportion.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from serve.engine.forecast import StepRate
from serve.engine.request import (
    Decoded,
    Encoding,
    Generated,
    Measured,
    Order,
    Prepared,
    Priority,
    Recipe,
    Row,
    Size,
    Tick,
    Ticked,
)
from serve.engine.step_engine import StepEngine
from serve.engine.ticket import Ticket

SMALL = Size(width=64, height=64)
LARGE = Size(width=128, height=128)
TURNS = 30


class Clock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Gate:
    """One of the model's methods: open, or each call is held until the test lets it pass."""

    def __init__(self) -> None:
        self.is_open = True
        self.failure: Exception | None = None
        self._held: deque[asyncio.Future[None]] = deque()

    async def passed(self) -> None:
        if self.is_open:
            await asyncio.sleep(0)
        else:
            self._held.append(asyncio.get_running_loop().create_future())
            await self._held[-1]
        if self.failure is not None:
            raise self.failure

    def let_one_pass(self) -> None:
        self._held.popleft().set_result(None)

    def open(self) -> None:
        self.is_open = True
        while self._held:
            self.let_one_pass()


class FakeModel:
    """Does nothing, but watches that every slot is used as the protocol says.

    Attributes:
        preparing, ticking, decoding, generating: Gates of the methods.
        step_s: Seconds by which a tick turns the clock.
        text_s: What texts claim to have taken.
        measures_s: What a tick claims to have taken; None: it does not say.
        ready_s: How long before an image was there its latent claims to have been.
        most_decoded: Latents in one call.
        whole_every: As in the protocol.
        too_large: Seeds of the images that do not fit into memory.
    """

    def __init__(self, clock: Clock) -> None:
        self.rate = StepRate()
        self.preparing, self.ticking, self.decoding, self.generating = (Gate() for _ in range(4))
        self.clock = clock
        self.step_s = 1.0
        self.text_s = 0.0
        self.measures_s: float | None = None
        self.ready_s: float | None = None
        self.most_decoded = 8
        self.whole_every = 1
        self.too_large: Mapping[int, Exception] = {}
        self.prepared: list[list[int]] = []
        self.ticks: list[Tick] = []
        self.decoded: list[list[str]] = []
        self.released: list[Size] = []
        self.batches: list[list[int]] = []
        self._slots: dict[Size, dict[int, tuple[int, int]]] = {}  # seed and steps done

    async def step_flops(self, recipe: Recipe) -> Sequence[float]:
        await asyncio.sleep(0)
        return [recipe.width * recipe.height / 4096] * recipe.steps

    def image_flop(self, recipe: Recipe) -> float | None:
        return None

    async def prepare(self, asked: Sequence[tuple[Recipe, Row]]) -> Sequence[Prepared | Exception]:
        self.prepared.append([row.seed for _, row in asked])
        await self.preparing.passed()
        return [
            Prepared(state=row.seed, text_s=self.text_s, truncated=row.negative_prompt or None)
            for _, row in asked
        ]

    async def tick(self, tick: Tick) -> Ticked:
        self.ticks.append(tick)
        assert tick.joins.keys() <= tick.active.keys()
        await self.ticking.passed()
        self.clock.now_s += self.step_s
        slots = self._slots.setdefault(tick.size, {})
        slots.update({slot: (seed, 0) for slot, seed in tick.joins.items()})
        for slot, step in tick.active.items():
            seed, done = slots[slot]
            assert step == done
            slots[slot] = (seed, done + 1)
        lost = {slot: self.too_large[slots[slot][0]] for slot in tick.active if self._is_lost(slot)}
        kept = {slot: slots[slot] for slot in tick.active if slot not in lost}
        measures_s = [] if self.measures_s is None else [self.measures_s]
        return Ticked(
            latents={slot: str(kept[slot][0]) for slot in tick.finishes if slot in kept},
            previews={slot: "{}@{}".format(*kept[slot]) for slot in tick.previews if slot in kept},
            lost=lost,
            measured=[Measured(step_flop=tick.step_flop, seconds=each) for each in measures_s],
        )

    def _is_lost(self, slot: int) -> bool:
        return self._slots[self.ticks[-1].size][slot][0] in self.too_large

    def release(self, size: Size) -> None:
        self._slots.pop(size, None)
        self.released.append(size)

    def decode_batch(self, size: Size) -> int:
        return self.most_decoded

    async def decode(
        self, size: Size, latents: Sequence[Any]
    ) -> Sequence[Decoded[str] | Exception]:
        self.decoded.append(list(latents))
        await self.decoding.passed()
        return [Decoded(latent, self.ready_s) for latent in latents]

    async def generate(self, recipe: Recipe, rows: Sequence[Row]) -> Generated[str]:
        self.batches.append([row.seed for row in rows])
        await self.generating.passed()
        images = [str(row.seed) for row in rows]
        return Generated(images=images, text_s=1.0, denoise_s=2.0, decode_s=3.0)

    async def encode(self, image: str, recipe: Recipe, encoding: Encoding) -> bytes:
        return image.encode()


def order(
    first_seed: int = 0,
    *,
    count: int = 1,
    steps: int = 4,
    size: Size = SMALL,
    priority: Priority = "paying",
    deadline_s: float | None = None,
    previews: int = 0,
    negative_prompt: str = "",
) -> Order:
    """An order of `count` images, of the seeds from the first on."""
    return Order(
        recipe=Recipe(width=size.width, height=size.height, steps=steps, guidance_scale=7.5),
        rows=tuple(
            Row(prompt="a fox", negative_prompt=negative_prompt, seed=first_seed + i)
            for i in range(count)
        ),
        encoding=Encoding(),
        priority=priority,
        deadline_s=deadline_s,
        stream=previews > 0,
        previews=previews,
    )


class Stage:
    """A step engine under test. Its ticks wait for `step`; all else passes at once."""

    def __init__(self, *, slots: int = 4, max_queue: int = 64, step_s: float | None = None) -> None:
        self.clock = Clock()
        self.model = FakeModel(self.clock)
        self.model.ticking.is_open = False
        if step_s is not None:  # the model's warm-up: steps of any size take this
            for step_flop in (1.0, 8.0):
                self.model.rate.observe(step_flop, step_s)
        self.seen: list[tuple[int, int]] = []
        self.engine: StepEngine[str] = StepEngine(
            self.model,
            slots=slots,
            max_queue=max_queue,
            clock=self.clock,
            on_tick=lambda images, waiting: self.seen.append((images, waiting)),
        )

    async def enter(self, asked: Order) -> Ticket[str]:
        """Enter an order, and let the engine do what it can without a step."""
        ticket = await self.engine.enter(asked)
        await settle()
        return ticket

    async def step(self, count: int = 1) -> None:
        """Let so many ticks pass."""
        for _ in range(count):
            self.model.ticking.let_one_pass()
            await settle()

    @property
    def active(self) -> list[dict[int, int]]:
        """The slots of every tick so far, and the step each was at."""
        return [dict(tick.active) for tick in self.model.ticks]


async def settle() -> None:
    """Let every task that can run do so."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


Scenario = Callable[[Stage], Awaitable[None]]


def play(scenario: Scenario, **settings: Any) -> None:
    """Run a scenario beside an engine, which must outlive it."""

    async def run() -> None:
        stage = Stage(**settings)
        loop = asyncio.create_task(stage.engine.run())
        played = asyncio.ensure_future(scenario(stage))
        await asyncio.wait({loop, played}, return_when=asyncio.FIRST_COMPLETED)
        if not loop.done():
            loop.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await loop
        else:
            played.cancel()
            await loop
        await played

    asyncio.run(run())
