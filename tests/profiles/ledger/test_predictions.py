"""Predictions written before the fact and scored after: linear, wider with each doubling."""

import math
from pathlib import Path
from typing import Any

import msgspec
import pytest

from profiles.capacity.factors import Doublings
from profiles.capacity.goodput import measure_goodput
from profiles.ledger.ledger import FILE_NAME, GOODPUT, SATURATED, append, read
from profiles.ledger.predictions import Arrived, Record, predict, score, subject, sum_up, told
from profiles.ledger.scoring import arrived, record_of, record_told
from profiles.report.text.ledger import ledger_text
from profiles.requests.slo import own_slo
from tests.profiles.ledger.test_ledger import ABOUT, prediction
from tests.profiles.steady import STUB, full, full_run
from tests.profiles.synthetic import manifest, plan

MADE = "2026-01-01T12:00:00+00:00"


def stub(replicas: int) -> Any:
    return msgspec.structs.replace(
        STUB, replicas=replicas, settings={"model": "stub", "replicas": replicas}
    )


def of_stub(replicas: int, **changes: Any) -> dict[str, Any]:
    start = changes.pop("start_utc", "2026-01-01T00:00:00Z")
    rate = changes.pop("images_per_s", 10.0 * replicas)
    return {
        "target": stub(replicas), "gpus": [], "start_utc": start, "images_per_s": rate, **changes,
    }  # fmt: skip


def came(run_id: str = "b", **changes: Any) -> Arrived:
    values: dict[str, Any] = {
        "run_id": run_id,
        "start_utc": "2026-01-02T00:00:00Z",
        "subject": ABOUT,
        "servers": 2,
        "quantity": GOODPUT,
        "images_per_s": 11.0,
    }
    return Arrived(**(values | changes))


def test_a_run_predicts_its_repeat_and_two_four_eight_times(tmp_path: Path) -> None:
    run = full(tmp_path, "a", **of_stub(1))
    made = predict([measure_goodput(run, own_slo(run.manifest), 1)], MADE)
    assert [one.servers for one in made] == [1, 2, 4, 8]
    assert [one.value for one in made] == pytest.approx([10.0, 20.0, 40.0, 80.0], rel=0.01)
    assert {one.quantity for one in made} == {SATURATED}
    widths = [math.log(one.high / one.low) for one in made]
    assert widths == sorted(widths)
    assert len(set(widths)) == 4
    assert all(one.made_utc == MADE and one.from_runs == ["a"] for one in made)


def test_scored_predictions_replace_the_assumed_doubt(tmp_path: Path) -> None:
    run = full(tmp_path, "a", **of_stub(1))
    looked = [measure_goodput(run, own_slo(run.manifest), 1)]
    sure = Record(
        predictions=9,
        scored=8,
        covered=8,
        level=0.95,
        doubling_error=0.001,
        doubling_runs=8,
        largest_scored=8,
    )
    assumed, learnt = (predict(looked, MADE, record)[3] for record in (None, sure))
    assert learnt.high / learnt.low < assumed.high / assumed.low


def test_a_larger_test_takes_other_gpus(tmp_path: Path) -> None:
    gpu = full(tmp_path, "a")
    slo, servers = own_slo(gpu.manifest), len(gpu.manifest.gpus)
    made = predict([measure_goodput(gpu, slo, servers)], MADE)
    blank = full(tmp_path, "b", **of_stub(servers, images_per_s=10.0))
    others = predict([measure_goodput(blank, slo, servers)], MADE)
    again, larger = (math.log(made[times].high / made[times].low) / 2 for times in (0, 3))
    without = math.log(others[3].high / others[3].low) / 2
    spread = 1.96 * 0.08 / math.sqrt(servers)
    assert larger == pytest.approx(math.hypot(without, spread), rel=1e-3)
    assert again == pytest.approx(math.log(others[0].high / others[0].low) / 2)


@pytest.mark.parametrize(
    ("changes", "scored"),
    [
        ({}, True),
        ({"start_utc": "2025-12-31T23:59:59Z"}, False),  # ran before it was predicted
        ({"servers": 4}, False),
        ({"quantity": SATURATED}, False),  # a run, of what was predicted for a search
        ({"run_id": "a"}, False),  # what it was predicted from
        ({"subject": msgspec.structs.replace(ABOUT, scenario="rush")}, False),
        ({"subject": msgspec.structs.replace(ABOUT, slo="p(95) < 1s")}, False),
        ({"subject": msgspec.structs.replace(ABOUT, peak="0.7x")}, False),
        # the same instant in another zone's clock: 2026-01-01T00:00:30 UTC
        ({"start_utc": "2025-12-31T19:00:30-05:00"}, True),
    ],
)
def test_only_a_later_run_of_the_same_thing_scores(changes: dict[str, Any], scored: bool) -> None:
    assert bool(score([prediction()], [came(**changes)])) is scored


def test_error_coverage_and_bias() -> None:
    made = [prediction("in"), prediction("above", servers=4), prediction("open", servers=8)]
    scores = score(made, [came("b"), came("c", servers=4, images_per_s=20.0)])
    assert [one.covered for one in scores] == [True, False]  # 8 to 12
    errors = [math.log(1.1), math.log(2.0)]
    record = sum_up(made, scores)
    assert (record.predictions, record.scored, record.covered) == (3, 2, 1)
    assert record.bias == pytest.approx(sum(errors) / 2)
    assert record.error_rms == pytest.approx(math.hypot(*errors) / math.sqrt(2))
    assert record.doubling_error is None  # of two, too few
    assert "Of 3 predictions, 2 were scored, by 2 runs: 1 fell within their 95%" in told(record)


def test_the_error_a_doubling() -> None:
    made = [prediction(str(i), servers=2**i) for i in (1, 2, 3)]
    runs = [came(str(i), servers=2**i, images_per_s=10.0 * math.exp(0.02 * i)) for i in (1, 2, 3)]
    record = sum_up(made, score(made, runs))
    assert record.doubling_error == pytest.approx(0.02)
    assert record.doublings == Doublings(record.doubling_error or 0.0, runs=3, largest=8)


def test_one_run_that_scores_thrice_tells_one_thing() -> None:
    made = [prediction(str(i), servers=4) for i in range(3)]
    record = sum_up(made, score(made, [came("c", servers=4)]))
    assert (record.scored, record.doubling_error, record.doubling_runs) == (3, None, 1)


def test_the_first_run_that_came_is_the_one_that_counts() -> None:
    late, soon = came("late", start_utc="2026-03-01T00:00:00Z"), came("soon")
    assert [one.run_id for one in score([prediction()], [late, soon])] == ["soon"]


def test_what_was_predicted_of_means_over_curves_is_told_apart_and_scored_by_nothing(
    tmp_path: Path,
) -> None:
    run = full(tmp_path, "a", **of_stub(1))
    path = tmp_path / FILE_NAME
    new = predict([measure_goodput(run, own_slo(run.manifest), 1)], MADE)
    old = [
        msgspec.structs.replace(one, id=f"old{one.id}", schema_version=1, quantity=GOODPUT)
        for one in new
    ]
    append(path, old + new)
    full_run(tmp_path, "again", **of_stub(1, start_utc="2026-01-01T13:00:00Z", seed=1))
    book = read(path)
    scores = score(book.predictions, arrived(tmp_path, book.predictions))
    assert [one.prediction.id for one in scores] == [new[0].id]
    assert record_of(path, run.manifest).predictions == 4
    words = ledger_text(path, book, scores, record_of(path, run.manifest))
    assert "4 older predictions tell means over a curve" in words
    assert words.count("  open ") == 3
    search = msgspec.structs.replace(
        old[0], subject=msgspec.structs.replace(old[0].subject, peak="found")
    )
    assert not search.superseded  # was at its SLO then as now


def test_an_empty_or_open_ledger_says_so() -> None:
    assert "No prediction about this model and device" in told(sum_up([], []))
    assert "none was scored yet" in told(sum_up([prediction()], []))


def test_from_folders(tmp_path: Path) -> None:
    run = full(tmp_path, "a", **of_stub(1))
    path = tmp_path / FILE_NAME
    append(path, predict([measure_goodput(run, own_slo(run.manifest), 1)], MADE))
    assert record_of(path, run.manifest).scored == 0
    after = "2026-01-01T13:00:00Z"
    full_run(tmp_path, "two", **of_stub(2, start_utc=after, images_per_s=19.0, demand=32 / 19))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{")
    book = read(path)
    runs = arrived(tmp_path, book.predictions)
    scores = score(book.predictions, runs)
    assert [(one.run_id, one.covered) for one in scores] == [("two", True)]
    assert scores[0].error == pytest.approx(math.log(0.95), abs=0.03)
    words = ledger_text(path, book, scores, record_of(path, run.manifest))
    assert "✓ scored steady, stub, 2 × cpu: 20 images/s" in words
    assert words.count("open ") == 3
    assert "1 fell within" in record_told(path, run.manifest)


def test_how_stubs_scale_says_nothing_of_gpus(tmp_path: Path) -> None:
    run = full(tmp_path, "a", **of_stub(1))
    gpu = full(tmp_path, "gpu")
    path = tmp_path / FILE_NAME
    append(path, predict([measure_goodput(run, own_slo(run.manifest), 1)], MADE))
    assert record_of(path, run.manifest).predictions == 4
    assert record_of(path, gpu.manifest).predictions == 0
    assert record_of(path, None).predictions == 0


def test_an_unreadable_ledger_is_told_in_the_report(tmp_path: Path) -> None:
    assert "could not be read" in record_told(tmp_path, manifest(None))


def test_what_the_size_changes_is_no_part_of_the_subject() -> None:
    one, two = (
        manifest(
            plan(10, 10.0, peak_images_per_s=13.0 * n, capacity_images_per_s=10.0 * n),
            target=stub(n),
        )
        for n in (1, 2)
    )
    assert subject(one, "p(95) < 10s") == subject(two, "p(95) < 10s")
    other = msgspec.structs.replace(two, scenario="rush")
    assert subject(one, "p(95) < 10s") != subject(other, "p(95) < 10s")
