"""What was asked for: shares of kinds, in words, and whether two mixes are one."""

from typing import Any

import pytest

from profiles.record.columns import request_columns
from profiles.requests.request_mix import Mix, mix_of
from profiles.schema import Outcome
from tests.profiles.synthetic import record

ONE, FOUR = (1, 512, 512, 20), (4, 512, 512, 20)


def test_shares_are_of_the_ok_answers() -> None:
    kinds: list[dict[str, Any]] = [
        {},
        {"images": 4, "steps": 50},
        {},
        {"outcome": Outcome.REJECTED, "images": 8},
    ]
    found = mix_of(request_columns([record(seq, **kind) for seq, kind in enumerate(kinds)]))
    assert found is not None
    assert found.shares == {
        (1, 512, 512, 0): pytest.approx(2 / 3), (4, 512, 512, 50): pytest.approx(1 / 3),
    }  # fmt: skip
    assert found.images_a_request == pytest.approx(2.0)
    assert found.told == "1 image of 512 × 512 a request in 67% of them"
    assert mix_of(request_columns([record(0, outcome=Outcome.FAILED)])) is None


@pytest.mark.parametrize(
    ("one", "two", "differs"),
    [
        ({ONE: 1.0}, {ONE: 1.0}, False),
        ({ONE: 1.0}, {FOUR: 1.0}, True),
        ({ONE: 1.0}, {ONE: 0.96, FOUR: 0.04}, False),
        ({ONE: 0.6, FOUR: 0.4}, {ONE: 0.7, FOUR: 0.3}, False),  # of 100: chance
        ({ONE: 0.6, FOUR: 0.4}, {ONE: 0.3, FOUR: 0.7}, True),
    ],
)
def test_what_differs(one: dict[object, float], two: dict[object, float], differs: bool) -> None:
    assert Mix(100, one).differs(Mix(100, two)) is differs  # type: ignore[arg-type]
    assert Mix(100, two).differs(Mix(100, one)) is differs  # type: ignore[arg-type]
