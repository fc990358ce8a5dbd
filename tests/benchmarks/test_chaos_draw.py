import msgspec
import pytest

from benchmarks.chaos_draw import (
    EARLIEST_S,
    KINDS,
    LATEST_S,
    LOAD_S,
    SERVERS_PARTS,
    Case,
    draw,
)
from benchmarks.chaos_expected import SILENCE_S, expected

MANY = [draw(7, index) for index in range(20 * len(KINDS))]


def test_a_run_is_the_same_alone_and_among_others() -> None:
    assert [draw(7, index) for index in (3, 50, 700)] == [MANY[3], MANY[50], MANY[700]]
    assert [draw(8, index) for index in range(20)] != MANY[:20]
    assert msgspec.json.decode(msgspec.json.encode(MANY[0]), type=Case) == MANY[0]


def test_every_kind_comes_once_before_any_comes_again() -> None:
    assert len(set(KINDS)) == len(KINDS)
    rounds = [MANY[start : start + len(KINDS)] for start in range(0, len(MANY), len(KINDS))]
    orders = [[_kind(case) for case in one] for one in rounds]
    assert all(len(set(order)) == len(KINDS) for order in orders)
    assert orders[0] != orders[1]


def _kind(case: Case) -> tuple[object, ...]:
    act = case.act
    is_of_user = act.how in ("interrupt", "terminate", "leave")
    return (case.setting, act.how, None if is_of_user else act.target)


def test_what_is_drawn_leaves_time_to_be_noticed() -> None:
    for case in MANY:
        act = case.act
        assert case.load_s == LOAD_S
        if act.target is not None and act.under_load:
            assert EARLIEST_S <= act.at_s <= LATEST_S < LOAD_S - SILENCE_S
        if act.for_s is not None:  # clear of the bound, so that either side has one right verdict
            assert act.how == "stop"
            assert abs(act.for_s - SILENCE_S) >= 1.0
        if act.target == "driver" and act.how == "stop":
            assert act.for_s is not None  # nothing could end such a run
        if act.target in ("one generator", "master"):
            assert case.processes == 2
        if case.setting == "foreign" and act.target in SERVERS_PARTS:
            assert act.under_load  # before it, there would be no run


def test_every_shape_is_drawn() -> None:
    kills = [case.act for case in MANY if case.act.how == "kill"]
    stops = [case.act for case in MANY if case.act.how == "stop"]
    assert 0.1 < sum(not act.under_load for act in kills) / len(kills) < 0.3
    assert 0.05 < sum(act.for_s is None for act in stops) / len(stops) < 0.25
    assert {case.people for case in MANY} == {True, False}
    assert {case.processes for case in MANY} == {1, 2}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_an_expectation(kind: tuple[object, ...]) -> None:
    cases = [case for case in MANY if _kind(case) == kind]
    assert cases
    for case in cases:
        right = expected(case)
        assert right.verdicts
        if "invalid" in right.verdicts:
            assert right.first or case.setting == "workers"
