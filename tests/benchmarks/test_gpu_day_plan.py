"""Which parts run, for how long, and as what."""

from pathlib import Path

import pytest

from benchmarks.gpu_day_plan import END_S, NAMES, PARTS, Asked, Part, chosen, command, time_for

PART = Part(name="p", module="m", words=("w",), expected_s=50, limit_s=90, rehearsal_s=30)


@pytest.mark.parametrize(
    ("left_s", "rehearse", "limit_s"),
    [
        (590, False, 90),
        (98, False, 90),  # less END_S
        (70, False, 62),
        (58, False, 50),
        (57.9, False, None),
        (590, True, 30),
        (20, True, 12),
        (8.5, True, None),
    ],
)
def test_time_for_a_part(left_s: float, rehearse: bool, limit_s: float | None) -> None:
    assert END_S == 8.0
    assert time_for(PART, left_s, rehearse=rehearse) == limit_s


def test_the_order_is_kept_whatever_the_words_say() -> None:
    asked = Asked(out=Path("o"), only=("tests", "smoke"))
    assert [part.name for part in chosen(asked)] == ["smoke", "tests"]
    assert [part.name for part in chosen(Asked(out=Path("o")))] == list(NAMES)
    assert NAMES == ("environment", "smoke", "sdxl", "http", "sd15", "ablation", "sampler", "tests")


def test_the_parts_expected_times_fit_into_the_budget() -> None:
    assert sum(part.expected_s for part in PARTS) + END_S <= Asked(out=Path("o")).budget_s
    assert all(part.expected_s < part.limit_s for part in PARTS)


def test_commands() -> None:
    line = command(PART, Asked(out=Path("/o"), device="cuda"))
    assert line[1:] == ["-m", "benchmarks.m", "w", "--part", "p", "--out", "/o", "--device", "cuda"]
    assert command(PART, Asked(out=Path("/o"), rehearse=True))[-1] == "--rehearse"
