"""Servers of odd habits: what a request to them becomes, and what of their words is kept."""

from pathlib import Path

import pytest

from loadtest.calibration.closed_loop import ClosedLoop, FailedError
from loadtest.client.address import parse
from loadtest.client.credentials import Credentials, gather
from loadtest.client.image_client import ImageClient
from loadtest.generator.recorder import Recorder
from loadtest.generator.sender import Sender
from loadtest.plan.job import Job
from profiles.record.folder import RunFolder
from profiles.record.json_lines import LineWriter
from profiles.schema import Outcome, RequestRecord
from tests.loadtest.odd_server import (
    ANSWERS,
    GOOD,
    HEADER,
    KEY,
    PARAMETER,
    PASSWORD,
    SECRETS,
    Habit,
    serving,
)


def opened(how: str) -> Credentials:
    user = f"ann:{PASSWORD.replace('/', '%2F')}@" if how == "password" else ""
    environ = {"OPENAI_API_KEY": KEY} if how == "key" else {}
    address = parse(f"http://{user}127.0.0.1:1/v1?q={PARAMETER}")
    return gather(address, None, [f"X-Mark: {HEADER}"], environ)[0]


def job_of(url: str) -> Job:
    return Job(
        run_dir="/nowhere", clock_zero_monotonic_s=0.0, base_url=url, model="odd", width=64,
        height=64, prompts=["a"], timeout_s=5.0, drain_s=5.0,
    )  # fmt: skip


def sent(folder: Path, habit: Habit, credentials: Credentials) -> tuple[RequestRecord, str | None]:
    """The record of a request of the load, and what one outside the load says went wrong."""
    with serving(habit) as url:
        job = job_of(url)
        client = ImageClient(credentials.url(job.endpoint), 5.0, credentials.headers)
        lines = LineWriter(folder / "requests-a.jsonl")
        sender = Sender(job, client, Recorder(job, lines, lambda: 0.0, credentials))
        sender.send(1, 0.0, 1)
        lines.close()
        client.close()
        fault, loop = None, ClosedLoop(job, credentials, None)
        try:
            loop.alone()
        except FailedError as err:
            fault = str(err)
        loop.close()
    (record,) = RunFolder(folder).requests().read()
    return record, fault


@pytest.fixture(params=["key", "password"])
def credentials(request: pytest.FixtureRequest) -> Credentials:
    return opened(request.param)


@pytest.mark.parametrize("name", ANSWERS)
def test_what_went_wrong_is_told_in_the_servers_words_without_the_key(
    tmp_path: Path, name: str, credentials: Credentials
) -> None:
    habit, words = ANSWERS[name]
    record, fault = sent(tmp_path, habit, credentials)
    assert record.outcome is Outcome.FAILED
    assert (record.error or "").startswith(words) or words in (record.error or "")
    assert words in (fault or "")
    told = (tmp_path / "requests-a.jsonl").read_text() + str(fault)
    assert not [secret for secret in SECRETS if secret in told]
    assert all(line.isprintable() for line in told.splitlines())


@pytest.mark.parametrize("name", GOOD)
def test_odd_and_good(tmp_path: Path, name: str) -> None:
    record, fault = sent(tmp_path, GOOD[name], opened("key"))
    assert (record.outcome, record.error, fault) == (Outcome.OK, None, None)
