"""Whole searches against somebody else's server: real Locust, real records."""

import itertools
from pathlib import Path

import msgspec
import pytest

from benchmarks.queues import capacity, mdc_tail
from loadtest.cli.main import main
from profiles.record.folder import RunFolder
from profiles.schema import EndReason, FindResult, FindVerdict
from tests.loadtest.command import Viralload
from tests.loadtest.conftest import StartServer

e2e = pytest.mark.e2e


def find(folder: Path, url: str, *more: str) -> Viralload:
    return Viralload(folder, ["find", "--host", url, "--size", "64x64", "--json", *more])


@pytest.mark.slow
@e2e
def test_a_search_finds_what_a_server_of_four_places_takes(
    tmp_path: Path, image_server: StartServer, capsys: pytest.CaptureFixture[str]
) -> None:
    # M/D/4 of 20 ms, less what the server and HTTP take beside. In 40 s an interval comes three
    # times in four, so its want is no failure; that the search looks in the wrong place is.
    truth = capacity(lambda rate: mdc_tail(rate, 0.02, 4, 0.1), 0.1, 200.0)
    assert 180 < truth < 200
    url = image_server(delay_s=0.02, places=4)
    command = find(tmp_path, url, "--slo", "p(90) < 100ms", "--precision", "30%", "--time", "40s")
    assert command.finish() in (0, 3), command.stderr
    result = msgspec.json.decode(command.stdout, type=FindResult)
    assert result.valid, result.reasons
    assert result.requests_per_s == result.images_per_s
    assert 0.6 * truth < (result.requests_per_s or 0.0) < 1.1 * truth
    assert (result.low_requests_per_s is None) == (result.verdict is FindVerdict.UNKNOWN)

    folder = command.folder
    planned = folder.windows().read()
    records = folder.requests().read()
    assert sorted(r.seq for r in records) == list(range(sum(w.requests for w in planned)))
    for window, later in itertools.pairwise(planned):
        assert later.start_s >= window.start_s + window.duration_s - 1e-6
    assert folder.manifest().end_reason is EndReason.COMPLETED
    assert command.processes() == []

    # read again from the records alone, and taken as the capacity of a run
    folder.find_path.unlink()
    folder.report_path.unlink()
    assert main(["report", str(folder.path), "--json"]) == 0
    assert msgspec.json.decode(capsys.readouterr().out, type=FindResult) == result
    assert "Throughput against latency" in folder.report_path.read_text()
    assert main(["report", str(folder.path)]) == 0
    assert "SLO 100 ms |" in capsys.readouterr().out


def test_what_was_found_is_what_a_peak_refers_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = FindResult(
        run_id="r", scenario="s", verdict=FindVerdict.FOUND, valid=True, reasons=[],
        slo="p(95) < 2s", limit_s=2.0, allowed_share=0.05, precision=0.03,
        images_per_s=8.0, low_images_per_s=7.9, high_images_per_s=8.1,
    )  # fmt: skip
    (tmp_path / "run.json").touch()
    RunFolder(tmp_path).write_find(found)
    assert main(["plan", "steady", "--peak", "1.5x", "--capacity", str(tmp_path)]) == 0
    drawn = " ".join(capsys.readouterr().out.split())
    assert "1.5 x the capacity of 8 images/s (found: 8 images/s (95%: 7.9 to 8.1)" in drawn
    unknown = msgspec.structs.replace(found, verdict=FindVerdict.UNKNOWN, low_images_per_s=None)
    RunFolder(tmp_path).write_find(unknown)
    assert main(["plan", "steady", "--capacity", str(tmp_path)]) == 2
    assert "found no capacity" in capsys.readouterr().err


@e2e
def test_what_a_lone_request_misses_is_named_at_once(
    tmp_path: Path, image_server: StartServer
) -> None:
    command = find(tmp_path, image_server(delay_s=0.2), "--slo", "p(95) < 100ms", "--time", "60s")
    assert command.finish(timeout_s=30) == 99, command.stderr
    assert "cannot be met: a lone request takes 0.2" in command.stderr
    result = msgspec.json.decode(command.stdout, type=FindResult)
    assert (result.verdict, result.windows) == (FindVerdict.UNMET, [])


@e2e
def test_ctrl_c_reports_what_was_measured(tmp_path: Path, image_server: StartServer) -> None:
    command = find(tmp_path, image_server(), "--slo", "p(95) < 200ms", "--time", "5min")
    command.wait_for_records(100)
    command.interrupt()
    assert command.finish(timeout_s=60) == 130, command.stderr
    assert "Traceback" not in command.stderr
    result = msgspec.json.decode(command.stdout, type=FindResult)
    assert result.interrupted
    assert len(result.windows) >= 1
    assert RunFolder.open(command.folder.path).find() == result
    assert command.processes() == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--slo", "p(95) < 2 apples"], 'no unit "apples"'),
        (["--slo", "p95 < 2s"], 'did you mean "p(95)"?'),
        (["--slo", "max < 2s"], "says nothing of a share"),
        (["--slo", "p(95) > 2s"], "says nothing of a share"),
        (["--slo", "p(100) < 2s"], "says nothing of a share"),
        (["--slo", "p(95) < 0s"], "no request takes 0 s"),
        (["--slo", "p(95) < 2min"], "longer than the timeout of 60 s"),
        (["--precision", "0"], "--precision: expected a share"),
        (["--precision", "-3%"], "--precision: expected a share"),
        (["--precision", "wide"], "--precision: expected a share"),
        (["--time", "soon"], "--time: expected a duration"),
        (["--time", "9s"], "--time: 9 s is too short"),
    ],
)
def test_what_cannot_be_searched_is_said_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    out = tmp_path / "runs"
    joined = [f"{words[0]}={words[1]}"]  # a value may begin with a dash
    assert main(["find", "--model", "stub", "--out", str(out), *joined]) == 2
    assert told in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("word", ["0", "-1", "nan", "nowhere"])
def test_a_capacity_that_is_none(capsys: pytest.CaptureFixture[str], word: str) -> None:
    assert main(["plan", "steady", f"--capacity={word}"]) == 2
    assert "--capacity: " in capsys.readouterr().err
