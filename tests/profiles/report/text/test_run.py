"""The summary as text: golden files.

Where a change of words is meant, write them anew:
    VIRALLOAD_GOLDEN=write python -m pytest tests/profiles/report/text/test_run.py
and read the difference.
"""

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from profiles.record.columns import read
from profiles.record.folder import RunFolder
from profiles.report.text.run import WIDTH, headline, summary_text
from profiles.schema import EndReason, Outcome, TargetInfo
from profiles.summary.run import compute
from tests.profiles.synthetic import START_S, manifest, plan, record, write_run
from tests.profiles.viral import viral_run

GOLDEN = Path(__file__).parents[2] / "golden"
STUB = TargetInfo(url="http://127.0.0.1:8000", embedded=True, model="stub", is_stub=True)


def passed(root: Path) -> RunFolder:
    return viral_run(root, peak_images_per_s=4.0)


def full(root: Path) -> RunFolder:
    return viral_run(root, peak_images_per_s=7.0)


def failed(root: Path) -> RunFolder:
    return viral_run(root, peak_images_per_s=9.0, use_gpu=False)


def invalid(root: Path) -> RunFolder:
    records = [record(seq) for seq in range(5)]
    return write_run(root, manifest(plan(10, 10.0), end_reason=None, end_utc=None), records)


def nothing_ok(root: Path) -> RunFolder:
    records = [
        record(seq, outcome=Outcome.FAILED, error="500: <b>boom</b>\x1b[31m\n" + "x" * 200)
        for seq in range(10)
    ]
    about = manifest(plan(10, 10.0), target=STUB, thresholds={"latency": ["p(95) < 10s"]})
    return write_run(root, about, records)


def empty(root: Path) -> RunFolder:
    about = manifest(None, end_reason=EndReason.ERROR, end_detail="port 8000 is in use")
    return write_run(root, about, host=())


RUNS = [passed, full, failed, invalid, nothing_ok, empty]


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.__name__)
def test_golden(run: Any, tmp_path: Path) -> None:
    recorded = read(run(tmp_path))
    text = summary_text(compute(recorded), recorded.manifest)
    golden = GOLDEN / f"summary-{run.__name__}.txt"
    if os.environ.get("VIRALLOAD_GOLDEN") == "write":
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.__name__)
def test_text_fits_a_terminal_and_holds_no_control_characters(run: Any, tmp_path: Path) -> None:
    recorded = read(run(tmp_path))
    text = summary_text(compute(recorded), recorded.manifest)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert text.replace("\n", "").isprintable()
    assert text.endswith("\n")


@pytest.mark.parametrize(
    ("ok_share", "words"),
    [
        (
            1.0,
            "PASS — planned peak demand was 1 images/s; during the peak (10 s) the node delivered",
        ),
        (0.5, "; 50% of all images came back within 10 s; 50% of the requests timed out."),
    ],
)
def test_headline(ok_share: float, words: str, tmp_path: Path) -> None:
    records = [
        record(seq, outcome=Outcome.OK if seq % 2 == 0 or ok_share == 1.0 else Outcome.TIMEOUT)
        for seq in range(10)
    ]
    recorded = read(write_run(tmp_path, manifest(plan(10, 10.0)), records))
    assert words in headline(compute(recorded), recorded.manifest)


def test_the_headline_says_that_a_stub_is_no_model(tmp_path: Path) -> None:
    about = manifest(plan(1, 10.0), target=STUB)
    recorded = read(write_run(tmp_path, about, [record(0, scheduled_s=START_S)]))
    summary = compute(recorded)
    assert "(no model: stub)" in headline(summary, about)
    assert "(no model: stub)" not in headline(
        summary, msgspec.structs.replace(about, target=manifest(None).target)
    )
