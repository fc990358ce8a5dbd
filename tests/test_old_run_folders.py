"""Run folders made before the packages were arranged by rooms still read.

In `before/`: `smoke`, a real run of the tiny model; `steady`, a made-up node of two GPUs; and the
ledger of `viralload capacity` on the latter. All were written by commit d486bef.
"""

import json
import shutil
from pathlib import Path

import pytest

from loadtest.cli.main import main

BEFORE = Path(__file__).with_name("before")
SMOKE, STEADY = "20260101T000000Z-smoke", "20260101T000000Z-steady"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A copy of the old folders."""
    return Path(shutil.copytree(BEFORE, tmp_path / "runs"))


@pytest.mark.parametrize(("name", "requests"), [(SMOKE, 48), (STEADY, 240)])
def test_they_give_their_report(
    name: str, requests: int, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(runs / name), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["valid"], told["reasons"]
    assert told["scheduled"] == sum(told["outcomes"].values()) == requests
    assert (runs / name / "report.html").stat().st_size > 50_000


def test_the_summary_of_then_is_the_summary_of_now(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = json.loads((runs / SMOKE / "summary.json").read_text())
    assert main(["report", str(runs / SMOKE), "--json"]) == 0
    now = json.loads(capsys.readouterr().out)
    numbers = {name: value for name, value in before.items() if isinstance(value, int | float)}
    assert len(numbers) > 25
    assert {name: now[name] for name in numbers} == pytest.approx(numbers)


def test_they_take_part_in_capacity(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["capacity", str(runs / STEADY)]) == 0
    told = capsys.readouterr().out
    assert "100,000 GPUs: 467,542 images/s, 95% between 381,396 and 573,146" in told


def test_predictions_of_then_are_in_the_ledger(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ledger", "--out", str(runs), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["record"]["predictions"] == 4
    assert main(["capacity", str(runs / STEADY)]) == 0  # the same run, the same predictions
    assert len((runs / "ledger.jsonl").read_text().splitlines()) == 4
