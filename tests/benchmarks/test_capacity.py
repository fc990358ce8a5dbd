"""The 95% interval covers about 95% of worlds whose truth is known."""

import json

import pytest

from benchmarks import capacity
from benchmarks.capacity import Told, measure


def test_coverage_in_brief() -> None:
    found = measure(200, seed=0)
    for kind in capacity.KINDS:
        told = found[kind]
        assert isinstance(told, dict)
        assert 0.90 <= told["coverage"] <= 0.99, (kind, told)


@pytest.mark.slow
def test_coverage() -> None:
    for seed in range(5):
        found = measure(1000, seed)
        for kind in capacity.KINDS:
            told = found[kind]
            assert isinstance(told, dict)
            assert 0.92 <= told["coverage"] <= 0.98, (kind, told)


def test_an_interval_that_is_too_narrow_is_caught() -> None:
    def narrow(kind: str, seed: int) -> Told:
        told = capacity.world(kind, seed)
        middle = (told.low * told.high) ** 0.5
        return Told(told.truth, (told.low * middle) ** 0.5, (told.high * middle) ** 0.5)

    coverage = measure(200, seed=0, draw=narrow)["coverage"]
    assert isinstance(coverage, float)
    assert coverage < 0.85


def test_worlds_repeat_for_a_seed() -> None:
    assert capacity.world("windows", 3) == capacity.world("windows", 3)
    assert capacity.world("windows", 3) != capacity.world("windows", 4)


def test_the_command_prints_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["capacity", "--worlds", "50"])
    assert capacity.main() in (0, 1)
    told = json.loads(capsys.readouterr().out)
    assert set(told) > {"worlds", "seed", "level", "repeats", "windows", "coverage", "command"}
