"""The day as a whole: parts that hang, fail or do not fit; and (slow) its rehearsal on a CPU."""

import json
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from benchmarks import gpu_day
from benchmarks.gpu_day import Day, archive, as_json, ending, main
from benchmarks.gpu_day_figures import read
from benchmarks.gpu_day_part import Session
from benchmarks.gpu_day_plan import NAMES, Asked, Part
from benchmarks.gpu_day_process import Ended

ROOT = Path(__file__).resolve().parents[2]
# A part that tells a figure, with no import that takes time, then does what `then` says.
TELL = """
import json, os, sys, time
figure = {{"part": {name!r}, "name": "seen", "value": 1.0, "unit": "s", "source": "clock"}}
open({path!r}, "a").write(json.dumps(figure) + "\\n")
{then}
"""
THEN = {"hangs": "time.sleep(60)", "fails": "sys.exit('its last words')", "works": ""}


def part(name: str, limit_s: float = 20.0, expected_s: float = 0.0) -> Part:
    return Part(name=name, module=name, expected_s=expected_s, limit_s=limit_s, rehearsal_s=limit_s)


def test_a_part_that_hangs_is_killed_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = Asked(out=tmp_path, device="cpu", budget_s=60.0)

    def command(one: Part, _: Asked) -> list[str]:
        code = TELL.format(path=str(tmp_path / "figures.jsonl"), name=one.name, then=THEN[one.name])
        return [sys.executable, "-c", code]

    monkeypatch.setattr(gpu_day, "command", command)
    parts = [part("hangs", limit_s=1.2), part("fails"), part("too long", 90, 80), part("works")]
    done = Day(asked, parts).run()
    assert [(each.name, each.state) for each in done] == [
        ("hangs", "timed out"), ("fails", "failed"), ("too long", "skipped"), ("works", "ran"),
    ]  # fmt: skip
    figures = read(tmp_path / "figures.jsonl")
    assert [each.part for each in figures] == ["hangs", "fails", "works"]  # kept what it had found
    said = capsys.readouterr().err
    assert "hangs: timed out in " in said
    assert "killed at its time-out of 1 s" in said
    assert "| its last words" in said
    assert "too long: skipped, it no longer fits into the budget" in said
    told = as_json(asked, done, figures)
    assert {"date_utc", "command", "versions", "gpus", "driver", "parts", "targets"} <= set(told)
    with tarfile.open(archive(tmp_path)) as tar:
        assert f"{tmp_path.name}/logs/fails.log" in tar.getnames()
    last = ending(asked, done, figures).splitlines()
    assert last[-1].startswith("not measured: http, latency p99: target <= 20")


def test_an_interrupted_day_tells_what_it_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*_: object, **__: object) -> Ended:
        raise KeyboardInterrupt

    monkeypatch.setattr(gpu_day, "run", run)
    before = signal.getsignal(signal.SIGTERM)
    try:
        code = main(["--out", str(tmp_path / "day"), "--rehearse", "--only", "smoke", "tests"])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert code == 1
    assert "smoke: interrupted, and no part was begun after it" in capsys.readouterr().out
    told = json.loads((tmp_path / "day" / "gpu-day.json").read_text())
    assert [each["state"] for each in told["parts"]] == ["interrupted"]


def test_an_attempt_that_fails_loses_no_other(tmp_path: Path) -> None:
    one = Session("p", tmp_path, "cpu", rehearse=True)
    assert one.attempt("good", "s", lambda: 3) == 3
    assert one.end() == 0

    def slow() -> None:
        while True:
            pass

    assert one.attempt("slow", "s", slow, limit_s=0.05) is None
    assert one.attempt("bad", "s", lambda: [][1]) is None
    assert one.end() == 1
    assert [(each.name, each.value, each.note) for each in one.earlier()] == [
        ("slow", None, "Overdue: broken off after 0.05 s"),
        ("bad", None, "IndexError: list index out of range"),
    ]


def test_a_folder_that_is_there_is_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: --out: File exists: ")


def rehearsed(out: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu_day", "--out", str(out), "--rehearse", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.timeout(600)
def test_the_day_is_rehearsed_on_a_cpu(tmp_path: Path) -> None:
    done = rehearsed(tmp_path / "day")
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "day" / "gpu-day.json").read_text())
    assert told["rehearsal"]
    assert [(each["name"], each["state"]) for each in told["parts"]] == [
        (name, "ran") for name in NAMES
    ]
    figures = told["figures"]
    assert {each["part"] for each in figures} == set(NAMES)
    for each in figures:
        assert each["unit"], each
        assert each["source"], each
        assert each["value"] is not None or each["note"], each
    values = {(each["part"], each["name"]): each["value"] for each in figures}
    assert values["smoke", "tiny, recorded against eager"] < 1e-3
    assert values["sdxl", "against the stock pipeline"] < 1e-3
    assert values["sdxl", "images/s, always a full batch"] > 0
    assert values["http", "completed"] > 0
    assert values["http", "load"] == pytest.approx(0.9 * values["sdxl", "images/s, predicted"])
    assert values["tests", "tests failed"] == 0
    lacking = {each["name"]: each["note"] for each in figures if each["value"] is None}
    for name in ("graphs on", "GPU memory, most allocated", "energy an image, by counter"):
        assert lacking[name] == "needs a GPU"
    table = done.stdout.split("\n\n", 1)[1].splitlines()
    assert [line for line in table if not line.startswith(" ")] == list(NAMES)
    assert len(table) == len(NAMES) + len(figures)
    with tarfile.open(tmp_path / "day" / "gpu-day.tar.gz") as tar:
        names = tar.getnames()
    assert any(name.endswith("/summary.json") and "/runs/" in name for name in names)
    assert {f"day/logs/{name}.log" for name in NAMES} <= set(names)


@pytest.mark.slow
@pytest.mark.e2e
def test_only_the_parts_asked_for_are_run(tmp_path: Path) -> None:
    done = rehearsed(tmp_path / "day", "--only", "environment")
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "day" / "gpu-day.json").read_text())
    assert [each["name"] for each in told["parts"]] == ["environment"]
    assert {each["part"] for each in told["figures"]} == {"environment"}
