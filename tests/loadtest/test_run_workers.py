"""Workers that share no files with the master: real processes, and clocks 5,000 s apart."""

import subprocess
import threading
from pathlib import Path

import msgpack
import numpy as np
import pytest
import zmq

from loadtest.client.target import free_port
from loadtest.distributed.protocol import MAX_BYTES
from profiles.schema import EndReason, Verdict
from tests.loadtest.command import Viralload, scenario
from tests.loadtest.conftest import StartServer

pytestmark = pytest.mark.e2e

APART_S = 5000.0
OTHER_CLOCK = ["unshare", "-T", "--monotonic", str(int(APART_S)), "--fork", "--kill-child"]


def has_time_namespaces() -> bool:
    try:
        return subprocess.run([*OTHER_CLOCK, "true"], capture_output=True).returncode == 0
    except OSError:
        return False


def start(folder: Path, url: str, port: int, workers: int = 2, **shape: float) -> Viralload:
    words = ["run", scenario(folder, **shape), "--host", url, "--json"]
    words += ["--expect-workers", str(workers), "--master-bind-port", str(port)]
    return Viralload(folder, words)


def worker(folder: Path, port: int, before: list[str] | None = None) -> Viralload:
    """A worker in a folder of its own, on a clock of its own where `before` says so."""
    folder.mkdir()
    return Viralload(folder, ["worker", f"127.0.0.1:{port}"], before=before)


def babble(port: int) -> None:
    """What no worker says, sent to the master's port before anybody comes (F19)."""
    context = zmq.Context()
    frames = [
        b"\xc1\xc1\xc1",
        b"",
        msgpack.dumps(3),
        msgpack.dumps([[], {}, []]),
        msgpack.dumps(("client_ready", 5, "x")),
        msgpack.dumps(("stats", "none", "x")),
        msgpack.dumps(("viralload", 5, "x")),
        msgpack.dumps(("viralload", {"n": 1, "question": {"type": "hello"}}, ["x"])),
        msgpack.dumps(("viralload_joined", None, "x")),
        bytes(MAX_BYTES + 1),
    ]
    names = [f"stranger-{i}".encode() for i in range(len(frames))]
    for name, frame in [*zip(names, frames, strict=True), (b"\xff", b"x")]:
        socket = context.socket(zmq.DEALER)
        socket.setsockopt(zmq.IDENTITY, name)
        socket.setsockopt(zmq.LINGER, 60_000)
        socket.connect(f"tcp://127.0.0.1:{port}")
        socket.send(frame)
        socket.close()
    threading.Thread(target=context.term, daemon=True).start()


def test_clocks_thousands_of_seconds_apart_make_one_record(
    tmp_path: Path, image_server: StartServer
) -> None:
    if not has_time_namespaces():
        pytest.skip("no time namespaces here (unshare -T)")
    port = free_port()
    command = start(tmp_path, image_server(), port)
    babble(port)
    here = worker(tmp_path / "here", port)
    there = worker(tmp_path / "there", port, OTHER_CLOCK)
    assert command.finish() == 0, command.stderr
    assert (here.finish(), there.finish()) == (0, 0), here.stderr + there.stderr
    refused = [one for one in command.folder.events().read() if one.kind == "worker_refused"]
    assert [one.source for one in refused if "made no sense" in one.detail] == ["locust"]
    assert len(refused) <= 3  # not a line a frame
    records = command.folder.requests().read()
    assert sorted(one.seq for one in records) == list(range(80))
    counts = [
        len(command.folder.requests_path(f"locust-{share}").read_text().splitlines())
        for share in (0, 1)
    ]
    assert counts == [40, 40]
    lateness = np.array([one.sent_s - one.scheduled_s for one in records if one.sent_s is not None])
    assert lateness.min() >= 0
    assert np.quantile(lateness, 0.9) < 0.1
    clocks = command.folder.clocks().read()
    assert sorted(round(abs(clock.offset_s), -1) for clock in clocks) == [0, 0, APART_S, APART_S]
    uncertainty_s = command.summary.clock_uncertainty_s
    assert uncertainty_s is not None
    assert 0 < uncertainty_s < 0.01
    # the readings themselves agree: on one machine, the two halves of the schedule interleave
    sent = sorted(records, key=lambda one: one.sent_s or 0.0)
    assert [one.seq for one in sent] == pytest.approx(list(range(80)), abs=6)
    assert command.processes() == here.processes() == there.processes() == []


def test_a_killed_worker_makes_the_run_invalid_and_is_named(
    tmp_path: Path, image_server: StartServer
) -> None:
    port = free_port()
    command = start(tmp_path, image_server(), port, duration=60)
    lost, other = worker(tmp_path / "a", port), worker(tmp_path / "b", port)
    command.wait_for_records(20)
    lost.process.kill()
    assert command.finish(timeout_s=60) == 3, command.stderr
    assert (lost.finish(), other.finish()) == (-9, 0), other.stderr
    summary = command.summary
    assert (summary.verdict, summary.end_reason) == (Verdict.INVALID, EndReason.GENERATOR_DIED)
    assert "lost worker" in summary.reasons[0]
    assert "was silent for 5 s" in summary.reasons[0]
    assert summary.outcomes["ok"] >= 20
    assert sum(summary.outcomes.values()) == summary.scheduled == 1200
    assert summary.outcomes["unsent"] > 600  # the lost share, and the other's from there on
    shares = [command.folder.requests_path(f"locust-{share}").read_bytes() for share in (0, 1)]
    assert 600 in [share.count(b"\n") for share in shares]  # the other's is whole
    assert command.processes() == lost.processes() == other.processes() == []


def test_workers_that_never_come_are_told_of(tmp_path: Path, image_server: StartServer) -> None:
    words = ["run", scenario(tmp_path), "--host", image_server(), "--expect-workers", "2"]
    words += ["--master-bind-port", str(free_port()), "--expect-workers-max-wait", "1s"]
    command = Viralload(tmp_path, words)
    assert command.finish() == 1
    assert "viralload worker 127.0.0.1:" in command.stderr
    assert "error: 0 of 2 workers came in 1 s" in command.stderr
    assert command.folder.manifest().end_reason is EndReason.ERROR
    assert command.processes() == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--master-bind-host", "0.0.0.0"], "say how many with --expect-workers N"),
        (["--expect-workers", "2", "--processes", "2"], "give it to `viralload worker`"),
        (["--expect-workers", "2", "--expect-workers-max-wait", "soon"], "expected a duration"),
        (
            ["--expect-workers", "2", "--master-bind-host", "0.0.0.0"],
            "viralload serve --host ADDRESS",
        ),
        (
            ["--expect-workers", "1", "--master-bind-host", "0.0.0.0", "--host", "localhost:1"],
            "is each worker's own machine",
        ),
        (
            ["--expect-workers", "1", "--master-bind-host", "192.0.2.1", "--host", "192.0.2.2:1"],
            "cannot listen on 192.0.2.1:5557",
        ),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_started(
    tmp_path: Path, words: list[str], said: str
) -> None:
    command = Viralload(tmp_path, ["run", "smoke", "--model", "stub", *words])
    assert command.finish() == 2
    assert said in command.stderr
    assert "Traceback" not in command.stderr
    assert not command.out.exists()


def test_a_worker_says_that_there_is_no_master(tmp_path: Path) -> None:
    port = free_port()
    command = Viralload(tmp_path, ["--worker", f"127.0.0.1:{port}", "--wait", "1s"])
    assert command.finish() == 1
    assert f"no master at 127.0.0.1:{port} in 1 s" in command.stderr
