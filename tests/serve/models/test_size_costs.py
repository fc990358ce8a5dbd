"""FLOPs of a size from those of others (F12), exactly."""

import random
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.catalog import MODEL_DEFAULTS
from serve.engine.request import Size
from serve.models.size_costs import combination, terms, total

SIDES = st.integers(8, 256)
SIZES = st.tuples(SIDES, SIDES)


def test_the_terms_of_a_size() -> None:
    # 9 x 8, then 5 x 4, 3 x 2, 2 x 1: rounded up, as strided convolutions do
    assert terms(9, 8) == (1, 72, 20, 6, 2, 72**2, 20**2, 6**2, 2**2)


@pytest.mark.parametrize(
    ("known", "wanted", "multiples"),
    [
        ([], (1, 2), None),
        ([(1, 2)], (2, 4), [2]),
        ([(1, 2)], (1, 3), None),
        ([(0, 1), (1, 0)], (3, 5), [5, 3]),
        (
            [(1, 4, 16), (1, 8, 64), (1, 16, 256)],
            (1, 12, 144),
            [Fraction(-1, 3), 1, Fraction(1, 3)],
        ),
    ],
)
def test_the_multiples_that_add_up(
    known: list[tuple[int, ...]], wanted: tuple[int, ...], multiples: list[Any] | None
) -> None:
    assert combination(known, wanted) == multiples


@settings(max_examples=30, deadline=None)
@given(st.lists(SIZES, min_size=1, max_size=12, unique=True), SIZES)
def test_what_adds_up_for_terms_adds_up_for_whatever_is_made_of_them(
    sizes: list[tuple[int, int]], wanted: tuple[int, int]
) -> None:
    weights = [7, 11, 13, 17, 19, 2, 3, 5, 23]
    independent: list[tuple[int, ...]] = []
    for size in sizes:
        if combination(independent, terms(*size)) is None:
            independent.append(terms(*size))
    assert 1 <= len(independent) <= 9
    multiples = combination(independent, terms(*wanted))
    if multiples is None:
        assert len(independent) < 9
        return
    made = [sum(w * t for w, t in zip(weights, each, strict=True)) for each in independent]
    assert total(multiples, made) == sum(
        w * t for w, t in zip(weights, terms(*wanted), strict=True)
    )


def test_a_total_that_is_no_number_of_operations() -> None:
    assert total([Fraction(1, 2)], [3]) is None
    assert total([Fraction(-1)], [3]) is None


class Pipeline:
    vae_scale_factor = 8


def counting(monkeypatch: pytest.MonkeyPatch, *, is_odd: bool) -> list[tuple[int, int]]:
    """Costs as a UNet's, or as nothing the theory knows; the list of what was counted."""
    flops = pytest.importorskip("serve.models.flops")
    counted: list[tuple[int, int]] = []

    def count(
        pipeline: Any, width: int, height: int, layers: int | None, text_flop: int | None = None
    ) -> Any:
        counted.append((width, height))
        levels = terms(height // 8, width // 8)
        row = sum((i + 2) * each for i, each in enumerate(levels)) + is_odd * (width % 7)
        return flops.Cost(row_flop=row, decode_flop=5 * levels[1], text_flop=3)

    monkeypatch.setattr(flops, "count", count)
    return counted


def random_sizes(count: int) -> list[Size]:
    draw = random.Random(1)
    return [
        Size(width=8 * draw.randint(8, 64), height=8 * draw.randint(8, 64)) for _ in range(count)
    ]


def test_ten_sizes_are_counted_and_all_others_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    """F12: whoever asks for ever new sizes takes no thread for a second each."""
    counted = counting(monkeypatch, is_odd=False)
    from serve.models import flops

    costs = flops.Costs(Pipeline())
    sizes = random_sizes(200)
    told = [costs.of(size) for size in sizes]
    assert len(counted) == 10  # nine are independent, and one is the proof
    assert told == [flops.count(None, size.width, size.height, None) for size in sizes]
    assert all(costs.known(size) == cost for size, cost in zip(sizes, told, strict=True))


def test_a_model_that_does_not_scale_so_is_counted_every_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted = counting(monkeypatch, is_odd=True)
    from serve.models import flops

    costs = flops.Costs(Pipeline())
    sizes = random_sizes(40)
    for size in sizes:
        costs.of(size)
    assert len(counted) == len(set(sizes))


def test_so_many_sizes_are_kept_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    counting(monkeypatch, is_odd=False)
    from serve.models import flops

    monkeypatch.setattr(flops, "KEPT", 20)
    costs = flops.Costs(Pipeline())
    sizes = random_sizes(100)
    for size in sizes:
        costs.of(size)
    assert sum(costs.known(size) is not None for size in set(sizes)) == 20


@pytest.mark.slow
@pytest.mark.parametrize("model", ["tiny", "tiny-sdxl", "tiny-sd35", "tiny-flux"])
def test_real_pipelines_scale_so(model: Any) -> None:
    """UNets with deep features reused, MM-DiT and FLUX: derived and counted are the same."""
    from serve.models.flops import Costs, count
    from tests.serve.models.test_flops import laid_out

    defaults = MODEL_DEFAULTS[model]
    layers = defaults.cache_layers if defaults.unet_layers else None
    pipeline, step = laid_out(model), defaults.side_step
    costs = Costs(pipeline, cache_layers=layers)
    draw = random.Random(1)
    sides = range(64, defaults.max_side + 1, step)
    sizes = [Size(width=draw.choice(sides), height=draw.choice(sides)) for _ in range(18)]
    told = [costs.of(size) for size in sizes]
    assert len(costs._counted) <= 9
    assert told[10:] == [count(pipeline, s.width, s.height, layers) for s in sizes[10:]]
