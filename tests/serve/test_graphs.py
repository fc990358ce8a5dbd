"""Buckets, and padded steps as graphs run them, here eagerly. torch comes inside."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.models import MODEL_DEFAULTS
from tests.serve.diffusing import (
    TWINS,
    Arrival,
    Together,
    error,
    quiet,
    recipe,
    row,
    twin,
)

torch = pytest.importorskip("torch")
pytestmark = quiet


@given(st.integers(1, 300))
def test_buckets_rise_to_the_largest_batch_with_little_padding(rows: int) -> None:
    from serve.graphs import default_buckets

    sizes = default_buckets(rows)
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == rows
    assert sizes[0] == 1
    for used in range(1, rows + 1):
        size = next(size for size in sizes if size >= used)
        padding = size - used
        assert padding <= 1 or padding / size < 0.2  # at worst 40 rows for 33


@pytest.mark.parametrize(
    ("rows", "sizes"),
    [
        (1, [1]),
        (2, [1, 2]),
        (16, [1, 2, 4, 6, 8, 10, 12, 14, 16]),
        (18, [1, 2, 4, 6, 8, 10, 12, 14, 16, 18]),
        (41, [1, *range(2, 17, 2), 20, 24, 28, 32, 40, 41]),
    ],
)
def test_buckets(rows: int, sizes: list[int]) -> None:
    from serve.graphs import default_buckets

    assert default_buckets(rows) == sizes


def test_a_padded_plan_leaves_what_it_holds_and_adds_scratch_rows() -> None:
    from serve.graphs import Plan, padded

    indices = np.array([[3, 1, 0], [2, 1, 0], [0, 1, 0], [6, 2, 7]])
    numbers = np.arange(24, dtype=np.float32).reshape(3, 8)
    plan = padded(Plan(indices, numbers, images=2), 5, scratch_slot=4, scratch_row=8)
    assert (plan.rows, plan.images) == (5, 5)
    assert plan.indices.tolist() == [
        [3, 1, 4, 4, 4],  # images' slots
        [2, 1, 0, 0, 0],  # where their unguided row is
        [0, 1, 0, 2, 2],  # rows' images: the third image is a scratch one
        [6, 2, 7, 8, 8],  # rows' conditionings
    ]
    keeps = [0, 0, 0, 0, 1, 0, 0, 0]  # A is 1: x stays x
    assert plan.numbers.tolist() == [*numbers[:2].tolist(), keeps, keeps, keeps]


def test_a_full_plan_is_padded_by_nothing() -> None:
    from serve.graphs import Plan, padded

    indices = np.array([[3, 1], [0, 1], [0, 1], [6, 2]])
    numbers = np.arange(16, dtype=np.float32).reshape(2, 8)
    plan = padded(Plan(indices, numbers, images=2), 2, scratch_slot=4, scratch_row=8)
    assert plan.indices.tolist() == indices.tolist()
    assert plan.numbers.tolist() == numbers.tolist()


class Replayed:
    """Stands for `Captured` on a CPU: the same fixed shape and buffers, run eagerly."""

    def __init__(self, step: Any, plan: Any, device: Any, capture: Any) -> None:
        self._step = step
        self._images = plan.images
        self._indices = torch.from_numpy(plan.indices)
        self._numbers = torch.from_numpy(plan.numbers)
        step(self._indices, self._numbers, self._images)  # as the warm-up calls do

    def replay(self, plan: Any) -> None:
        assert plan.images == self._images
        self._indices.copy_(torch.from_numpy(plan.indices))
        self._numbers.copy_(torch.from_numpy(plan.numbers))
        self._step(self._indices, self._numbers, self._images)


def kept(together: Together, model: str, **changes: Any) -> Any:
    """The slots of a recipe's size, padded as graphs would run them."""
    how = recipe(model, **changes)
    (example,) = together.preparation.prepare([(how, row(0))])
    together.stepper.keep(how.size, example.state)  # type: ignore[union-attr]
    return together.stepper._slots[how.size]


def crowd(model: str) -> list[Arrival]:
    """Every scheduler, with guidance and without, joining at different steps: 1 to 6 rows."""
    names = MODEL_DEFAULTS[model].schedulers
    return [
        (
            i,
            recipe(model, steps=3 + i % 2, guidance_scale=scale, scheduler=names[i % len(names)]),
            row(i),
        )
        for i, scale in enumerate((4.5, 1.0, 3.0, 1.0))
    ]


@pytest.mark.parametrize("model", TWINS)
def test_padded_steps_equal_plain_ones(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Together(twin(model)).run(crowd(model))
    together = Together(twin(model))
    monkeypatch.setattr("serve.graphs.Captured", Replayed)
    monkeypatch.setattr(together.stepper, "_captured", True)
    monkeypatch.setattr(together.stepper, "_capture", object())
    slots = kept(together, model)
    padded = together.run(crowd(model))
    for i, latent in plain.items():
        assert error(padded[i], latent) <= 1e-5
    assert not slots._latents[-1].any()  # the scratch slot's latent and texts
    assert not any(arena[-2:].any() for arena in slots._told)


@pytest.mark.parametrize("model", TWINS)
@pytest.mark.usefixtures("inference")
def test_padding_touches_no_other_slot(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    together = Together(twin(model))
    monkeypatch.setattr("serve.graphs.Captured", Replayed)
    monkeypatch.setattr(together.stepper, "_captured", True)
    monkeypatch.setattr(together.stepper, "_capture", object())
    slots = kept(together, model)
    (start,) = together.preparation.prepare([(recipe(model, guidance_scale=3.0), row(1))])
    slots.join(2, start.state)  # type: ignore[union-attr]
    slots._latents[[0, 1, 3]] = 5.0
    slots._clean[[0, 1, 3]] = 6.0
    before = slots._latents[2].clone()
    assert slots.advance({2: 0}) == {}
    assert (slots._latents[[0, 1, 3]] == 5.0).all()
    assert (slots._clean[[0, 1, 3]] == 6.0).all()
    assert not slots._latents[4].any()
    assert error(slots._latents[2], before) > 0.01
