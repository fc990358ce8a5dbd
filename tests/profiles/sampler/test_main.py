"""The sampler as the process it is, with scripted GPUs."""

import itertools
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from profiles.devices.reader import Fault
from profiles.record.folder import RunFolder
from profiles.sampler.cadence import Cadence
from profiles.sampler.main import record
from profiles.schema import CallCost, GpuInfo, GpuProcess, GpuSample, GpuState
from tests.profiles.fake_nvml import Power
from tests.profiles.sampling import NODE, Start, wait_for


def test_records_gpus_on_the_cadence_of_the_runs_clock(start_sampler: Start) -> None:
    zero_s = time.monotonic() - 1000.0  # the run began a thousand seconds ago
    sampling = start_sampler("- gpus 2\n1 power_mw 250000\n", "--hz", "20", zero_s=zero_s)
    assert sampling.ready() == {"ready": True, "gpus": 2}
    sampling.until_gpu_samples(80)
    assert sampling.stop(signal.SIGTERM) == (0, "")
    samples = sampling.all_gpu()
    ended_s = time.monotonic() - zero_s
    assert [sample.index for sample in samples] == [0, 1] * (len(samples) // 2)
    assert {sample.power_w for sample in samples[1::2]} == {250.0}
    assert {sample.node for sample in samples} == {NODE}
    for sample in samples:
        assert 1000.0 < sample.t_s < ended_s
        due_s = sample.t_s - sample.lag_s  # a multiple of 1/20 s, to the rounding of a microsecond
        assert abs(due_s * 20 - round(due_s * 20)) < 20 * 2.1e-6
        assert sample.lag_s >= 0
    due = [round((sample.t_s - sample.lag_s) * 20) for sample in samples[::2]]
    assert all(earlier < later for earlier, later in itertools.pairwise(due))
    # 350 W for as long as the samples are apart, to the delay between the clock and the call
    first, last = samples[0], samples[-2]
    assert first.energy_j is not None
    assert last.energy_j is not None
    assert last.energy_j - first.energy_j == pytest.approx(
        350.0 * (last.t_s - first.t_s), abs=350.0 * 0.2
    )


def test_every_reading_belongs_to_the_time_it_is_stamped_with(start_sampler: Start) -> None:
    power = Power("square", 100.0, 700.0, 0.8)  # 700 W first
    script = f"* power {power.script}\n* gpm 1\n* gpm_follows_power 1\n* limit_mw 700000\n"
    zero_s = time.monotonic()
    sampling = start_sampler(f"- zero_s {zero_s!r}\n{script}", "--hz", "20", zero_s=zero_s)
    sampling.ready()
    sampling.until_gpu_samples(50)
    assert sampling.stop(signal.SIGTERM) == (0, "")
    samples = sampling.all_gpu()
    took_s = {one.t_s: one.read_s or 0.0 for one in samples}  # how long after t_s it may be of
    averaged = 0
    for one in samples:
        # both of the values that power had while it was read
        held = {700.0 if t % 0.8 < 0.4 else 100.0 for t in (one.t_s, one.t_s + took_s[one.t_s])}
        assert one.power_w in held
        if one.t_s > 1.0:  # the mean moves by 600 W a second at most
            mean_w = power.energy_j(one.t_s - 1.0, one.t_s)
            assert one.power_average_w == pytest.approx(mean_w, abs=1.0 + 600 * took_s[one.t_s])
        if one.gpm_span_s is not None:
            averaged += 1
            before_s = min(took_s, key=lambda t: abs(t - (one.t_s - (one.gpm_span_s or 0.0))))
            mean_w = power.energy_j(before_s, one.t_s) / one.gpm_span_s
            off_s = took_s[one.t_s] + took_s[before_s]
            assert one.tensor_pct == pytest.approx(mean_w / 7, abs=0.1 + 100 * off_s)
    assert averaged


class ScriptedGpu:
    """Gives one sample a cycle; a `profiles.devices.reader.Reader`."""

    def __len__(self) -> int:
        return 1

    def describe(self) -> list[GpuInfo]:
        return [GpuInfo(node=NODE, index=0, uuid="GPU-a", name="scripted")]

    def sample(self, clock: Callable[[], float], due_s: float) -> list[GpuSample]:
        return [GpuSample(t_s=clock(), node=NODE, index=0, uuid="GPU-a", lag_s=clock() - due_s)]

    def processes(self, clock: Callable[[], float]) -> list[GpuProcess]:
        return [GpuProcess(t_s=clock(), node=NODE, uuid="GPU-a", pid=7)]

    def states(self, clock: Callable[[], float], when: str) -> list[GpuState]:
        return [GpuState(t_s=clock(), node=NODE, index=0, uuid="GPU-a", when=when)]

    def watch_xids(self, clock: Callable[[], float]) -> None:
        pass

    def calls(self) -> dict[str, CallCost]:
        return {"fields": CallCost(count=1, mean_s=0.001, max_s=0.001)}

    def faults(self) -> list[Fault]:
        return []

    def close(self) -> None:
        pass


def test_all_is_written_at_the_end_and_every_half_second_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder(tmp_path)
    now_s = 0.0
    on_disk: list[tuple[int, int]] = []  # GPU and host lines after each cycle

    def sleep(seconds: float) -> bool:
        nonlocal now_s
        if seconds:
            on_disk.append((len(folder.gpu().read()), len(folder.host().read())))
        now_s += seconds
        return now_s > 1.85

    def clock() -> float:
        return now_s

    cadence = Cadence(10.0, clock, sleep)
    record(folder, NODE, [ScriptedGpu()], cadence, clock)
    assert json.loads(capsys.readouterr().out) == {"ready": True, "gpus": 1}
    # host samples at 0.5, 1.0, 1.5 s, and with each of them all that was gathered before
    assert on_disk[1] == (0, 0)  # after the cycle at 0.0: still gathered
    assert [on_disk[k + 1] for k in (5, 10, 15)] == [(6, 1), (11, 2), (16, 3)]
    assert [sample.t_s for sample in folder.gpu().read()] == [k / 10 for k in range(19)]
    assert [sample.t_s for sample in folder.host().read()] == [0.5, 1.0, 1.5]
    assert [process.t_s for process in folder.processes().read()] == [0.0, 1.0]
    assert [(state.when, state.t_s) for state in folder.states().read()] == [
        ("begin", 0.0),
        ("end", pytest.approx(1.9)),
    ]
    first, last = folder.sampler().read()
    assert (first.cycles, last.cycles, last.missed, last.hz) == (0, 19, 0, 10.0)
    assert last.calls["fields"].mean_s == 0.001


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_all_written(start_sampler: Start, sent: signal.Signals) -> None:
    sampling = start_sampler("", "--hz", "5")
    sampling.ready()
    sampling.until_gpu_samples(1)
    assert sampling.stop(sent) == (0, "")
    raw = (sampling.folder.path / f"gpu-{NODE}.jsonl").read_bytes()
    assert raw.endswith(b"}\n")


def test_a_sampler_that_was_stopped_and_continued_goes_on(start_sampler: Start) -> None:
    """F10: sigtimedwait gives a siginfo that nobody filled in, once it was interrupted too late."""
    sampling = start_sampler("", "--hz", "20")
    sampling.ready()
    sampling.until_gpu_samples(1)
    sampling.process.send_signal(signal.SIGSTOP)
    wait_for(lambda: "T" in Path(f"/proc/{sampling.process.pid}/stat").read_text().split()[2])
    time.sleep(0.15)  # beyond what it slept for
    seen = len(sampling.all_gpu())
    sampling.process.send_signal(signal.SIGCONT)
    sampling.until_gpu_samples(seen + 5)
    assert sampling.stop(signal.SIGTERM) == (0, "")


def test_a_signal_before_it_is_ready_ends_it_too(start_sampler: Start) -> None:
    sampling = start_sampler("* slow_s 0.5\n")  # finding out what the GPU has takes half a second
    masked = Path(f"/proc/{sampling.process.pid}/status")
    term = 1 << (signal.SIGTERM - 1)
    wait_for(lambda: int(masked.read_text().split("SigBlk:")[1].split()[0], 16) & term)
    assert sampling.stop(signal.SIGTERM) == (0, "")


def test_a_kill_leaves_whole_lines(start_sampler: Start) -> None:
    sampling = start_sampler("- gpus 2\n", "--hz", "50")
    sampling.ready()
    sampling.until_gpu_samples(150)
    seen = len(sampling.all_gpu())
    assert sampling.stop(signal.SIGKILL)[0] == -signal.SIGKILL
    reread = sampling.folder.gpu()
    samples = reread.read()
    assert len(samples) >= seen
    assert reread.damaged == 0
    times = sorted({round(sample.t_s - sample.lag_s, 3) for sample in samples})
    assert times[-1] - times[0] > 1.0


def test_without_a_gpu_the_machine_is_recorded(start_sampler: Start) -> None:
    sampling = start_sampler("- init 9\n")
    assert sampling.ready() == {"ready": True, "gpus": 0}
    wait_for(lambda: len(sampling.folder.host().read()) >= 3)
    assert sampling.stop(signal.SIGTERM) == (0, "")
    samples = sampling.folder.host().read()
    assert all(0 <= sample.cpu_pct <= 100 and sample.mem_used_bytes > 0 for sample in samples)
    gaps = [later.t_s - earlier.t_s for earlier, later in itertools.pairwise(samples)]
    assert min(gaps) > 0.05
    assert not list(sampling.folder.path.glob("gpu-*"))
    (event,) = sampling.folder.events().read()
    assert event.kind == "gpu_absent"
    assert "load its module" in event.detail


def test_no_gpus_asked_for(start_sampler: Start) -> None:
    sampling = start_sampler("- gpus 2\n", "--no-gpus")
    assert sampling.ready() == {"ready": True, "gpus": 0}
    assert sampling.stop(signal.SIGTERM) == (0, "")
    assert not list(sampling.folder.path.glob("gpu-*"))
