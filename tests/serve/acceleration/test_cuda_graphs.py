"""Buckets and padded plans; test_late.py runs them as graphs. torch comes inside."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")


@given(st.integers(1, 300))
def test_buckets_rise_to_the_largest_batch_with_little_padding(rows: int) -> None:
    from serve.acceleration.cuda_graphs import default_buckets

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
    from serve.acceleration.cuda_graphs import default_buckets

    assert default_buckets(rows) == sizes


def test_a_padded_plan_leaves_what_it_holds_and_adds_scratch_rows() -> None:
    from serve.acceleration.cuda_graphs import Plan, padded

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
    from serve.acceleration.cuda_graphs import Plan, padded

    indices = np.array([[3, 1], [0, 1], [0, 1], [6, 2]])
    numbers = np.arange(16, dtype=np.float32).reshape(2, 8)
    plan = padded(Plan(indices, numbers, images=2), 2, scratch_slot=4, scratch_row=8)
    assert plan.indices.tolist() == indices.tolist()
    assert plan.numbers.tolist() == numbers.tolist()
