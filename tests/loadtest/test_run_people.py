"""Whole runs with people against somebody else's server."""

import itertools
from collections import Counter
from pathlib import Path

import pytest

from profiles.record.columns import request_columns
from profiles.requests.attempts import add_up
from profiles.schema import EndReason, Outcome, Verdict
from tests.loadtest.command import Viralload
from tests.loadtest.conftest import StartServer
from tests.loadtest.test_run_foreign import assert_nothing_is_left

pytestmark = pytest.mark.e2e

PEOPLE = """
name = "few"
title = "A few people"
[curve]
kind = "constant"
rate_per_s = 20
duration = "{duration}s"
[load]
arrivals = "even"
[request]
size = "64x64"
timeout = "3s"
[session]
requests = {{"2" = 1}}
think = {{kind = "fixed", value = "0.5s"}}
patience = {{kind = "fixed", value = "{patience}s"}}
retry = {{policy = "{retry}", most_attempts = 4, first = "0.2s", cap = "1s"}}
[session.classes.free]
share = 1
"""


def run(
    folder: Path, url: str, *more: str, duration: float = 4, patience: float = 5,
    retry: str = "backoff",
) -> Viralload:  # fmt: skip
    path = folder / "few.toml"
    path.write_text(PEOPLE.format(duration=duration, patience=patience, retry=retry))
    return Viralload(folder, ["run", str(path), "--host", url, "--json", *more])


def assert_adds_up(command: Viralload) -> None:
    summary = command.summary
    assert sum(summary.outcomes.values()) == summary.scheduled
    counted = add_up(request_columns(command.folder.requests().read()), command.folder.manifest())
    assert (counted.tally.missing, counted.tally.contradictions) == (0, 0)
    assert_nothing_is_left(command)


@pytest.mark.parametrize("processes", [pytest.param("1", marks=pytest.mark.slow), "2"])
def test_people_make_their_images_one_after_another(
    tmp_path: Path, image_server: StartServer, processes: str
) -> None:
    # 20 images/s of two requests each: 10 people/s for 4 s. Those of the last half second think
    # beyond the load's end: their second request is cut.
    command = run(tmp_path, image_server(), "--processes", processes)
    assert command.finish() == 0, command.stderr
    assert (command.summary.verdict, command.summary.people) == (Verdict.PASS, 40)
    assert 72 <= command.summary.scheduled <= 76
    # a slow answer may push a request, thought about until just before it, beyond the end
    assert command.summary.outcomes["ok"] + command.summary.outcomes["unsent"] >= 72
    records = command.folder.requests().read()
    assert {r.priority for r in records} == {"free"}
    by_person: dict[int | None, list[float]] = {}
    for r in sorted(records, key=lambda r: r.seq):
        by_person.setdefault(r.session, []).append(r.scheduled_s)
        assert (r.done_s or 0.0) - r.scheduled_s < 3.0
    gaps = [due[1] - due[0] for due in by_person.values() if len(due) == 2]
    assert len(gaps) >= 30
    assert min(gaps) >= 0.5  # thinking begins with the answer
    assert_adds_up(command)


def test_the_refused_come_back_as_told(tmp_path: Path, image_server: StartServer) -> None:
    # a server that refuses everyone, with Retry-After: 1; patience for four attempts, not for five
    command = run(tmp_path, image_server(capacity=0), duration=1, patience=9)
    assert command.finish() in (0, 99), command.stderr
    records = command.folder.requests().read()
    attempts = Counter(r.seq for r in records if r.sent_s is not None)
    assert set(attempts.values()) == {4}
    pairs = sorted(records, key=lambda r: (r.seq, r.attempt))
    for one, two in itertools.pairwise(pairs):
        if one.seq == two.seq:
            assert (
                1.0 <= two.scheduled_s - (one.done_s or 0.0) <= 2.1
            )  # 1 s, and up to 1 s of jitter
    assert command.summary.amplification == pytest.approx(4.0)
    assert command.summary.outcomes["rejected"] == len(attempts)
    assert_adds_up(command)


def test_patience_hangs_up_and_the_person_is_gone(
    tmp_path: Path, image_server: StartServer
) -> None:
    command = run(tmp_path, image_server(fault="hang"), duration=1, patience=1.5)
    # a first request alone, sent to find the floor, is given up after the timeout
    assert command.finish() in (0, 99), command.stderr
    assert "patience: not checked" in command.stderr
    records = command.folder.requests().read()
    assert {r.outcome for r in records} == {Outcome.ABANDONED}
    sent = [r for r in records if r.sent_s is not None]
    assert len(sent) == 10
    assert all(1.4 < (r.done_s or 0.0) - r.scheduled_s < 2.5 for r in sent)
    assert_adds_up(command)


def test_nobody_waits_as_long_as_the_server_takes(
    tmp_path: Path, image_server: StartServer
) -> None:
    command = run(tmp_path, image_server(delay_s=1.0), patience=0.5)
    assert command.finish() == 2
    assert "session.patience: nobody waits longer than 0.5 s" in command.stderr
    assert not command.out.exists()  # no load was sent, and no empty run is left


def test_ctrl_c_leaves_no_one_unaccounted(tmp_path: Path, image_server: StartServer) -> None:
    command = run(tmp_path, image_server(), duration=30)
    command.wait_for_records(20)
    command.interrupt()
    assert command.finish(timeout_s=60) == 130, command.stderr
    assert command.summary.end_reason is EndReason.INTERRUPTED
    assert command.summary.outcomes["unsent"] > 300
    assert_adds_up(command)
