"""The compiled heap against a sorted dict."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from profiles.fleet.kernel.heap import drop, first, first_key, key_of, put
from profiles.fleet.kernel.memory import Memory
from profiles.fleet.kernel.state import LIFE, WORK
from profiles.schema.fleet import Fleet, People, Service

IDS = 40
SERVICE = Service(step_base_s=0.0, step_image_s=1.0, steps=1, largest_batch=1, basis="stated")


def memory() -> Memory:
    return Memory(
        Fleet(gpus=IDS, service=SERVICE),
        People(),
        servers=IDS,
        seed=np.uint64(1),
        speeds=np.ones(IDS),
        span={"duration_s": 60.0, "slo_s": 1.0, "from_s": 0.0, "drain_s": 1.0},
        rates_per_s=np.ones(1),
        times_s=np.zeros(0),
        most_slots=2**20,
    )


@given(
    st.lists(
        st.tuples(st.integers(0, IDS - 1), st.one_of(st.none(), st.integers(0, 9))), max_size=200
    )
)
def test_ids_enter_move_and_leave_by_key_then_id(moves: list[tuple[int, int | None]]) -> None:
    held = memory()  # its arrays live as long as it does
    cell, due = held.cell[0], dict[int, float]()
    put(cell, LIFE, 3, 0.5)  # another queue's members are its own
    for who, key in moves:
        if key is None:
            drop(cell, WORK, who)
            due.pop(who, None)
        else:
            put(cell, WORK, who, float(key))
            due[who] = float(key)
        if due:
            assert (first_key(cell, WORK), first(cell, WORK)) == min((k, w) for w, k in due.items())
            assert all(key_of(cell, WORK, w) == k for w, k in due.items())
    for due_s, who in sorted((k, w) for w, k in due.items()):
        assert (first_key(cell, WORK), first(cell, WORK)) == (due_s, who)
        drop(cell, WORK, who)
    assert first_key(cell, WORK) == math.inf
    assert first(cell, LIFE) == 3


def test_growth_keeps_what_is_in() -> None:
    held = memory()
    for who in range(IDS):
        put(held.cell[0], WORK, who, float(IDS - who))
    assert held.grow()
    assert [first(held.cell[0], WORK), first_key(held.cell[0], WORK)] == [IDS - 1, 1.0]
    drop(held.cell[0], WORK, IDS - 1)
    assert first(held.cell[0], WORK) == IDS - 2
