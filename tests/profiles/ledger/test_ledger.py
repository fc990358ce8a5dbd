"""The ledger: append-only, one writer at a time, and readable after anything."""

import multiprocessing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from profiles.ledger.ledger import (
    LEDGER_VERSION,
    LedgerError,
    Prediction,
    Subject,
    append,
    prediction_id,
    read,
)

ABOUT = Subject(
    scenario="steady", model="stub", device="cpu", settings_sha="0", slo="p(95) < 10s", peak="1.3x"
)


def prediction(name: str = "one", **changes: Any) -> Prediction:
    values: dict[str, Any] = {
        "id": name,
        "made_utc": "2026-01-01T00:00:00+00:00",
        "from_runs": ["a"],
        "from_servers": 1,
        "subject": ABOUT,
        "servers": 2,
        "value": 10.0,
        "low": 8.0,
        "high": 12.0,
        "level": 0.95,
        "basis": "linear",
    }
    return Prediction(**(values | changes))


def test_what_is_written_is_read_in_its_order(tmp_path: Path) -> None:
    path = tmp_path / "new" / "ledger.jsonl"
    append(path, [prediction("one"), prediction("two")])
    append(path, [prediction("three")])
    assert [one.id for one in read(path).predictions] == ["one", "two", "three"]
    assert read(path).predictions[0] == prediction("one")


def test_nothing_written_is_never_changed(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    append(path, [prediction("one")])
    before = path.read_bytes()
    append(path, [prediction("two")])
    assert path.read_bytes().startswith(before)


def test_no_file_holds_nothing(tmp_path: Path) -> None:
    assert read(tmp_path / "none.jsonl").predictions == []


@pytest.mark.parametrize("kept", [1, 40, -1])
def test_a_torn_last_line_costs_only_itself(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "ledger.jsonl"
    append(path, [prediction("one"), prediction("torn")])
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    path.write_bytes(whole[:first] + whole[first:-1][:kept])  # killed while writing the second
    assert [one.id for one in read(path).predictions] == ["one"]
    append(path, [prediction("three")])
    book = read(path)
    assert [one.id for one in book.predictions] == ["one", "three"]
    assert book.damaged == 1


def test_a_newer_ledger_is_refused_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    append(path, [prediction(), prediction(schema_version=LEDGER_VERSION + 1)])
    with pytest.raises(LedgerError, match=r"line 2: written by a newer viralload"):
        read(path)


def test_fields_of_later_versions_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    told = msgspec.json.decode(msgspec.json.encode(prediction())) | {"mood": "hopeful"}
    path.write_bytes(msgspec.json.encode(told) + b"\n")
    assert read(path).predictions == [prediction()]


def test_a_folder_in_its_place_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="--ledger FILE"):
        append(tmp_path, [prediction()])
    with pytest.raises(LedgerError, match="cannot read"):
        read(tmp_path)


def _write(path: Path, writer: int) -> None:
    for index in range(25):
        append(path, [prediction(f"{writer}-{index}-{part}") for part in range(3)])


def test_writers_at_once_mix_no_lines(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(path, writer)) for writer in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    book = read(path)
    assert book.damaged == 0
    names = [one.id for one in book.predictions]
    assert len(set(names)) == 3 * 25 * 3
    # what was appended together stands together
    assert all(
        names[i].rsplit("-", 1)[0] == names[i + 2].rsplit("-", 1)[0] for i in range(0, 225, 3)
    )


def test_ids_tell_predictions_apart() -> None:
    made = [
        prediction_id("2026", ["a"], 2, "x"),
        prediction_id("2026", ["a"], 4, "x"),
        prediction_id("2026", ["a", "b"], 2, "x"),
        prediction_id("2027", ["a"], 2, "x"),
    ]
    assert len(set(made)) == 4
