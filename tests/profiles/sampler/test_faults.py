"""What befalls a sampler: GPUs that fail, a parent that dies, a disk that is full."""

import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from profiles.record.folder import RunFolder
from tests.profiles import fake_nvml
from tests.profiles.sampling import NODE, Start, command, is_running, wait_for


def test_a_driver_that_cannot_be_asked_is_a_warning(start_sampler: Start) -> None:
    sampling = start_sampler("- init 18\n")
    assert sampling.ready() == {"ready": True, "gpus": 0}
    code, stderr = sampling.stop(signal.SIGTERM)
    assert code == 0
    assert stderr.startswith("warning: no GPU readings: NVML cannot be used")
    assert stderr.count("\n") == 1
    (event,) = sampling.folder.events().read()
    assert (event.kind, event.source) == ("gpu_unreadable", NODE)
    assert "restart the machine" in event.detail


@pytest.mark.parametrize(
    ("script", "options", "kind", "words"),
    [
        ("", ["--gpu", "GPU-nowhere"], "gpu_unknown", "those here are: GPU-00000000"),
        ("", ["--gpu", "gpu-0"], "gpu_unknown", "there is no GPU gpu-0; NVIDIA's UUIDs begin with"),
        ("0 error:handle 15\n", [], "gpu_error", "cannot be opened: GPU is lost"),
    ],
)
def test_why_no_gpu_is_left_is_an_event_and_the_machine_is_recorded(
    start_sampler: Start, script: str, options: list[str], kind: str, words: str
) -> None:
    sampling = start_sampler(script, *options)
    assert sampling.ready() == {"ready": True, "gpus": 0}
    wait_for(lambda: sampling.folder.host().read())
    assert sampling.stop(signal.SIGTERM) == (0, "")
    (event,) = sampling.folder.events().read()
    assert event.kind == kind
    assert words in event.detail


def test_a_lost_gpu_is_an_event_and_the_others_go_on(start_sampler: Start) -> None:
    sampling = start_sampler("- gpus 2\n0 lost_after_s 1.0\n", "--hz", "20")
    sampling.ready()
    wait_for(lambda: sampling.folder.events().read())
    lost = len(sampling.all_gpu())
    sampling.until_gpu_samples(lost + 30)
    assert sampling.stop(signal.SIGTERM)[0] == 0
    (event,) = sampling.folder.events().read()
    assert (event.kind, event.source) == ("gpu_lost", NODE)
    samples = sampling.all_gpu()
    assert {sample.index for sample in samples[-20:]} == {1}
    assert max(sample.t_s for sample in samples if sample.index == 0) < event.t_s


def test_slow_calls_show_as_lag_and_missed_cycles_are_skipped(start_sampler: Start) -> None:
    sampling = start_sampler("* slow_s 0.25\n")  # 2.5 periods a cycle
    sampling.ready()
    sampling.until_gpu_samples(6)
    assert sampling.stop(signal.SIGTERM)[0] == 0
    samples = sampling.all_gpu()
    gaps = [later.t_s - earlier.t_s for earlier, later in itertools.pairwise(samples)]
    assert min(gaps) > 0.24  # never bunched
    assert max(sample.lag_s for sample in samples) > 0.1


# The parent of a sampler: tells the sampler's process id and waits to be killed.
PARENT = """
import subprocess, sys, time
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(600)
"""


def test_it_ends_when_its_parent_is_killed(tmp_path: Path, nvml_library: Path) -> None:
    folder = RunFolder(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, *command(tmp_path)],
        env=fake_nvml.environment(tmp_path, "", nvml_library),
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        try:
            wait_for(lambda: folder.gpu().read())
            assert is_running(pid)
            parent.kill()
            wait_for(lambda: not is_running(pid))
        finally:
            parent.kill()
            if is_running(pid):
                os.kill(pid, signal.SIGKILL)
    assert (tmp_path / f"gpu-{NODE}.jsonl").read_bytes().endswith(b"}\n")


def test_a_parent_that_is_gone_already_ends_it_at_once(start_sampler: Start) -> None:
    sampling = start_sampler(
        "", "--parent", str(2**22 + 1)
    )  # above the kernel's highest process id
    assert sampling.end() == (0, "")


@pytest.mark.parametrize("name", [f"gpu-{NODE}.jsonl", f"host-{NODE}.jsonl"])
def test_a_full_disk_is_a_one_line_error(start_sampler: Start, tmp_path: Path, name: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to("/dev/full")
    sampling = start_sampler("")
    code, stderr = sampling.end()
    assert code == 1
    assert stderr == f"error: cannot write {sampling.folder.path}: No space left on device\n"


def test_a_run_folder_that_is_not_there(start_sampler: Start, tmp_path: Path) -> None:
    done = subprocess.run(
        command(tmp_path / "nowhere"), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: cannot write {tmp_path / 'nowhere'}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("hz", ["0", "-1", "nan", "1000", "fast"])
def test_a_rate_that_is_none(tmp_path: Path, hz: str) -> None:
    done = subprocess.run(
        command(tmp_path, "--hz", hz), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert f"'{hz}' is not a rate" in done.stderr
