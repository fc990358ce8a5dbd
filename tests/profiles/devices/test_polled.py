"""What holds for the GPUs of every vendor: probed once, null where unknown, lost and found."""

from collections.abc import Callable, Sequence

import pytest

from profiles.devices.intel.counter import Rise
from profiles.devices.polled import (
    READINGS,
    RETRY_LOST_S,
    Ask,
    Device,
    Devices,
    LostError,
    ReadError,
    Unsupported,
    Value,
)
from profiles.schema import GpuInfo

INFO = GpuInfo(node="n1", index=0, uuid="uuid-0", name="GPU")
ABSENT = "no such call"


class Script:
    """Each reading gives, or raises, the next of its answers; the last one for ever."""

    def __init__(self, *answers: Value | Exception) -> None:
        self.answers = list(answers)

    def __call__(self) -> Sequence[Value]:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return (answer,)


def devices(*asks: Ask, find: Callable[[], list[Ask]] | None = None) -> Devices:
    device = Device(INFO, find or (lambda: list(asks)))
    return Devices("n1", [device], ABSENT, lambda: None)


def at(t_s: float) -> Callable[[], float]:
    return lambda: t_s


def test_every_reading_is_told_or_named_as_unable() -> None:
    gpus = devices(
        Ask("a", ("power_w",), Script(5.0)), Ask("b", ("temp_c",), Script(Unsupported("old")))
    )
    [sample] = gpus.sample(at(1.0), 0.75)
    assert (sample.power_w, sample.temp_c, sample.lag_s) == (5.0, None, 0.25)
    [state] = gpus.states(at(2.0), "begin")
    assert set(state.unable) == set(READINGS) - {"power_w"}
    assert (state.unable["temp_c"], state.unable["util_pct"]) == ("b: old", ABSENT)
    assert (state.when, state.t_s) == ("begin", 2.0)


def test_a_reading_that_is_not_told_any_more_is_null_without_a_fault() -> None:
    gpus = devices(Ask("a", ("power_w",), Script(1.0, 2.0, Unsupported("asleep"), 4.0)))
    powers = [gpus.sample(at(t_s), t_s)[0].power_w for t_s in (1.0, 2.0, 3.0)]
    assert powers == [2.0, None, 4.0]
    assert gpus.faults() == []


def test_a_call_that_fails_at_the_start_is_asked_again() -> None:
    gpus = devices(Ask("a", ("power_w",), Script(ReadError("busy"), ReadError("busy"), 7.0)))
    assert [gpus.sample(at(t_s), t_s)[0].power_w for t_s in (1.0, 2.0)] == [None, 7.0]
    assert [fault.detail for fault in gpus.faults()] == ["GPU 0 (uuid-0): a: busy"]
    assert "power_w" not in gpus.states(at(3.0), "end")[0].unable


def test_a_gpu_lost_at_the_start_is_taken_up_when_it_answers() -> None:
    found: list[list[Ask] | Exception] = [LostError("gone"), [Ask("a", ("power_w",), Script(3.0))]]

    def find() -> list[Ask]:
        answer = found.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    gpus = devices(find=find)
    assert gpus.states(at(0.0), "begin") == []
    assert [sample.power_w for sample in gpus.sample(at(1.0), 1.0)] == [3.0]
    kinds = [(fault.kind, fault.detail) for fault in gpus.faults()]
    assert kinds == [
        ("gpu_lost", "GPU 0 (uuid-0): gone"),
        ("gpu_back", "GPU 0 (uuid-0) answers again"),
    ]


def test_a_lost_gpu_is_left_alone_for_a_while_and_told_once() -> None:
    tried = []

    def find() -> list[Ask]:
        tried.append(1)
        if len(tried) > 1:
            raise LostError("still gone")
        return [Ask("a", ("power_w",), Script(1.0, LostError("gone")))]

    gpus = devices(find=find)
    times_s = (1.0, 2.0, 0.9 + RETRY_LOST_S, 1.0 + RETRY_LOST_S, 2.0 + RETRY_LOST_S)
    assert [gpus.sample(at(t_s), t_s) for t_s in times_s] == [[]] * 5
    assert len(tried) == 2  # at the start, and at 1.0 s + RETRY_LOST_S
    assert [fault.kind for fault in gpus.faults()] == ["gpu_lost"]


def test_costs_are_told_by_call_and_begin_anew() -> None:
    gpus = devices(Ask("a", ("power_w",), Script(1.0)))
    gpus.sample(at(1.0), 1.0)
    gpus.sample(at(2.0), 2.0)
    assert {name: cost.count for name, cost in gpus.calls().items()} == {"a": 2}
    assert gpus.calls() == {}


@pytest.mark.parametrize(("only", "left"), [([], 1), (["uuid-"], 1), (["other"], 0)])
def test_choose(only: list[str], left: int) -> None:
    gpus = devices(Ask("a", ("power_w",), Script(1.0)))
    gpus.choose(only)
    assert len(gpus) == len(gpus.describe()) == left


@pytest.mark.parametrize(
    ("looks", "rates"),
    [
        ([(0, 0), (300, 1), (900, 3)], [None, 300, 300]),
        ([(5, 1), (9, 1), (13, 2)], [None, None, 4]),  # its clock stood
        ([(50, 1), (10, 2), (16, 4)], [None, None, 3]),  # reset
    ],
)
def test_rise(looks: list[tuple[float, float]], rates: list[float | None]) -> None:
    rise = Rise()
    assert [rise.since(*look) for look in looks] == rates
