"""The master's side without a network: questions in, answers out, a clock that is set."""

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from loadtest.distributed import protocol
from loadtest.distributed.clock_offset import Reading
from loadtest.distributed.handshake import Meeting, nonce
from loadtest.distributed.roster import BUSY_S, MAX_REFUSED, SILENT_S, Roster
from loadtest.plan.job import encode
from profiles.record.folder import RunFolder
from profiles.schema import Outcome
from tests.loadtest.generator.test_recorder import JOB
from tests.profiles.synthetic import record


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path)
    folder.job_path.write_bytes(encode(JOB))
    np.save(folder.schedule_path, np.zeros(3, dtype=[("t_s", "f8")]))
    return folder


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def crew(folder: RunFolder, clock: Clock) -> Roster:
    return Roster(2, "secret", folder, clock, zero_s=990.0)


def ask(crew: Roster, worker: str, question: protocol.Question) -> Any:
    return crew.answer(worker, protocol.pack(question))


def come(crew: Roster, worker: str, token: str = "secret") -> Any:
    """What a worker is told in the end: a Welcome, or why not."""
    own = nonce()
    challenge = ask(crew, worker, protocol.hello(f"host-{worker}", own))
    if isinstance(challenge, protocol.Refusal):
        return challenge
    meeting = Meeting(
        worker=worker,
        worker_nonce=own,
        master_nonce=challenge.nonce,
        job_sha256=challenge.job_sha256,
        schedule_sha256=challenge.schedule_sha256,
    )
    welcome = ask(crew, worker, protocol.Prove(proof=meeting.proof(token, "worker")))
    if isinstance(welcome, protocol.Welcome):
        assert meeting.proves(token, "master", welcome.proof)
        assert hashlib.sha256(welcome.job).hexdigest() == challenge.job_sha256
    return welcome


def kinds(folder: RunFolder) -> list[str]:
    return [event.kind for event in folder.events().read()]


def test_workers_get_shares_and_what_they_need_to_play_them(
    crew: Roster, folder: RunFolder
) -> None:
    first, second = come(crew, "a"), come(crew, "b")
    assert (first.share, second.share) == (0, 1)
    assert come(crew, "a").share == 0  # asked twice, because the answer came late
    assert first.job == folder.job_path.read_bytes()
    piece = ask(crew, "a", protocol.FetchSchedule(offset=0)).data
    assert piece == folder.schedule_path.read_bytes()
    assert len(piece) == first.schedule_bytes
    assert not crew.is_complete()
    for worker in ("a", "b"):
        crew.locust_joined(worker, f"locust-of-{worker}")
    assert crew.is_complete()
    assert crew.is_stranger("somebody")
    assert not crew.is_stranger("locust-of-b")
    assert kinds(folder) == ["worker_joined", "worker_joined"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": "0.0.9"}, "it is viralload 0.0.9 with schema"),
        ({"version": "0.0.9", "nonce": ""}, "it is viralload 0.0.9 with schema"),
        ({"schema": 99}, "with schema 99, the master is"),
        ({"nonce": "ab"}, "its hello is no viralload's"),
    ],
)
def test_who_does_not_fit_is_refused_and_noted(
    crew: Roster, folder: RunFolder, changes: dict[str, Any], said: str
) -> None:
    hello = msgspec.structs.replace(protocol.hello("host-c", nonce()), **changes)
    assert said in ask(crew, "c", hello).refused
    (event,) = folder.events().read()
    assert event.kind == "worker_refused"
    assert said in event.detail
    assert ask(crew, "c", protocol.Prove(proof="0" * 64)).refused == "it has not said hello"
    assert ask(crew, "c", protocol.Done()).refused == "it is not, or no longer, one of this run"


def test_one_worker_too_many_and_one_without_the_token_are_refused(
    crew: Roster, folder: RunFolder
) -> None:
    come(crew, "a"), come(crew, "b")
    assert come(crew, "c").refused == "the run has its 2 workers already"
    assert "does not know the run's token" in come(crew, "c", "guess").refused
    assert kinds(folder) == ["worker_refused", "worker_refused"]
    assert ask(crew, "c", protocol.TellTime()).refused  # nothing for strangers


def test_a_proof_is_worth_nothing_in_another_meeting(crew: Roster) -> None:
    """F2: a proof that somebody has read is no proof of the reader's."""
    own = nonce()
    challenge = ask(crew, "a", protocol.hello("h", own))
    meeting = Meeting(
        worker="a",
        worker_nonce=own,
        master_nonce=challenge.nonce,
        job_sha256=challenge.job_sha256,
        schedule_sha256=challenge.schedule_sha256,
    )
    prove = protocol.Prove(proof=meeting.proof("secret", "worker"))
    ask(crew, "b", protocol.hello("h", own))
    assert ask(crew, "b", prove).refused  # another worker
    assert isinstance(ask(crew, "a", prove), protocol.Welcome)
    ask(crew, "a", protocol.hello("h", own))  # the master draws a new nonce each time
    assert ask(crew, "a", prove).refused


def test_nonsense_is_refused(crew: Roster) -> None:
    answer = crew.answer("a", {"type": "dance"})
    assert isinstance(answer, protocol.Refusal)
    assert "not understood" in answer.refused


def test_lines_are_written_once_however_often_they_come(crew: Roster, folder: RunFolder) -> None:
    come(crew, "a")
    lines = b"".join(msgspec.json.encode(record(seq)) + b"\n" for seq in range(3))
    question = protocol.Lines(stream="requests", offset=0, data=lines)
    assert ask(crew, "a", question).received == len(lines)
    assert ask(crew, "a", question).received == len(lines)
    more = msgspec.json.encode(record(3)) + b"\n"
    ask(crew, "a", protocol.Lines(stream="requests", offset=len(lines), data=more))
    records = folder.requests().read()
    assert [one.seq for one in records] == [0, 1, 2, 3]
    assert all(one.outcome is Outcome.OK for one in records)
    assert folder.requests_path("locust-0").exists()
    ask(crew, "a", protocol.Done())
    other = protocol.Lines(stream="../run.json", offset=0, data=b"{}\n")
    assert ask(crew, "a", other).received == 0


def test_clocks_are_on_record_by_generator(crew: Roster, folder: RunFolder) -> None:
    come(crew, "a")
    ask(crew, "a", protocol.Clock(reading=Reading(offset_s=-5000.0, uncertainty_s=0.001)))
    (sample,) = folder.clocks().read()
    assert (sample.t_s, sample.generator, sample.host) == (10.0, "locust-0", "host-a")
    assert (sample.offset_s, sample.uncertainty_s) == (-5000.0, 0.001)


def test_who_falls_silent_under_load_is_lost_by_name(crew: Roster, clock: Clock) -> None:
    for worker in ("a", "b"):
        come(crew, worker)
        crew.locust_joined(worker, worker)
    crew.has_begun = True
    clock.now_s += SILENT_S - 0.1
    ask(crew, "b", protocol.Done())
    assert crew.look() == []
    clock.now_s += 0.2  # b is done and may be silent
    assert crew.look() == ["worker 0 (locust-0 on host-a): it was silent for 5 s"]
    assert crew.is_done()
    assert crew.unfinished() == ["worker 0 (locust-0 on host-a)"]


def test_a_master_that_stood_still_takes_nobody_for_silent(crew: Roster, clock: Clock) -> None:
    """Stopped for seconds (Ctrl-Z, a debugger), it has yet to read what workers said meanwhile."""
    for worker in ("a", "b"):
        come(crew, worker)
        crew.locust_joined(worker, worker)
    crew.has_begun = True
    assert crew.look() == []
    clock.now_s += 4 * SILENT_S
    assert crew.look() == []
    ask(crew, "a", protocol.Lines(stream="load", offset=0, data=b""))
    for _ in range(17):  # b is gone indeed: four seconds are missing to its five
        clock.now_s += 0.25
        lost = crew.look()
    assert lost == ["worker 1 (locust-1 on host-b): it was silent for 5 s"]


def test_who_leaves_before_the_load_frees_the_seat(
    crew: Roster, clock: Clock, folder: RunFolder
) -> None:
    come(crew, "a"), come(crew, "b")
    crew.locust_joined("a", "a")
    ask(crew, "a", protocol.Done(fault="cannot reach the target"))
    clock.now_s += BUSY_S + 1  # b says nothing at all
    assert crew.look() == []
    assert come(crew, "c").share == 0
    assert kinds(folder) == ["worker_joined", "worker_left", "worker_failed"]


def test_workers_hear_that_the_run_is_over(crew: Roster) -> None:
    come(crew, "a")
    sign = protocol.Lines(stream="load", offset=0, data=b"")
    assert not ask(crew, "a", sign).over
    crew.is_over = True
    assert ask(crew, "a", sign).over


def test_a_stranger_moves_no_terminal_and_fills_no_disk(crew: Roster, folder: RunFolder) -> None:
    """F18."""
    hello = protocol.hello("\x1b[2J" + "h" * 10_000, nonce())
    version = msgspec.structs.replace(hello, version="\x1b[31m" + "9" * 10_000)
    ask(crew, "x", hello)
    questions: list[protocol.Question] = [version, *[protocol.Prove(proof="0" * 64)] * 500]
    for question in questions:
        assert isinstance(ask(crew, "x", question), protocol.Refusal)
    odd = crew.answer("x", {"type": "prove", "proof": "größe\ud800"})  # no proof, and no ASCII
    assert isinstance(odd, protocol.Refusal)
    assert isinstance(ask(crew, "x" * 1000, hello), protocol.Refusal)
    told = folder.events().read()
    assert len(told) == MAX_REFUSED
    assert all(event.detail.isprintable() and len(event.detail) < 400 for event in told)


def test_hellos_without_end_take_no_memory_without_end(
    crew: Roster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F18: and whoever speaks last is not the one who is forgotten."""
    monkeypatch.setattr("loadtest.distributed.roster.MAX_MEETINGS", 3)
    for i in range(10):
        ask(crew, f"stranger-{i}", protocol.hello("h", nonce()))
    assert len(crew._meetings) == 3
    assert come(crew, "a").share == 0
