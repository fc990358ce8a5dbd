"""Whole runs against somebody else's server: real Locust, real sampler, real faults."""

import json
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import psutil
import pytest

from loadtest.client.target import free_port
from profiles.schema import EndReason, Outcome, Verdict
from tests.loadtest.command import Viralload, scenario
from tests.loadtest.conftest import StartServer
from tests.profiles import fake_nvml
from tests.profiles.sampler.test_exporter import page, value

pytestmark = pytest.mark.e2e


def run(folder: Path, url: str, *more: str, **shape: float) -> Viralload:
    return Viralload(folder, ["run", scenario(folder, **shape), "--host", url, "--json", *more])


def assert_nothing_is_left(viralload: Viralload) -> None:
    assert viralload.processes() == []


def test_a_run_of_a_foreign_server_is_recorded_whole(
    tmp_path: Path, image_server: StartServer
) -> None:
    command = run(tmp_path, image_server(delay_s=0.05), "--label", "first", "--tag", "team=a")
    assert command.finish() == 0, command.stderr
    summary = command.summary
    assert (summary.verdict, summary.valid, summary.scheduled) == (Verdict.PASS, True, 80)
    assert summary.outcomes["ok"] == sum(summary.outcomes.values()) == 80
    assert summary.offered_images_per_s == pytest.approx(20.0)
    assert summary.completed_images_per_s == pytest.approx(20.0, rel=0.03)
    assert summary.latency_p50_s is not None
    assert 0.05 <= summary.latency_p50_s < 0.5
    records = command.folder.requests().read()
    assert sorted(r.seq for r in records) == list(range(80))
    assert all(r.queue_s is None and r.gpu_uuid is None for r in records)  # it told nothing
    manifest = command.folder.manifest()
    assert manifest.labels == {"team": "a"}
    assert manifest.end_reason is EndReason.COMPLETED
    assert manifest.run_id.endswith("-short-first")
    assert not manifest.target.embedded
    assert summary.capacity is not None
    assert summary.capacity.withheld is not None
    assert command.folder.report_path.stat().st_size > 10_000
    assert command.folder.scenario_path.read_text() == Path(scenario(tmp_path)).read_text()
    assert_nothing_is_left(command)


def test_the_load_is_open_loop_and_latency_counts_from_the_due_time(
    tmp_path: Path, image_server: StartServer
) -> None:
    # the server freezes for 2 s, one second in: 40 requests come due meanwhile, all are sent on
    # time, and those that came due right after the freeze began wait almost 2 s
    command = run(tmp_path, image_server(stall_s=2.0))
    assert command.finish() in (0, 3), command.stderr
    records = sorted(command.folder.requests().read(), key=lambda r: r.seq)
    lateness = np.array([r.sent_s - r.scheduled_s for r in records if r.sent_s is not None])
    latency = np.array([r.done_s - r.scheduled_s for r in records if r.done_s is not None])
    assert len(lateness) == len(latency) == 80
    assert np.quantile(lateness, 0.9) < 0.05
    assert latency.max() > 1.8
    assert 30 <= np.count_nonzero(latency > 0.2) <= 45
    gaps = np.diff([r.scheduled_s for r in records])
    assert gaps == pytest.approx(0.05, abs=1e-3)


@pytest.mark.parametrize(
    ("options", "outcome", "error"),
    [  # what else an answer may be: test_answer.py
        ({"fault": "short"}, Outcome.FAILED, "an image is cut short"),
        pytest.param({"fault": "500"}, Outcome.FAILED, "HTTP 500: melted", marks=pytest.mark.slow),
        ({"capacity": 0}, Outcome.REJECTED, "HTTP 429: busy"),
        ({"fault": "hang"}, Outcome.TIMEOUT, "no complete answer within the time limit"),
    ],
)
def test_bad_answers_are_no_success(
    tmp_path: Path, image_server: StartServer, options: dict[str, object],
    outcome: Outcome, error: str,
) -> None:  # fmt: skip
    command = run(tmp_path, image_server(**options), rate=10, duration=1, timeout=1)
    code = command.finish()
    summary = command.summary
    assert summary.outcomes[outcome] == summary.scheduled == 10
    assert error in summary.errors
    assert code == 99  # of refusals the scenario says something, of timeouts the default gate
    assert_nothing_is_left(command)


def test_two_generator_processes_share_the_schedule(
    tmp_path: Path, image_server: StartServer
) -> None:
    command = run(tmp_path, image_server(), "--processes", "2")
    assert command.finish() == 0, command.stderr
    assert command.summary.outcomes["ok"] == 80
    files = sorted(p.name for p in command.folder.path.glob("requests-*.jsonl"))
    assert files == ["requests-locust-0.jsonl", "requests-locust-1.jsonl"]
    counts = [len((command.folder.path / name).read_text().splitlines()) for name in files]
    assert counts == [40, 40]
    assert_nothing_is_left(command)


def test_locusts_own_web_ui_shows_the_run_and_ends_with_it(
    tmp_path: Path, image_server: StartServer
) -> None:
    port = free_port()
    command = run(tmp_path, image_server(), "--web", str(port))
    command.wait_for_records(20)
    with urlopen(f"http://127.0.0.1:{port}/stats/requests") as answer:
        (shown, *_) = json.load(answer)["stats"]
    with urlopen(f"http://127.0.0.1:{port}/viralload/load.json") as answer:
        told = json.load(answer)
    with urlopen(f"http://127.0.0.1:{port}/") as answer:
        assert b'src="/viralload"' in answer.read()
    with urlopen(f"http://127.0.0.1:{port}/viralload") as answer:
        assert b"/viralload/load.json" in answer.read()
    assert told["scheduled"] == 80
    assert told["generators"] == ["locust-0"]
    assert 15 <= told["offered"][-1] <= 80
    # 20/s: what is due at the instant of a sample has left, but for one on its way
    assert all(abs(a - b) <= 2 for a, b in zip(told["offered"], told["sent"], strict=True))
    assert shown["name"] == "/v1/images/generations"
    assert shown["num_requests"] >= 10
    listening = {c.laddr.ip for p in command.processes() for c in p.net_connections() if c.laddr}
    assert listening <= {"127.0.0.1"}
    assert command.finish() == 0, command.stderr
    assert command.summary.outcomes["ok"] == 80
    assert_nothing_is_left(command)


def test_limits_and_flop_that_a_server_tells_reach_the_summary(
    tmp_path: Path, image_server: StartServer
) -> None:
    # 20 images/s of 2 TFLOP on two devices of 100 TFLOP/s each: 20 TFLOP/s a device, 20%
    limits = {"device_name": "Other 1", "matmul_dtype": "bfloat16", "matmul_flop_per_s": 1e14}
    told = {"replicas": 2, "limits": limits, "flop_per_image": 2e12}
    command = run(tmp_path, image_server(told=told, flop=2e12))
    assert command.finish() in (0, 3), command.stderr  # 3: a busy machine sent late
    summary = command.summary
    assert all(record.flop == 2e12 for record in command.folder.requests().read())
    target = command.folder.manifest().target
    assert target.flop_per_image == 2e12
    assert target.limits is not None
    assert target.limits.matmul_flop_per_s == 1e14
    assert (summary.tflop_per_image, summary.achieved_devices) == (2.0, 2)
    assert summary.achieved_tflops == pytest.approx(20.0, rel=0.05)
    assert summary.limit_percent == pytest.approx(20.0, rel=0.05)
    assert (summary.limit_basis, summary.datasheet_tflops) == (
        "bfloat16 matmul measured on Other 1",
        None,
    )
    assert "of the measured matmul limit" in command.folder.report_path.read_text()
    assert_nothing_is_left(command)


@pytest.mark.slow
def test_flop_that_cannot_be_true_counts_as_not_told(  # other figures: test_told.py
    tmp_path: Path, image_server: StartServer
) -> None:
    told = {"limits": {"matmul_flop_per_s": float("inf")}, "flop_per_image": -1}
    command = run(tmp_path, image_server(told=told, flop="nan"), rate=10, duration=1)
    assert command.finish() in (0, 3), command.stderr
    summary = command.summary
    assert (summary.tflop_per_image, summary.achieved_tflops, summary.limit_percent) == (
        None, None, None,
    )  # fmt: skip
    assert command.folder.manifest().target.limits is None
    assert all(record.flop is None for record in command.folder.requests().read())


@pytest.mark.parametrize(
    ("process", "reason"),
    [("locustfile.py", EndReason.GENERATOR_DIED), ("profiles.sampler", EndReason.SAMPLER_DIED)],
)
def test_a_killed_process_ends_the_run_and_what_was_recorded_is_reported(
    tmp_path: Path, image_server: StartServer, process: str, reason: EndReason
) -> None:
    command = run(tmp_path, image_server(), duration=30)
    command.wait_for_records(20)
    command.child(process).kill()
    assert command.finish(timeout_s=40) == 3, command.stderr
    summary = command.summary
    assert (summary.verdict, summary.end_reason) == (Verdict.INVALID, reason)
    assert summary.outcomes["ok"] >= 20
    assert sum(summary.outcomes.values()) == summary.scheduled == 600
    assert summary.outcomes["unsent"] > 300
    assert any("died" in said or "killed" in said for said in summary.reasons)
    assert command.folder.report_path.exists()
    assert_nothing_is_left(command)


def test_a_lost_worker_ends_the_run(tmp_path: Path, image_server: StartServer) -> None:
    command = run(tmp_path, image_server(), "--processes", "2", duration=40)
    command.wait_for_records(20)
    master = command.child("locustfile.py")
    workers = [p for p in psutil.Process(master.pid).children() if p.status() != "zombie"]
    workers[-1].kill()
    assert command.finish(timeout_s=60) == 3, command.stderr
    assert command.summary.end_reason is EndReason.GENERATOR_DIED
    assert sum(command.summary.outcomes.values()) == command.summary.scheduled == 800
    assert_nothing_is_left(command)


def test_ctrl_c_once_drains_and_reports(tmp_path: Path, image_server: StartServer) -> None:
    command = run(tmp_path, image_server(delay_s=0.5), duration=30)
    command.wait_for_records(10)
    command.interrupt()
    assert command.finish(timeout_s=30) == 130, command.stderr
    summary = command.summary
    assert summary.verdict is Verdict.INTERRUPTED
    assert summary.outcomes["ok"] + summary.outcomes["unsent"] == summary.scheduled == 600
    assert summary.outcomes["ok"] >= 20  # those in flight were waited for: 10 seen, 10 under way
    assert len(command.folder.requests().read()) == 600  # the unsent are on record too
    assert command.folder.report_path.exists()
    assert_nothing_is_left(command)


def test_ctrl_c_twice_leaves_at_once(tmp_path: Path, image_server: StartServer) -> None:
    command = run(tmp_path, image_server(fault="hang"), duration=30, timeout=20)
    command.wait_for(lambda: command.out.is_dir() and any(command.folder.load().read()))
    command.interrupt()
    ending = command.process.stderr
    assert ending is not None
    for line in ending:
        if "ending the run" in line:
            break
    command.interrupt()
    assert command.finish(timeout_s=8) == 130
    assert command.folder.manifest().end_reason is EndReason.INTERRUPTED
    assert_nothing_is_left(command)


def test_a_record_that_cannot_grow_ends_the_run_and_keeps_what_it_has(
    tmp_path: Path, image_server: StartServer
) -> None:
    # no file may grow beyond 300 kB, as on a full disk: some 700 lines of the record
    arguments = ["run", scenario(tmp_path, rate=150, duration=20), "--host", image_server()]
    command = Viralload(tmp_path, [*arguments, "--json"], file_limit_bytes=300_000)
    assert command.finish(timeout_s=60) == 3, command.stderr
    summary = command.summary
    assert summary.end_reason is EndReason.GENERATOR_DIED
    assert any("the record cannot be written" in said for said in summary.reasons)
    assert 400 < summary.outcomes["ok"] < 1000
    assert sum(summary.outcomes.values()) == summary.scheduled == 3000
    assert_nothing_is_left(command)


def test_a_gpu_is_recorded_beside_the_load_scraped_and_joined_to_its_energy(
    tmp_path: Path, image_server: StartServer
) -> None:
    # two GPUs of 350 W by the real pynvml over a scripted library; 20 images/s: 35 J an image
    environ = fake_nvml.environment(tmp_path, "- gpus 2\n")
    port = free_port()
    arguments = ["run", scenario(tmp_path), "--host", image_server(), "--json"]
    command = Viralload(tmp_path, [*arguments, "--metrics-port", str(port)], environ)
    command.wait_for_records(20)
    url = f"http://127.0.0.1:{port}/metrics"
    told = page(url)
    later = page(url)
    listening = {c.laddr.ip for p in command.processes() for c in p.net_connections() if c.laddr}
    assert command.finish() == 0, command.stderr
    assert listening <= {"127.0.0.1"}
    assert f"metrics of GPUs and host: {url}" in command.stderr
    manifest = command.folder.manifest()
    samples = command.folder.gpu().read()
    assert len(manifest.gpus) == 2
    assert {s.uuid for s in samples} == {g.uuid for g in manifest.gpus}
    start, end = manifest.load_start_s, manifest.load_end_s
    assert start is not None
    assert end is not None
    first = [s for s in samples if s.index == 0 and start <= s.t_s <= end]
    assert len(first) == pytest.approx(40, abs=3)  # 10 Hz for 4 s
    summary = command.summary
    assert [g.uuid for g in summary.gpus] == [g.uuid for g in manifest.gpus]
    assert [g.energy_j for g in summary.gpus] == pytest.approx([1400.0, 1400.0], rel=0.03)
    assert summary.energy_j_per_image == pytest.approx(35.0, rel=0.05)
    assert "2 GPUs" in command.stderr
    # what was scraped is what was recorded
    for sample in (samples[0], samples[1]):
        gpu = {"node": sample.node, "index": str(sample.index), "uuid": sample.uuid}
        assert value(told, "viralload_gpu_power_watts", **gpu) == 350.0
        energy_j = [value(one, "viralload_gpu_energy_joules_total", **gpu) for one in (told, later)]
        recorded = [s.energy_j for s in samples if s.uuid == sample.uuid]
        assert set(energy_j) <= set(recorded)
    assert value(told, "viralload_host_cpu_ratio", node=samples[0].node) is not None
    assert_nothing_is_left(command)


def test_a_package_that_hides_pynvml_is_named_and_the_run_goes_on(
    tmp_path: Path, image_server: StartServer
) -> None:
    package = tmp_path / "shadow" / "pynvml"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("nvmlMemory_v2 = 1\n")  # as the deprecated one
    arguments = ["run", scenario(tmp_path, rate=10, duration=1), "--host", image_server(), "--json"]
    environ = {"PYTHONPATH": f"{package.parent}:{Path(fake_nvml.__file__).parents[2]}"}
    command = Viralload(tmp_path, arguments, environ)
    assert command.finish() in (0, 3), command.stderr  # 3: a busy machine sent late
    summary = command.summary
    assert summary.outcomes["ok"] == 10
    assert any("pip uninstall -y pynvml" in said for said in summary.warnings)
    assert command.stderr.count("pip uninstall -y pynvml") == 1
    assert "pip uninstall -y pynvml" in command.folder.report_path.read_text()
    assert command.folder.host().read()  # what can be read


def test_what_a_traces_row_tells_is_asked_for_checked_and_recorded(
    tmp_path: Path, image_server: StartServer
) -> None:
    rows = [
        {"t_s": k * k / 100, "steps": 5 + k, "images": 1 + k % 2, "size": f"{32 * (1 + k % 3)}x32",
         "prompt_chars": 10 + k}
        for k in range(12)
    ]  # fmt: skip
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    url = image_server()
    arguments = ["run", str(tmp_path / "t.jsonl"), "--rate-scale", "1", "--host", url, "--json"]
    command = Viralload(tmp_path, arguments)
    assert command.finish() == 3, command.stderr  # p(95) of twelve answers passes nothing
    assert [said[:24] for said in command.summary.reasons] == ["Too few answers to pass:"]
    records = sorted(command.folder.requests().read(), key=lambda record: record.seq)
    assert [
        (r.outcome, r.steps, r.images, f"{r.width}x{r.height}", r.prompt_chars) for r in records
    ] == [
        (Outcome.OK, *(row[k] for k in ("steps", "images", "size", "prompt_chars"))) for row in rows
    ]


def test_a_generator_out_of_open_files_accuses_itself(
    tmp_path: Path, image_server: StartServer
) -> None:
    # 60/s, none answered within 4 s: 240 in flight, and no more than 150 files may be open
    words = ["run", scenario(tmp_path, rate=60, duration=4, timeout=4), "--json"]
    words += ["--host", image_server(fault="hang")]
    command = Viralload(tmp_path, words, before=["prlimit", "--nofile=150"])
    assert command.finish() == 3, command.stderr
    assert "warning: up to 240 requests can be in flight" in command.stderr
    (reason,) = command.summary.reasons
    assert "The generator's own machine failed" in reason
    assert "Too many open files; raise `ulimit -n`" in reason
    assert command.summary.outcomes["failed"] + command.summary.outcomes["timeout"] == 240
    assert_nothing_is_left(command)
