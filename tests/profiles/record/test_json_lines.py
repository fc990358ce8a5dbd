"""Whatever became of a line costs that line (F9), and of a file that file (F24)."""

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from profiles.ledger import ledger
from profiles.record import columns
from profiles.record.folder import RunError, RunFolder
from profiles.record.json_lines import DamagedError, decoded, open_regular
from profiles.schema import Outcome, RequestRecord, RunEvent
from profiles.summary.run import compute
from tests.profiles.ledger.test_ledger import prediction
from tests.profiles.synthetic import OK, START_S, TEN, manifest, record, write_run

DEEP = b"[" * 100_000
WHOLE = msgspec.json.encode(record(3))

DAMAGED = [
    WHOLE.replace(b'"ok"', b'"o\xff"'),
    b"\xff\xfe" + WHOLE,
    b'{"seq":' + DEEP,
    b'{"x":' + DEEP + b"]" * 100_000 + b"," + WHOLE[1:],
    b"\0" * 300,
    WHOLE[: len(WHOLE) // 2],
    b"[]",
    WHOLE.replace(b'"images":1,', b'"images":' + b"9" * 400 + b","),
    WHOLE.replace(b'"images":1,', b'"images":1000000000000000000,'),
    WHOLE.replace(b'"width":512', b'"width":"\\ud800"'),
    WHOLE.replace(b'"done_s":', b'"done_s":1e999,"x":'),
]


@pytest.mark.parametrize("line", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_line_costs_itself_alone(tmp_path: Path, line: bytes) -> None:
    folder = write_run(tmp_path, manifest(TEN), OK)
    path = folder.requests_path("0")
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([*lines[:3], line, *lines[4:]]) + b"\n")
    found = columns.read(folder)
    assert found.damaged == 1
    assert found.requests.seq.tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert compute(found).scheduled == 10


@pytest.mark.parametrize("line", [b'{"schema_version":1,"id":"\xff"}', DEEP, b"\xff", b"{}"])
def test_so_in_the_ledger(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger.append(path, [prediction("one")])
    with path.open("ab") as file:
        file.write(line + b"\n")
    ledger.append(path, [prediction("three")])
    book = ledger.read(path)
    assert [one.id for one in book.predictions] == ["one", "three"]
    assert book.damaged == 1


@pytest.mark.parametrize("data", [b"\xff", DEEP, b"{", b'{"schema_version":"1"}', b""])
def test_a_damaged_document_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "run.json").write_bytes(data)
    with pytest.raises(RunError, match=r"run\.json is damaged: "):
        RunFolder.open(tmp_path).manifest()


def test_numbers_that_can_be_are_left_as_they_are() -> None:
    decoder = msgspec.json.Decoder(RequestRecord)
    one = record(2**52, scheduled_s=0.12345678901234567, sent_s=1e-9)
    assert decoded(decoder, msgspec.json.encode(one)) == one
    with pytest.raises(DamagedError, match="seq is no number"):
        decoded(decoder, msgspec.json.encode(record(2**62)))


def fifo(path: Path) -> None:
    os.mkfifo(path)


def dangling(path: Path) -> None:
    path.symlink_to("/nowhere/at/all")


@pytest.mark.parametrize("make", [fifo, dangling, Path.mkdir])
def test_what_is_no_file_is_passed_by_and_never_waited_for(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    folder = write_run(tmp_path, manifest(TEN), OK)
    make(folder.requests_path("1"))
    found = columns.read(folder)
    assert found.damaged == 1
    assert len(found.requests) == 10
    with pytest.raises(OSError, match=r"no regular file|No such file"):
        open_regular(folder.requests_path("1"))
    tail = folder.requests()
    tail.read()
    tail.read()
    assert tail.damaged == 1  # however often it is looked at


def test_a_report_replaces_a_link_and_never_follows_it(tmp_path: Path) -> None:
    folder = write_run(tmp_path, manifest(TEN), OK)
    victim = tmp_path / "victim"
    victim.write_text("mine")
    for path in (folder.report_path, folder.summary_path):
        path.symlink_to(victim)
    folder.write_report("<p>new</p>")
    folder.write_summary(compute(columns.read(folder)))
    assert victim.read_text() == "mine"
    assert folder.report_path.read_text() == "<p>new</p>"
    assert not folder.report_path.is_symlink()
    assert not folder.summary_path.is_symlink()
    left = {path.name for path in folder.path.glob(".*")}
    assert left == set()


def test_a_load_that_was_seen_to_begin_is_reported_though_run_json_lacks_it(
    tmp_path: Path,
) -> None:
    about = manifest(TEN, end_reason=None, end_utc=None, load_start_s=None, load_end_s=None)
    begun = [RunEvent(t_s=START_S, kind="load_start", source="locust")]
    killed = compute(columns.read(write_run(tmp_path, about, OK, events=begun)))
    told = manifest(TEN, end_reason=None, end_utc=None, run_id="b")
    whole = compute(columns.read(write_run(tmp_path, told, OK)))
    assert killed.offered_images_per_s == whole.offered_images_per_s == 1.0
    assert killed.duration_s == 10.0
    assert killed.outcomes[Outcome.OK] == 10
