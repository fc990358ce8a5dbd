"""A retry storm outlives its cause, and does not where people back off and the server refuses."""

from pathlib import Path

import numpy as np
import pytest

from profiles.record.folder import RunFolder
from profiles.schema import Outcome, Summary
from tests.loadtest.command import Viralload

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(400)]

LOAD_S, LATE_S = 46.0, 32.0  # the outage of 6 s is over after 16 s at the latest


def melt(tmp_path: Path, *more: str) -> tuple[Summary, float]:
    """A shorter `melting`; its summary, and goodput over demand of who came in the last third."""
    source = Path(__file__).parents[2] / "loadtest" / "scenarios" / "melting.toml"
    text = source.read_text(encoding="utf-8")
    for find, put in (('"80s"', f'"{LOAD_S:g}s"'), ("20s+8s", "9s+6s")):
        assert find in text
        text = text.replace(find, put)
    path = tmp_path / "melting.toml"
    path.write_text(text, encoding="utf-8")
    command = Viralload(tmp_path, ["run", str(path), "--json", *more])
    assert command.finish(timeout_s=180) in (0, 99), command.stderr
    return command.summary, late_share(command.folder)


def late_share(folder: RunFolder) -> float:
    """Of the images wanted in the last part of the load: the share that came within the SLO."""
    records = sorted(folder.requests().read(), key=lambda r: (r.seq, r.attempt))
    start_s = folder.manifest().load_start_s
    slo_s = folder.manifest().slo_latency_s
    assert start_s is not None
    first = {r.seq: r.scheduled_s for r in records if r.attempt == 1}
    ok = {r.seq: r.done_s for r in records if r.outcome is Outcome.OK and r.done_s is not None}
    late = [seq for seq, due_s in first.items() if due_s > start_s + LATE_S]
    assert len(late) > 20
    return float(np.mean([seq in ok and ok[seq] - first[seq] <= slo_s for seq in late]))


def test_immediate_retries_keep_goodput_down_after_the_outage(tmp_path: Path) -> None:
    summary, share = melt(tmp_path)
    assert summary.valid, summary.reasons
    assert sum(summary.outcomes.values()) == summary.scheduled
    assert summary.amplification is not None
    assert summary.amplification > 2.5
    assert share < 0.4


def test_backoff_and_admission_recover(tmp_path: Path) -> None:
    summary, share = melt(tmp_path, "--retry", "backoff", "--policy", "step")
    assert summary.valid, summary.reasons
    assert sum(summary.outcomes.values()) == summary.scheduled
    assert summary.amplification is not None
    assert 1.0 < summary.amplification < 2.5
    assert share > 0.75
