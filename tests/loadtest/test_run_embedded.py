"""Whole runs with the embedded server: real Ray Serve, real Locust, real sampler."""

from pathlib import Path

import pytest

from loadtest.client.address import parse
from loadtest.client.credentials import NONE
from loadtest.client.target import ask_models, free_port, is_healthy
from profiles.schema import EndReason, Verdict
from tests.loadtest.command import Viralload, scenario
from tests.loadtest.test_run_foreign import assert_nothing_is_left

pytestmark = pytest.mark.e2e


def test_smoke_against_the_stub(tmp_path: Path) -> None:
    command = Viralload(tmp_path, ["run", "smoke", "--model", "stub", "--json"])
    assert command.finish() == 0, command.stderr
    summary = command.summary
    assert (summary.verdict, summary.is_stub) == (Verdict.PASS, True)
    assert sum(summary.outcomes.values()) == summary.scheduled > 30
    assert summary.lateness_p99_s is not None
    assert summary.lateness_p99_s < 0.02
    record = command.folder.requests().read()[0]
    assert record.queue_s is not None  # the server told
    assert record.denoise_s is not None
    assert record.replica is not None
    assert summary.capacity is not None
    assert "stub" in (summary.capacity.withheld or "")
    hosts = command.folder.host().read()
    assert len(hosts) > 15
    assert not list(command.folder.path.glob("gpu-*"))
    page = command.folder.report_path.read_text()
    assert "no model" in page
    assert_nothing_is_left(command)


def test_the_default_run_makes_images_on_the_cpu_and_withholds_the_block(tmp_path: Path) -> None:
    # the built-in default scenario, shortened; no network: every proxy leads nowhere
    nowhere = {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9",
               "NO_PROXY": "127.0.0.1,localhost", "CUDA_VISIBLE_DEVICES": ""}  # fmt: skip
    command = Viralload(tmp_path, ["run", "--compress-to", "6s"], nowhere)
    code = command.finish()
    assert code in (0, 99), command.stderr  # 1.5 x capacity: thresholds may fail, the run is valid
    summary = command.folder.summary()
    assert summary.valid, summary.reasons
    assert summary.scenario == "ghibli-hour"
    assert summary.outcomes["ok"] > 0
    assert summary.outcomes["failed"] == 0
    assert summary.time_compression == pytest.approx(600.0)
    manifest = command.folder.manifest()
    assert (manifest.target.model, manifest.target.device) == ("tiny", "cpu")
    assert manifest.plan is not None
    measured = manifest.plan.capacity_images_per_s
    assert measured is not None
    assert manifest.plan.peak_images_per_s == pytest.approx(1.5 * measured)
    assert summary.capacity is not None
    assert "CPU" in (summary.capacity.withheld or "")
    for words in ("ghibli-hour", "capacity: measuring", "server: ready", "load:"):
        assert words in command.stderr
    assert str(command.folder.report_path) in command.stdout
    assert_nothing_is_left(command)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("process", "verdict_reason"),
    [("serve.app", EndReason.SERVER_DIED), ("ServeReplica", None)],
)
def test_a_killed_server_makes_the_run_invalid(
    tmp_path: Path, process: str, verdict_reason: EndReason | None
) -> None:
    command = Viralload(
        tmp_path, ["run", scenario(tmp_path, duration=25), "--model", "stub", "--json"]
    )
    command.wait_for_records(20)
    if process == "ServeReplica":
        (victim, *_) = [p for p in command.processes() if _is_image_replica(" ".join(p.cmdline()))]
    else:
        victim = command.child(process)
    victim.kill()
    assert command.finish(timeout_s=120) == 3, command.stderr
    summary = command.summary
    assert summary.verdict is Verdict.INVALID
    if verdict_reason is not None:
        assert summary.end_reason is verdict_reason
    assert summary.outcomes["ok"] >= 20
    assert sum(summary.outcomes.values()) == summary.scheduled == 500
    assert command.folder.report_path.exists()
    assert_nothing_is_left(command)


def _is_image_replica(command_line: str) -> bool:
    return "ServeReplica" in command_line and "ngress" not in command_line


def test_ctrl_c_while_the_server_starts_leaves_nothing(tmp_path: Path) -> None:
    command = Viralload(tmp_path, ["run", scenario(tmp_path), "--model", "stub"])
    command.wait_for(lambda: any("raylet" in " ".join(p.cmdline()) for p in command.processes()))
    command.interrupt()
    assert command.finish(timeout_s=40) == 130, command.stderr
    assert "Traceback" not in command.stderr
    assert command.folder.manifest().end_reason is EndReason.INTERRUPTED
    assert_nothing_is_left(command)


def test_the_server_alone_is_reached_and_ends_with_its_signal(tmp_path: Path) -> None:
    port = free_port()
    command = Viralload(tmp_path, ["serve", "--model", "stub", "--port", str(port)])
    assert command.process.stdout is not None
    assert '"ready": true' in command.process.stdout.readline()
    assert is_healthy(f"http://127.0.0.1:{port}") is True
    assert ask_models(parse(f"http://127.0.0.1:{port}"), NONE, None).is_stub
    command.process.terminate()
    assert command.finish(timeout_s=20) == 0, command.stderr
    assert_nothing_is_left(command)
