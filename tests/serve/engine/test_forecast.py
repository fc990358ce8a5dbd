import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.engine.forecast import Load, StepRate, Tail, completion_s


def fitted(*points: tuple[float, float]) -> StepRate:
    rate = StepRate()
    for step_flop, seconds in points:
        rate.observe(step_flop, seconds)
    return rate


def test_nothing_is_known_before_the_first_step() -> None:
    rate = StepRate()
    assert not rate.is_known
    assert rate.seconds(1e12) == 0.0
    rate.observe(1e12, 0.5)
    assert rate.is_known


@pytest.mark.parametrize(
    ("points", "step_flop", "seconds"),
    [
        ([(2.0, 5.0), (4.0, 9.0)], 8.0, 17.0),  # 1 + 2 F
        ([(2.0, 5.0), (4.0, 9.0)], 0.0, 1.0),
        ([(2.0, 5.0), (4.0, 5.0)], 100.0, 5.0),  # launches are all it costs
        ([(4.0, 8.0)], 8.0, 16.0),  # one size seen: a larger one in proportion,
        ([(4.0, 8.0)], 1.0, 8.0),  # a smaller one the same
        ([(4.0, 8.0), (4.001, 8.0)], 8.0, 16.0),  # a spread of 0.01%: none
        ([(0.0, 3.0)], 8.0, 3.0),  # a model that counts nothing
    ],
)
def test_a_line_through_steps(
    points: list[tuple[float, float]], step_flop: float, seconds: float
) -> None:
    assert fitted(*points).seconds(step_flop) == pytest.approx(seconds, rel=1e-3)


@pytest.mark.parametrize(
    ("points", "small_s", "large_s"),
    [
        # Falling: b = 0, the weighted mean; weights 0.995 and 1: (0.995 9 + 5) / 1.995
        ([(2.0, 9.0), (4.0, 5.0)], 6.995, 6.995),
        # Steeper than in proportion: a = 0. Means F 3.0025, s 5.0100: s = 1.6686 F
        ([(2.0, 1.0), (4.0, 9.0)], 0.0, 8 * 5.0100 / 3.0025),
    ],
)
def test_neither_part_of_the_line_falls_below_0(
    points: list[tuple[float, float]], small_s: float, large_s: float
) -> None:
    rate = fitted(*points)
    assert rate.seconds(0.0) == pytest.approx(small_s, abs=0.01)
    assert rate.seconds(8.0) == pytest.approx(large_s, rel=0.01)


def test_noise_averages_out() -> None:
    draw = random.Random(7)
    rate = StepRate()
    for _ in range(300):
        step_flop = draw.choice([1e12, 2e12, 4e12, 8e12])
        rate.observe(step_flop, (0.01 + step_flop / 200e12) * draw.uniform(0.9, 1.1))
    for step_flop in (1e12, 8e12):
        assert rate.seconds(step_flop) == pytest.approx(0.01 + step_flop / 200e12, rel=0.05)


def test_a_warm_up_keeps_the_slope_through_steps_of_one_size() -> None:
    rate = fitted((1.0, 1.1), (8.0, 1.8))  # s = 1 + 0.1 F
    rate.anchor()
    for _ in range(5000):
        rate.observe(1.0, 1.1)
    assert rate.seconds(1.0) == pytest.approx(1.1, rel=0.01)
    assert rate.seconds(8.0) == pytest.approx(1.8, rel=0.01)
    for _ in range(2000):  # the machine is twice as slow now
        rate.observe(1.0, 2.2)
    assert rate.seconds(1.0) == pytest.approx(2.2, rel=0.05)


def test_nothing_known_anchors_nothing() -> None:
    rate = StepRate()
    rate.anchor()
    assert not rate.is_known


def test_what_is_long_past_is_forgotten() -> None:
    points = [(1.0, 9.0), (2.0, 9.0)] * 50 + [(1.0, 1.0), (2.0, 2.0)] * 800  # 0.995^1600 = 0.0003
    rate = fitted(*points)
    assert rate.seconds(1.0) == pytest.approx(1.0, rel=0.02)
    assert rate.seconds(2.0) == pytest.approx(2.0, rel=0.02)


@given(
    points=st.lists(st.tuples(st.floats(1e9, 1e15), st.floats(1e-4, 10)), min_size=1, max_size=30),
    flops=st.tuples(st.floats(0, 1e16), st.floats(0, 1e16)),
)
def test_a_larger_step_never_takes_less(
    points: list[tuple[float, float]], flops: tuple[float, float]
) -> None:
    rate = fitted(*points)
    small, large = sorted(flops)
    assert 0 <= rate.seconds(small) * (1 - 1e-9) <= rate.seconds(large) + 1e-9


def test_the_tail_is_a_mean_of_late_and_the_least_ever() -> None:
    tail = Tail()
    assert (tail.mean_s, tail.least_s) == (0.0, 0.0)
    for seconds in (2.0, 1.0, 6.0):
        tail.observe(seconds)
    assert tail.mean_s == pytest.approx(2.64)  # 2, 0.8 2 + 0.2 1 = 1.8, 0.8 1.8 + 0.2 6
    assert tail.least_s == 1.0


def flat(step_flop: float) -> float:
    return 1.0


def in_proportion(step_flop: float) -> float:
    return step_flop


def load(steps: int, step_flop: float = 1.0) -> Load:
    return Load(steps=steps, step_flop=step_flop)


@pytest.mark.parametrize(
    ("running", "waiting", "slots", "step_s", "done_s"),
    [
        ([], [], 2, flat, []),
        ([load(9)], [], 2, flat, []),
        ([], [load(3)], 1, flat, [3.0]),
        ([], [load(3), load(2)], 1, flat, [3.0, 5.0]),  # one after the other
        ([], [load(3), load(2)], 2, flat, [3.0, 2.0]),  # side by side
        ([load(4)], [load(3)], 1, flat, [7.0]),
        ([load(4), load(1)], [load(3)], 2, flat, [4.0]),  # takes the slot that is free at 1
        # More run than slots, as another size has slots of its own: waits until one is free.
        ([load(5), load(5), load(5)], [load(1)], 2, flat, [6.0]),
        # 2 steps of both, then the longer one alone: 2 (3 + 1), and 1.
        ([], [load(2, 3.0), load(3, 1.0)], 2, in_proportion, [8.0, 9.0]),
    ],
)
def test_completion(
    running: list[Load],
    waiting: list[Load],
    slots: int,
    step_s: Callable[[float], float],
    done_s: list[float],
) -> None:
    assert completion_s(running, waiting, slots=slots, step_s=step_s) == done_s


def step_by_step(
    running: Sequence[Load],
    waiting: Sequence[Load],
    slots: int,
    step_s: Callable[[float], float],
) -> list[float]:
    """The engine's rule, played without a leap."""
    done_s = [0.0] * len(waiting)
    active = [[each.steps, -1, each.step_flop] for each in running]
    line = [[each.steps, index, each.step_flop] for index, each in enumerate(waiting)]
    now_s = 0.0
    while active or line:
        while line and len(active) < slots:
            active.append(line.pop(0))
        now_s += step_s(sum(step_flop for _, _, step_flop in active))
        for each in active:
            each[0] -= 1
            if each[0] == 0 and each[1] >= 0:
                done_s[int(each[1])] = now_s
        active = [each for each in active if each[0] > 0]
    return done_s


loads = st.lists(st.builds(load, st.integers(1, 12), st.sampled_from([1.0, 2.0, 5.0])), max_size=9)


@given(running=loads, waiting=loads, slots=st.integers(1, 6))
def test_completion_is_the_engines_rule_played_to_its_end(
    running: list[Load], waiting: list[Load], slots: int
) -> None:
    def step_s(step_flop: float) -> float:
        return 0.5 + step_flop

    leaps = completion_s(running, waiting, slots=slots, step_s=step_s)
    assert leaps == pytest.approx(step_by_step(running, waiting, slots, step_s))


@given(running=loads, waiting=loads, more=loads, slots=st.integers(1, 6))
def test_who_comes_later_makes_nobody_earlier(
    running: list[Load], waiting: list[Load], more: list[Load], slots: int
) -> None:
    before = completion_s(running, waiting, slots=slots, step_s=in_proportion)
    after = completion_s(running, [*waiting, *more], slots=slots, step_s=in_proportion)
    for earlier_s, later_s in zip(before, after, strict=False):
        assert earlier_s <= later_s + 1e-9


@given(running=loads, count=st.integers(0, 12), slots=st.integers(1, 6))
def test_equal_images_are_done_in_the_order_they_came(
    running: list[Load], count: int, slots: int
) -> None:
    done_s = completion_s(running, [load(4)] * count, slots=slots, step_s=in_proportion)
    assert done_s == sorted(done_s)
