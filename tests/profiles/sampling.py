"""Reads scripted GPUs, directly and by a sampler, each in a process of its own."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from profiles.record.folder import RunFolder
from profiles.schema import GpuSample

# Reads the GPUs at the times given (on a clock that jumps there) and prints all that it was told.
# With `until`, cycles 10 s apart (longer than the wait for a lost GPU) until that fault was told.
READER = """
import ctypes, json, sys, time, msgspec
from profiles.devices.nvidia.reader import open_gpus
from profiles.devices.reader import GpuError
times_s, until = json.loads(sys.argv[1])
try:
    nvml = open_gpus("n1")
except GpuError as err:
    print(json.dumps({"error": str(err)}))
    sys.exit()
with nvml:
    told = {"count": len(nvml), "info": msgspec.to_builtins(nvml.describe())}
    faults = lambda: [(fault.kind, fault.detail) for fault in nvml.faults()]
    told["faults"], told["cycles"] = faults(), []
    t_s, give_up_s = 0.0, time.monotonic() + 20
    while times_s or until and not any(kind == until for kind, _ in told["faults"]):
        assert time.monotonic() < give_up_s, told["faults"]
        t_s = times_s.pop(0) if times_s else t_s + 10
        told["cycles"].append(msgspec.to_builtins(nvml.sample(lambda: t_s, t_s - 0.25)))
        told["faults"] += faults()
    told["field_calls"] = ctypes.CDLL("libnvidia-ml.so.1").fake_field_calls(0)
print(json.dumps(told))
"""

NODE = "n1"
DEADLINE_S = 30.0


class Sampling:
    """A sampler at work on a run folder."""

    def __init__(self, process: subprocess.Popen[str], folder: RunFolder) -> None:
        self.process = process
        self.folder = folder
        self.gpu: list[GpuSample] = []
        self._tail = folder.gpu()

    def ready(self) -> object:
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())

    def until_gpu_samples(self, count: int) -> None:
        wait_for(lambda: len(self.all_gpu()) >= count)

    def all_gpu(self) -> list[GpuSample]:
        self.gpu += self._tail.read()
        return self.gpu

    def stop(self, sent: signal.Signals) -> tuple[int, str]:
        self.process.send_signal(sent)
        return self.end()

    def end(self) -> tuple[int, str]:
        _, stderr = self.process.communicate(timeout=DEADLINE_S)
        return self.process.returncode, stderr


Start = Callable[..., Sampling]


def wait_for(condition: Callable[[], object]) -> None:
    give_up_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < give_up_s, "waited in vain"
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def command(run_dir: Path, *options: str, zero_s: float | None = None) -> list[str]:
    zero_s = time.monotonic() if zero_s is None else zero_s
    arguments = [str(run_dir), "--zero", str(zero_s), "--node", NODE, *options]
    return [sys.executable, "-m", "profiles.sampler", *arguments]
