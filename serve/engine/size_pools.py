"""Slots by image size, and which size's turn it is. Pure: no clock, no torch, no asyncio.

A pool holds the running images of one size, at most `slots` of them, each in a slot of its own.
Every tick is one pool's. Which one follows from FLOPs owed: while several pools have work, each
tick's FLOPs are shared out over them in proportion to the work each has left, and charged to the
one that ran. The pool that is owed most runs next. What a pool is still owed when its work ends
goes to the others, so that what is owed sums to zero at all times; and every pool with work gains
whenever another runs. So none starves, and all drain at about the same time.
"""

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from serve.engine.request import Size


class Running(Protocol):
    """What a pool needs to know of an image."""

    @property
    def size(self) -> Size:
        """Which pool it belongs to."""
        ...

    @property
    def flop_left(self) -> float:
        """FLOPs of the steps it still has to go."""
        ...


Job = TypeVar("Job", bound=Running)


class Pool(Generic[Job]):
    """The slots of one size.

    Attributes:
        size: Of its images.
        jobs: The running images by slot.
        owed_flop: What the others got more than their share.
    """

    def __init__(self, size: Size, slots: int) -> None:
        self.size = size
        self.jobs: dict[int, Job] = {}
        self.owed_flop = 0.0
        self._free = list(range(slots - 1, -1, -1))

    @property
    def flop_left(self) -> float:
        """FLOPs of all running images' remaining steps."""
        return sum(job.flop_left for job in self.jobs.values())

    def join(self, job: Job) -> int | None:
        """The slot a job got, or None when none is free."""
        if not self._free:
            return None
        slot = self._free.pop()
        self.jobs[slot] = job
        return slot

    def leave(self, slot: int) -> None:
        """Free a slot."""
        del self.jobs[slot]
        self._free.append(slot)


class Pools(Generic[Job]):
    """All pools; one exists while it has work.

    Args:
        slots: Images of one size that run at once.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._pools: dict[Size, Pool[Job]] = {}

    def __iter__(self) -> Iterator[Pool[Job]]:
        """Every pool with work."""
        return iter(self._pools.values())

    def __len__(self) -> int:
        """Images that run."""
        return sum(len(pool.jobs) for pool in self)

    def join(self, job: Job) -> int | None:
        """The slot a job got in the pool of its size, or None when none is free."""
        if job.size not in self._pools:
            self._pools[job.size] = Pool(job.size, self.slots)
        return self._pools[job.size].join(job)

    def leave(self, size: Size, slot: int) -> bool:
        """Free a slot; returns whether its pool is gone with it."""
        pool = self._pools[size]
        pool.leave(slot)
        if pool.jobs:
            return False
        del self._pools[size]
        for other in self:  # old debts would keep later pools waiting
            other.owed_flop += pool.owed_flop / len(self._pools)
        return True

    def choose(self) -> Pool[Job] | None:
        """The pool whose turn it is; None when nothing runs."""
        if not self._pools:
            return None
        return max(self, key=lambda pool: (pool.owed_flop, pool.flop_left))

    def charge(self, ran: Pool[Job], step_flop: float) -> None:
        """Share a tick's FLOPs out, and charge them to the pool that ran."""
        left = {pool.size: pool.flop_left for pool in self}
        total = sum(left.values())
        for pool in self:
            share = left[pool.size] / total if total > 0 else 1 / len(left)
            pool.owed_flop += step_flop * share
        ran.owed_flop -= step_flop
