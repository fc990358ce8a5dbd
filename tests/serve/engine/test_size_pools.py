from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.engine.request import Size
from serve.engine.size_pools import Pool, Pools


class Job:
    """So many steps of so many FLOPs, of an image `side` pixels wide."""

    def __init__(self, side: int, steps: int, step_flop: float) -> None:
        self.size = Size(width=side, height=side)
        self.steps = steps
        self.step_flop = step_flop

    @property
    def flop_left(self) -> float:
        return self.steps * self.step_flop


def flop_of(pool: Pool[Job]) -> float:
    return sum(job.step_flop for job in pool.jobs.values())


def tick(pools: Pools[Job]) -> Pool[Job] | None:
    """What the engine does: a step of the pool whose turn it is; images that are done leave."""
    pool = pools.choose()
    if pool is not None:
        pools.charge(pool, flop_of(pool))
        for slot, job in list(pool.jobs.items()):
            job.steps -= 1
            if job.steps == 0:
                pools.leave(pool.size, slot)
    return pool


def test_slots_are_the_lowest_free_ones() -> None:
    pools: Pools[Job] = Pools(3)
    jobs = [Job(64, 4, 1.0) for _ in range(5)]
    assert [pools.join(job) for job in jobs[:4]] == [0, 1, 2, None]
    assert not pools.leave(jobs[1].size, 1)
    assert pools.join(jobs[4]) == 1
    assert len(pools) == 3


def test_every_size_has_slots_of_its_own_while_it_has_work() -> None:
    pools: Pools[Job] = Pools(1)
    small, large = Job(64, 4, 1.0), Job(128, 4, 4.0)
    assert [pools.join(small), pools.join(large)] == [0, 0]
    assert [pool.size for pool in pools] == [small.size, large.size]
    assert pools.leave(small.size, 0)
    assert [pool.size for pool in pools] == [large.size]


def test_nothing_runs_nothing_is_chosen() -> None:
    pools: Pools[Job] = Pools(2)
    assert pools.choose() is None
    job = Job(64, 1, 1.0)
    pools.join(job)
    pools.leave(job.size, 0)
    assert pools.choose() is None


@given(
    moves=st.lists(
        st.tuples(st.sampled_from([64, 128, 256]), st.booleans(), st.integers(0, 9)), max_size=80
    ),
    slots=st.integers(1, 4),
)
def test_a_slot_is_never_two_images(moves: list[tuple[int, bool, int]], slots: int) -> None:
    pools: Pools[Job] = Pools(slots)
    held: dict[tuple[int, int], Job] = {}
    for side, joins, which in moves:
        own = [slot for size, slot in held if size == side]
        if joins:
            job = Job(side, 4, 1.0)
            slot = pools.join(job)
            assert (slot is None) == (len(own) == slots)
            if slot is not None:
                assert 0 <= slot < slots
                assert slot not in own
                held[side, slot] = job
        elif own:
            slot = own[which % len(own)]
            del held[side, slot]
            assert pools.leave(Size(width=side, height=side), slot) == (len(own) == 1)
        now = {(pool.size.width, slot): job for pool in pools for slot, job in pool.jobs.items()}
        assert now == held
        assert len(pools) == len(held)


def test_the_first_turn_is_the_most_work_s_and_then_it_alternates_by_what_is_owed() -> None:
    pools: Pools[Job] = Pools(1)
    pools.join(Job(64, 10, 1.0))
    pools.join(Job(128, 10, 3.0))
    # Of 10 and 30 FLOPs left; what the small one is owed, the large one has had too much:
    #   large runs: +3 10/40 = 0.75    small runs: +1 10/37 - 1 = 0.02 in all
    #   small runs: +1  9/36 - 1 = -0.73, so that the large one is next
    ran = [tick(pools) for _ in range(4)]
    assert [pool and pool.size.width for pool in ran] == [128, 64, 64, 128]


def test_all_drain_at_about_the_same_time() -> None:
    pools: Pools[Job] = Pools(1)
    pools.join(Job(64, 20, 1.0))
    pools.join(Job(128, 20, 16.0))
    last = {}
    for now in range(40):
        ran = tick(pools)
        assert ran is not None
        last[ran.size.width] = now
    assert pools.choose() is None
    assert min(last.values()) >= 36


def steady(flops: list[tuple[int, int]]) -> Pools[Job]:
    """A pool for each (steps left, FLOPs of a step)."""
    pools: Pools[Job] = Pools(1)
    for index, (steps, step_flop) in enumerate(flops):
        pools.join(Job(64 + index, steps, float(step_flop)))
    return pools


@given(flops=st.lists(st.tuples(st.integers(1, 20), st.integers(1, 16)), min_size=1, max_size=5))
def test_shares_are_in_proportion_to_the_work_and_none_starves(
    flops: list[tuple[int, int]],
) -> None:
    """Under a load that is refilled as it runs, so that what is left stays the same."""
    pools = steady(flops)
    work = {pool.size: pool.flop_left for pool in pools}
    costs = {pool.size: flop_of(pool) for pool in pools}
    total = sum(work.values())
    ran: Counter[Size] = Counter()
    flop, bound = 0.0, len(costs) * max(costs.values())
    for _ in range(300):
        pool = pools.choose()
        assert pool is not None
        pools.charge(pool, costs[pool.size])
        flop += costs[pool.size]
        ran[pool.size] += 1
        for size, cost in costs.items():
            # Never further from its share than a tick of each pool, however long it goes on: a
            # pool of share s has a turn at least every 2 bound / s FLOPs.
            assert abs(ran[size] * cost - flop * work[size] / total) <= bound


arrivals = st.lists(
    st.tuples(
        st.integers(0, 9),  # ticks until it comes
        st.integers(0, 4),  # size
        st.integers(1, 20),  # steps
    ),
    max_size=40,
)


@given(arrivals=arrivals, slots=st.integers(1, 3))
def test_what_is_owed_sums_to_zero_and_stays_small(
    arrivals: list[tuple[int, int, int]], slots: int
) -> None:
    pools: Pools[Job] = Pools(slots)
    most = slots * 4.0**4  # a tick of the largest size
    waits = list(arrivals)
    while waits or pools.choose():
        while waits and waits[0][0] == 0:
            _, index, steps = waits.pop(0)
            pools.join(Job(64 << index, steps, 4.0**index))
        if waits:
            waits[0] = (waits[0][0] - 1, *waits[0][1:])
        tick(pools)
        owed = [pool.owed_flop for pool in pools]
        assert sum(owed) == pytest.approx(0.0, abs=1e-6)
        assert all(abs(each) <= len(owed) * most for each in owed)


def test_debts_of_images_long_gone_keep_nobody_waiting() -> None:
    pools: Pools[Job] = Pools(1)
    stays = Job(64, 1000, 1.0)
    pools.join(stays)
    passes = Job(1024, 2, 256.0)
    pools.join(passes)
    while passes.steps:
        tick(pools)
    assert [pool.owed_flop for pool in pools] == [pytest.approx(0.0)]
    comes = Job(128, 20, 4.0)
    pools.join(comes)
    tick(pools)
    tick(pools)
    assert comes.steps < 20
