import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.models.flops import Cost, image_flop, step_flops
from serve.shortcuts import NONE, Shortcuts

# A row 10, a shallow one 3, a text 5, the decoder 7.
COST = Cost(row_flop=10, shallow_flop=3, text_flop=5, decode_flop=7)


@pytest.mark.parametrize(
    ("share", "steps", "guided"),
    [
        (1.0, 20, 20),
        (0.67, 3, 2),  # two thirds of three, though 0.67 * 3 is a little more
        (0.67, 20, 13),  # 13.4
        (0.5, 5, 2),  # 2.5: to the even one
        (0.01, 20, 1),  # at least one
        (0.67, 1, 1),
    ],
)
def test_how_many_steps_are_guided(share: float, steps: int, guided: int) -> None:
    assert Shortcuts(guidance_until=share).guided_steps(steps) == guided


def test_the_first_step_is_whole_and_every_nth_from_there() -> None:
    assert [Shortcuts(cache_steps=3).is_whole(step) for step in range(7)] == [
        True, False, False, True, False, False, True,
    ]  # fmt: skip
    assert all(NONE.is_whole(step) for step in range(7))


@pytest.mark.parametrize(
    ("shortcuts", "guided", "expected"),
    [
        (NONE, False, [10, 10, 10, 10]),
        (NONE, True, [20, 20, 20, 20]),
        (Shortcuts(cache_steps=2), False, [10, 3, 10, 3]),
        (Shortcuts(cache_steps=3), True, [20, 6, 6, 20]),
        (Shortcuts(guidance_until=0.5), True, [20, 20, 10, 10]),
        (Shortcuts(guidance_until=0.5), False, [10, 10, 10, 10]),  # there is none to leave out
        (Shortcuts(cache_steps=2, guidance_until=0.25), True, [20, 3, 10, 3]),
    ],
)
def test_each_steps_flops(shortcuts: Shortcuts, guided: bool, expected: list[int]) -> None:
    assert step_flops(COST, 4, guided=guided, shortcuts=shortcuts) == expected
    texts = 10 if guided else 5
    assert image_flop(COST, 4, guided=guided, shortcuts=shortcuts) == sum(expected) + texts + 7


@given(
    st.integers(1, 150),
    st.booleans(),
    st.builds(
        Shortcuts,
        cache_steps=st.integers(1, 16),
        guidance_until=st.floats(0.0, 1.0, exclude_min=True),
    ),
)
def test_a_shortcut_never_costs_more_than_the_full_loop(
    steps: int, guided: bool, shortcuts: Shortcuts
) -> None:
    cut = step_flops(COST, steps, guided=guided, shortcuts=shortcuts)
    full = step_flops(COST, steps, guided=guided)
    assert len(cut) == len(full) == steps
    assert all(0 < one <= other for one, other in zip(cut, full, strict=True))
    assert cut[0] == full[0]
