"""Policy `step`: images join and leave the denoiser's batch between any two steps.

One loop on the event loop decides, step by step, what the model computes next: it frees the slots
of images that nobody waits for any more, hands free slots to the images first in line, and lets
the pool that is owed most take a step. Texts are embedded beside it before an image may join;
latents are decoded beside it once an image is through; files are made by the request's own task.
"""

import asyncio
import copy
from collections.abc import Callable, Sequence
from typing import Any, Generic

from serve.engine.admission import AdmissionRequest, Admitted, Backlog, Refusal, admit
from serve.engine.forecast import Load, Tail
from serve.engine.job import Job
from serve.engine.priority_queue import Line
from serve.engine.request import (
    Decoded,
    Image,
    Model,
    Order,
    Prepared,
    Size,
    Tick,
    Ticked,
)
from serve.engine.size_pools import Pool, Pools
from serve.engine.ticket import ExpiredError, RefusedError, Ticket

TEXT_BATCH = 16


class StepEngine(Generic[Image]):
    """Continuous batching of images over fixed slots.

    Args:
        model: What prepares, denoises and decodes.
        slots: Images of one size in one call.
        max_queue: Most images waiting.
        clock: Monotonic seconds.
        on_tick: Told of every step's images and of how many wait.
    """

    def __init__(
        self,
        model: Model[Image],
        *,
        slots: int,
        max_queue: int,
        clock: Callable[[], float],
        on_tick: Callable[[int, int], None] = lambda images, waiting: None,
    ) -> None:
        self._model = model
        self._max_queue = max_queue
        self._clock = clock
        self._on_tick = on_tick
        self._rate = model.rate
        self._warm_rate = copy.copy(model.rate)
        self._tail = Tail()
        self._failures = {"prepare": 0, "tick": 0, "decode": 0}
        self._line: Line[Job[Image]] = Line()
        self._pools: Pools[Job[Image]] = Pools(slots)
        self._joins: dict[Size, dict[int, Any]] = {}
        self._denoised: list[tuple[Job[Image], Any, bool]] = []
        self._has_work = asyncio.Event()
        self._has_texts = asyncio.Event()
        self._has_latents = asyncio.Event()

    @property
    def waiting(self) -> int:
        """Images that have no slot yet."""
        return len(self._line)

    @property
    def running(self) -> int:
        """Images that hold a slot."""
        return len(self._pools)

    @property
    def failures_in_a_row(self) -> int:
        """Most calls of one kind (prepare, tick, decode) that raised since one last went well.

        Each kind counts alone: a device that fails in one may never get to the next, and one that
        goes well says nothing of the others.
        """
        return max(self._failures.values())

    async def enter(self, order: Order) -> Ticket[Image]:
        """Take an order on.

        Raises:
            RefusedError: It is not taken; nothing was queued.
        """
        ticket: Ticket[Image] = Ticket(order, self._clock())
        step_flops = await self._model.step_flops(order.recipe)  # a size's first takes a while
        load = Load(steps=order.recipe.steps, step_flop=sum(step_flops) / order.recipe.steps)
        asked = AdmissionRequest(
            loads=[load] * len(order.rows),
            priority=order.priority,
            deadline_s=None if ticket.expires_s is None else ticket.expires_s - self._clock(),
        )
        self._line.keep(lambda job: not job.ticket.is_over)
        free = self._sheddable() if order.priority == "paying" else []
        verdict = admit(
            asked,
            Backlog(
                running=[
                    job.load
                    for pool in self._pools
                    for job in pool.jobs.values()
                    if not job.ticket.is_over
                ],
                paying=[job.load for job in self._line.paying],
                free=[job.load for job in self._line.free],
                sheddable=[len(ticket.order.rows) for ticket in free],
            ),
            slots=self._pools.slots,
            max_queue=self._max_queue,
            step_s=self._step_s,
            tail_s=self._tail.mean_s if self.running else self._tail.least_s,
        )
        if isinstance(verdict, Refusal):
            raise RefusedError(verdict)
        self._shed(free, verdict)
        self._line.put(Job(ticket, index, step_flops) for index in range(len(order.rows)))
        self._has_texts.set()
        return ticket

    async def run(self) -> None:
        """Serve for ever: texts, steps and decoding side by side."""
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self._prepare())
            loops.create_task(self._denoise())
            loops.create_task(self._decode())

    async def _prepare(self) -> None:
        """Embed the texts of what waits, first to start first."""
        while True:
            fresh = [job for job in self._line if job.prepared is None and not job.ticket.is_over][
                :TEXT_BATCH
            ]
            if not fresh:
                self._has_texts.clear()
                await self._has_texts.wait()
                continue
            made: Sequence[Prepared | Exception]
            try:
                made = await self._model.prepare([(job.recipe, job.row) for job in fresh])
            except Exception as err:  # noqa: BLE001 - the requests fail, the replica lives on
                self._failures["prepare"] += 1
                made = [err] * len(fresh)
            else:
                self._failures["prepare"] = 0
            for job, prepared in zip(fresh, made, strict=True):
                if isinstance(prepared, Exception):
                    job.ticket.fail(prepared)
                    continue
                job.prepared = prepared
                if job.ticket.joined_s is None:
                    job.ticket.text_s = max(job.ticket.text_s, prepared.text_s)
                job.ticket.truncated = job.ticket.truncated or prepared.truncated
            self._line.keep(lambda job: not job.ticket.is_over)
            self._has_work.set()

    async def _denoise(self) -> None:
        """Step by step, whose turn it is."""
        while True:
            now_s = self._clock()
            self._expire(now_s)
            self._fill(now_s)
            pool = self._pools.choose()
            if pool is None:
                self._has_work.clear()
                await self._has_work.wait()
                continue
            jobs = dict(pool.jobs)
            step_flop = sum(job.step_flop for job in jobs.values())
            tick = Tick(
                size=pool.size,
                joins=self._joins.pop(pool.size, {}),
                active={slot: job.step for slot, job in jobs.items()},
                step_flop=step_flop,
                previews=[slot for slot, job in jobs.items() if job.wants_preview],
                finishes=[s for s, job in jobs.items() if job.step + 1 == job.recipe.steps],
            )
            try:
                ticked = await self._model.tick(tick)
            except Exception as err:  # noqa: BLE001 - the requests fail, the replica lives on
                self._failures["tick"] += 1
                ticked = Ticked(lost=dict.fromkeys(jobs, err))
            else:
                self._failures["tick"] = 0
            for measured in ticked.measured:
                self._rate.observe(measured.step_flop, measured.seconds)
            self._pools.charge(pool, step_flop)
            self._on_tick(len(jobs), self.waiting)
            self._advance(pool, jobs, ticked)

    def _advance(self, pool: Pool[Job[Image]], jobs: dict[int, Job[Image]], ticked: Ticked) -> None:
        """Note what a tick did to its jobs."""
        now_s = self._clock()
        for slot, job in jobs.items():
            if slot in ticked.lost:
                job.ticket.fail(ticked.lost[slot])
                self._leave(pool.size, slot)
                continue
            job.step += 1
            job.ticket.steps += 1
            job.ticket.batch_steps += len(jobs)
            if slot in ticked.previews:
                self._denoised.append((job, ticked.previews[slot], True))
                self._has_latents.set()
            if slot in ticked.latents:
                job.denoised_s = now_s
                self._denoised.append((job, ticked.latents[slot], False))
                self._has_latents.set()
                self._leave(pool.size, slot)

    async def _decode(self) -> None:
        """Decode finished latents, the oldest first, with others of their size."""
        while True:
            self._denoised = [item for item in self._denoised if not item[0].ticket.is_over]
            if not self._denoised:
                self._has_latents.clear()
                await self._has_latents.wait()
                continue
            size = self._denoised[0][0].size
            most = self._model.decode_batch(size)
            batch = [item for item in self._denoised if item[0].size == size][:most]
            taken = {id(item) for item in batch}
            self._denoised = [item for item in self._denoised if id(item) not in taken]
            images: Sequence[Decoded[Image] | Exception]
            try:
                images = await self._model.decode(size, [latents for _, latents, _ in batch])
            except Exception as err:  # noqa: BLE001 - the requests fail, the replica lives on
                self._failures["decode"] += 1
                images = [err] * len(batch)
            else:
                self._failures["decode"] = 0
            now_s = self._clock()
            for (job, _, is_preview), made in zip(batch, images, strict=True):
                if isinstance(made, Exception):
                    job.ticket.fail(made)
                elif is_preview:
                    job.ticket.preview(made.image)
                else:
                    self._finish(job, made, now_s)

    def _finish(self, job: Job[Image], made: Decoded[Image], now_s: float) -> None:
        """Hand an image to its ticket, and learn how long the way from the last step took.

        Steps are launched ahead of a GPU: when a tick returns, its step may have two to wait for.
        The device's own clock says when the latent was there.
        """
        ticket = job.ticket
        if made.ready_s is not None:
            job.denoised_s = now_s - made.ready_s
        if job.denoised_s is not None:
            ticket.denoised_s = max(ticket.denoised_s or job.denoised_s, job.denoised_s)
        ticket.add(job.index, made.image, now_s)
        if ticket.joined_s is not None and ticket.denoised_s is not None:
            ticket.denoise_s = ticket.denoised_s - ticket.joined_s
            ticket.decode_s = now_s - ticket.denoised_s
        if job.denoised_s is not None:
            self._tail.observe(now_s - job.denoised_s)

    def _expire(self, now_s: float) -> None:
        """Free the slots of what nobody waits for any more, or what is too late."""
        for pool in list(self._pools):
            for slot, job in list(pool.jobs.items()):
                if job.ticket.is_over or self._is_late(job, now_s, 0.0):
                    self._leave(pool.size, slot)

    def _fill(self, now_s: float) -> None:
        """Hand free slots to the images first in line that are prepared and can be in time."""

        def stays(job: Job[Image]) -> bool:
            if job.ticket.is_over:
                return False
            if job.prepared is None:
                return True
            alone_s = job.recipe.steps * self._step_s(job.load.step_flop)
            if self._is_late(job, now_s, alone_s):
                return False
            if not self._is_whole_next(job.size):
                return True
            slot = self._pools.join(job)
            if slot is None:
                return True
            self._joins.setdefault(job.size, {})[slot] = job.prepared.state
            if job.ticket.joined_s is None:
                job.ticket.joined_s = now_s
            return False

        self._line.keep(stays)

    def _is_whole_next(self, size: Size) -> bool:
        """Whether the images of a size that run all take a whole step next, as new ones do."""
        every = self._model.whole_every
        return every == 1 or all(
            job.step % every == 0
            for pool in self._pools
            if pool.size == size
            for job in pool.jobs.values()
        )

    def _step_s(self, step_flop: float) -> float:
        """Predicted seconds of a step of so many FLOPs.

        While nothing runs nothing is learnt, and a hiccup in the last steps could make every
        deadline look hopeless for ever. So an idle replica goes by its warm-up where that was
        faster; once an image runs, its steps tell.
        """
        seconds = self._rate.seconds(step_flop)
        return seconds if self.running else min(seconds, self._warm_rate.seconds(step_flop))

    def _is_late(self, job: Job[Image], now_s: float, needs_s: float) -> bool:
        """Whether a job cannot be done by its deadline; then its ticket ends here."""
        expires_s, deadline_s = job.ticket.expires_s, job.ticket.order.deadline_s
        if expires_s is None or deadline_s is None or now_s + needs_s <= expires_s:
            return False
        job.ticket.fail(ExpiredError(deadline_s))
        return True

    def _leave(self, size: Size, slot: int) -> None:
        """Free a slot, and what the model keeps for its size if it was the last."""
        self._joins.get(size, {}).pop(slot, None)
        if self._pools.leave(size, slot):
            self._joins.pop(size, None)
            self._model.release(size)

    def _sheddable(self) -> list[Ticket[Image]]:
        """The free tickets of which no image has started, the newest first."""
        waiting: dict[Ticket[Image], int] = {}
        for job in reversed(self._line.free):
            waiting[job.ticket] = waiting.get(job.ticket, 0) + 1
        return [ticket for ticket, count in waiting.items() if count == len(ticket.order.rows)]

    def _shed(self, free: Sequence[Ticket[Image]], verdict: Admitted) -> None:
        """Refuse the newest free tickets after all."""
        refusal = Refusal(
            reason="shed", waiting=self.waiting, retry_after_s=verdict.shed_retry_after_s
        )
        for ticket in free[: verdict.shed]:
            ticket.fail(RefusedError(refusal))
        if verdict.shed:
            self._line.keep(lambda job: not job.ticket.is_over)
