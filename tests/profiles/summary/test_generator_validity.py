"""What a generator says against itself."""

from typing import Any

import pytest

from profiles.schema import LOCAL_ERROR, ClockSample, LoadSample, Outcome, Verdict
from profiles.summary.generator_validity import clock_uncertainty_s
from tests.profiles.synthetic import START_S, TEN, manifest, record, replaced, summed


def samples(**each: list[float]) -> list[LoadSample]:
    (values,) = each.values()
    return [
        LoadSample(
            t_s=START_S + second, generator="locust-0", due=0, sent=0, done=0, in_flight=0,
            **{next(iter(each)): value},  # type: ignore[arg-type]
        )
        for second, value in enumerate(values)
    ]  # fmt: skip


def clock(offset_s: float, uncertainty_s: float, generator: str = "locust-0") -> ClockSample:
    return ClockSample(
        t_s=1.0, generator=generator, host="h", offset_s=offset_s, uncertainty_s=uncertainty_s
    )


BOUNDS = {
    "loop_stall_bound_s": 1.0,
    "loop_cpu_bound_pct": 95.0,
    "loop_cpu_bound_for_s": 5.0,
    "local_error_bound": 0,
}
LOCAL = record(
    3, outcome=Outcome.FAILED, status=None, error=f"{LOCAL_ERROR}[Errno 24] Too many open files"
)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"load": samples(loop_lag_s=[0.0, 1.25, 0.1])}, "stood still for 1.25 s (bound 1.00 s)"),
        # 96% from second 2 to second 7: five seconds
        ({"load": samples(loop_cpu_pct=[50, 50, 96, 96, 96, 96, 96, 50])}, "busy for 5 s"),
        ({"records": replaced(LOCAL)}, "failed 1 requests (bound 0)"),
        ({"clocks": [clock(-5000.0, 0.01), clock(-5000.045, 0.01)]}, "its clock may be 55 ms off"),
    ],
)
def test_above_a_bound_the_run_is_invalid(changes: dict[str, Any], words: str) -> None:
    summary = summed(manifest(TEN, **BOUNDS), **changes)
    assert summary.verdict is Verdict.INVALID
    (reason,) = summary.reasons
    assert words in reason
    assert reason.endswith(".")
    if "clocks" not in changes:  # an older run, which told no bounds, is not judged by them
        assert summed(manifest(TEN), **changes).valid


@pytest.mark.parametrize(
    "changes",
    [
        {"load": samples(loop_lag_s=[0.0, 0.9])},
        {"load": samples(loop_cpu_pct=[96, 96, 96, 96, 50, 96, 96, 96])},  # with a break
        {"records": replaced(record(3, outcome=Outcome.FAILED, error="Connection refused"))},
        {"clocks": [clock(-5000.0, 0.01), clock(-5000.035, 0.01)]},  # 45 of 50 ms
    ],
)
def test_below_it_is_valid(changes: dict[str, Any]) -> None:
    assert summed(manifest(TEN, **BOUNDS), **changes).valid


def test_the_worst_generator_counts_for_the_clock() -> None:
    assert clock_uncertainty_s([]) is None
    found = [clock(1.0, 0.002), clock(7.0, 0.001, "b"), clock(1.003, 0.001), clock(7.0, 0.003, "b")]
    # locust-0: 0.001 + 0.003 moved; b: 0.003
    assert clock_uncertainty_s(found) == pytest.approx(0.004)
