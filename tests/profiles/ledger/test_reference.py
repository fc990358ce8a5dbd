"""The committed predictions of real runs: stub replicas on a CPU, written before, scored after."""

import math
from pathlib import Path

import msgspec
import pytest

from profiles.ledger.ledger import read
from profiles.ledger.predictions import Record, Score, sum_up

REFERENCE = Path(__file__).parents[3] / "profiles" / "reference"


class Told(msgspec.Struct, frozen=True):
    """What `viralload ledger --json` printed."""

    record: Record
    scores: list[Score]
    damaged_lines: int


BOOK = read(REFERENCE / "ledger-stub-cpu.jsonl")
TOLD = msgspec.json.decode((REFERENCE / "ledger-stub-cpu-scores.json").read_bytes(), type=Told)


def test_they_are_labelled_as_what_they_are() -> None:
    assert BOOK.damaged == 0
    assert {(one.subject.model, one.subject.device) for one in BOOK.predictions} == {
        ("stub", "cpu")
    }


def test_they_are_of_means_over_a_curve_which_no_run_is_counted_by_any_more() -> None:
    assert all(one.superseded for one in BOOK.predictions)


def test_each_score_is_of_a_prediction_written_before_its_run() -> None:
    for one in TOLD.scores:
        assert one.prediction in BOOK.predictions
        began = one.run_id.split("-")[0]  # 20261124T225229Z
        made = one.prediction.made_utc.split(".")[0].replace("-", "").replace(":", "") + "Z"
        assert began > made
        assert one.run_id not in one.prediction.from_runs
        assert one.error == pytest.approx(math.log(one.actual / one.prediction.value))
        assert one.covered is (one.prediction.low <= one.actual <= one.prediction.high)


def test_the_record_follows_from_the_scores() -> None:
    assert sum_up(BOOK.predictions, TOLD.scores) == TOLD.record
    assert TOLD.record.scored >= 5
    assert {one.prediction.servers for one in TOLD.scores} == {1, 2, 4, 8}
