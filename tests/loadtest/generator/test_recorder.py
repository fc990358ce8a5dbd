from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from loadtest.client.image_client import Exchange
from loadtest.client.response import Checked
from loadtest.generator.recorder import Attempt, Recorder
from loadtest.plan.job import Ask, Job, decode, encode
from loadtest.scenario.prompts import Lengths, PromptMix
from loadtest.scenario.session import Retry, Session, scripts
from loadtest.traffic.distributions import Fixed
from loadtest.units import Duration
from profiles.record.folder import RunFolder
from profiles.record.json_lines import LineWriter
from profiles.schema import Outcome

JOB = Job(
    run_dir="/nowhere", clock_zero_monotonic_s=100.0, base_url="http://127.0.0.1:1", model="m",
    width=64, height=32, steps=None, prompts=["one", "three"], timeout_s=5.0, drain_s=5.0,
)  # fmt: skip


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    lines = LineWriter(tmp_path / "requests-a.jsonl")
    yield Recorder(JOB, lines, clock=lambda: 9.0)
    lines.close()


@pytest.mark.parametrize(
    ("exchange", "fault", "outcome", "error"),
    [
        ({"status": 200}, None, Outcome.OK, None),
        ({"status": 200}, "an image is missing", Outcome.FAILED, "an image is missing"),
        (
            {"status": 429, "body": b'{"error": {"message": "busy"}}'},
            None,
            Outcome.REJECTED,
            "HTTP 429: busy",
        ),
        ({"status": 503}, None, Outcome.REJECTED, "HTTP 503"),
        ({"status": 500}, None, Outcome.FAILED, "HTTP 500"),
        ({"status": 400}, None, Outcome.FAILED, "HTTP 400"),
        ({"error": "Connection refused"}, None, Outcome.FAILED, "Connection refused"),
        (
            {"error": "Too many open files", "is_local": True},
            None,
            Outcome.FAILED,
            "this machine: Too many open files",
        ),
        ({"timed_out": True}, None, Outcome.TIMEOUT, "no complete answer within the time limit"),
        ({"timed_out": True, "status": 200}, None, Outcome.TIMEOUT, None),
        ({"timed_out": True, "gave_up": True}, None, Outcome.ABANDONED, None),
    ],
)
def test_every_exchange_has_one_outcome(
    recorder: Recorder, exchange: dict[str, object], fault: str | None,
    outcome: Outcome, error: str | None,
) -> None:  # fmt: skip
    given = Exchange(sent_s=101.0, done_s=103.0, **exchange)  # type: ignore[arg-type]
    record = recorder.answered(3, 0.75, 2, given, Checked(fault=fault, decoded=True))
    assert record.outcome is outcome
    assert record.error == error or error is None
    assert (record.seq, record.scheduled_s, record.images) == (3, 0.75, 2)
    assert (record.sent_s, record.done_s) == (1.0, 3.0)  # on the run's clock: minus 100
    assert (recorder.done, record.decoded) == (1, True)


def test_what_the_server_told_is_kept_and_what_it_did_not_is_unknown(
    recorder: Recorder, tmp_path: Path
) -> None:
    headers = {
        "server-timing": "queue;dur=40, denoise;dur=900",
        "x-batch-mean": "3.5",
        "x-replica": "r1",
        "x-request-id": "abc",
        "x-flop": "34700000000000",
    }
    told = Exchange(sent_s=101.0, done_s=102.0, status=200, headers=headers, body=b"x" * 10)
    recorder.answered(0, 1.0, 1, told, None)
    recorder.unsent(1, 2.0, 1, Outcome.UNSENT, "the run stopped before it was sent")
    recorder.flush()
    ok, unsent = RunFolder(tmp_path).requests().read()
    assert (ok.queue_s, ok.denoise_s, ok.text_s) == (0.04, 0.9, None)
    assert (ok.batch_mean, ok.replica, ok.gpu_uuid, ok.bytes_in) == (3.5, "r1", None, 10)
    assert (ok.flop, unsent.flop, unsent.decoded) == (34.7e12, None, None)
    assert (unsent.outcome, unsent.sent_s, unsent.prompt_chars) == (Outcome.UNSENT, None, 5)
    assert recorder.done == 1  # an unsent request is not done


def test_the_body_holds_what_was_asked_for_and_nothing_else() -> None:
    assert JOB.body(1, 2) == (
        b'{"model":"m","prompt":"three","n":2,"size":"64x32","response_format":"b64_json"}'
    )


def test_a_row_of_the_schedule_overrules_the_job_where_it_tells() -> None:
    fields = [("t_s", "<f8"), ("images", "<u2"), ("steps", "<u2"), ("width", "<u4"),
              ("height", "<u4"), ("prompt_chars", "<u2"), ("user", "<u4")]  # fmt: skip
    rows = np.array([(0.0, 2, 30, 128, 96, 2, 7), (1.0, 1, 0, 0, 0, 0, 0)], dtype=fields)
    told, silent = JOB.ask(0, rows), JOB.ask(1, rows)
    assert told == Ask(prompt="on", width=128, height=96, steps=30, user="user-7")
    assert silent == JOB.ask(1) == Ask(prompt="three", width=64, height=32)
    body = msgspec.json.decode(JOB.body(0, 2, told))
    assert body["size"] == "128x96"
    assert (body["num_inference_steps"], body["user"], body["prompt"]) == (30, "user-7", "on")


def test_the_record_holds_what_the_row_asked_for(recorder: Recorder, tmp_path: Path) -> None:
    ask = Ask(prompt="a long one", width=128, height=96, steps=30)
    recorder.answered(0, 1.0, 1, Exchange(sent_s=101.0, done_s=102.0, status=200), None, ask)
    recorder.unsent(1, 2.0, 1, Outcome.UNSENT, "stopped", ask)
    recorder.flush()
    for record in RunFolder(tmp_path).requests().read():
        assert (record.width, record.height, record.steps) == (128, 96, 30)
        assert record.prompt_chars == 10


def test_negative_prompts_of_a_mix_go_along() -> None:
    job = msgspec.structs.replace(JOB, prompt_mix=PromptMix(negative=("blurry",)))
    assert msgspec.json.decode(job.body(0, 1))["negative_prompt"] == "blurry"
    always = msgspec.structs.replace(JOB, negative_prompt="grain")
    assert msgspec.json.decode(always.body(0, 1))["negative_prompt"] == "grain"


def test_a_persons_class_is_told_to_viralloads_own_servers_only() -> None:
    own = msgspec.structs.replace(JOB, tells_priority=True, steps=20)
    assert b'"priority"' not in JOB.body(0, 1, priority="free")
    assert b'"num_inference_steps":20,"priority":"free"' in own.body(0, 1, priority="free")
    assert b'"priority"' not in own.body(0, 1)  # nobody's class


def test_the_job_survives_its_file() -> None:
    retry = Retry(policy="backoff", first=Duration(2.0), cap=Duration(9.0))
    mix = PromptMix(repeats=0.3, chars=Lengths(median=40, p90=90), negative=("blurry",))
    job = msgspec.structs.replace(JOB, retry=retry, prompt_mix=mix, seed=2**63 - 1, load_s=80.0)
    assert decode(encode(job)) == job


def test_whose_attempt_it_was_is_recorded(recorder: Recorder, tmp_path: Path) -> None:
    whose = Attempt(attempt=3, person=8, priority="paying")
    ask = Ask(prompt="one", width=8, height=8, steps=30)
    recorder.answered(5, 1.0, 1, Exchange(sent_s=101.0, done_s=102.0, status=200), None, ask, whose)
    recorder.unsent(6, 2.0, 1, Outcome.ABANDONED, "gone", ask, whose)
    recorder.flush()
    for each in RunFolder(tmp_path).requests().read():
        told = (each.attempt, each.session, each.priority, each.steps)
        assert told == (3, 8, "paying", 30)
    assert each.outcome is Outcome.ABANDONED
    assert recorder.done == 1


def test_a_persons_row_tells_its_steps() -> None:
    session = Session(requests=2.0, steps={"30": 1.0}, patience=Fixed(value=Duration(5.0)))
    rows = scripts(session, {1: 1.0}, np.arange(4.0), 1e6, 3)
    asks = [JOB.ask(seq, rows) for seq in range(rows.size)]
    assert {ask.steps for ask in asks} == {30}
    assert [ask.prompt for ask in asks] == [JOB.ask(seq).prompt for seq in range(rows.size)]


def test_what_cannot_be_true_is_left_out_and_counted(recorder: Recorder, tmp_path: Path) -> None:
    lies = {"server-timing": "queue;dur=1e300", "x-batch-mean": "-5", "x-flop": "1e20"}
    for k, name in enumerate(lies):
        told = Exchange(sent_s=101.0, done_s=102.0, status=200, headers={name: lies[name]})
        recorder.answered(k, 1.0, 1, told, None)
        assert recorder.untrue == k + 1
    recorder.answered(3, 1.0, 1, Exchange(sent_s=101.0, done_s=102.0, status=200), None)
    recorder.flush()
    for record in RunFolder(tmp_path).requests().read():
        assert (record.queue_s, record.batch_mean, record.flop) == (None, None, None)
    sample = recorder.sample("0", 4, 1.0, 0.0, 1.0, unasked=2)
    assert (sample.untrue, sample.unasked) == (3, 2)
