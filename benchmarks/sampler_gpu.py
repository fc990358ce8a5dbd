"""The sampler beside a real load: what it reads, what a call costs, what it costs the load.

`benchmarks.sampler --gpu` starts a steady load (benchmarks.gpu_load), reads the GPUs through
`viralload sample`, and then compares stretches with the sampler on and off, next to each other and
in turns first (on off, off on, ...), so that what drifts meets both. Of each pair

    d = 1 - r_on / r_off        the share of the load's rate that sampling took

and its mean over the pairs has the interval  +- t(0.95, k - 1) s / sqrt(k),  s their standard
deviation (Student 1908).
"""

import json
import math
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from profiles.record.folder import RunFolder
from profiles.schema import GpuSummary
from profiles.stats.student_t import t_quantile
from profiles.summary.sample import Sampled

BOUND_PERCENT = 0.5  # of the load's rate, asked for
START_S = 1.0  # of a sampler's process, about
SETTLE_S = 1.0  # between a sampler's start or end and the stretch
READY_S = 900.0  # a model is loaded and warmed up
ROOT = Path(__file__).resolve().parent.parent

Tick = tuple[float, float]  # CLOCK_MONOTONIC in seconds, work so far


class LoadError(Exception):
    """The load did not start, or ended too early; the text says why."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line decides."""

    load: list[str]  # the load's command line
    seconds: float = 60.0  # of readings
    pairs: int = 6
    stretch_s: float = 20.0
    settle_s: float = SETTLE_S
    hz: float = 10.0

    @property
    def about_s(self) -> float:
        """Seconds that it takes from when the load runs: the readings, and two stretches a pair."""
        return self.seconds + START_S + 2 * self.pairs * (self.settle_s + self.stretch_s + START_S)


class Load:
    """The load's process, and its ticks as they come."""

    def __init__(self, command: list[str], environ: Mapping[str, str] | None) -> None:
        self._process = subprocess.Popen(
            command, env=environ, cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        self._ticks: list[Tick] = []
        self._about: dict[str, Any] | None = None
        self._told = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def about(self) -> dict[str, Any]:
        """What it is, once it runs.

        Raises:
            LoadError: it does not.
        """
        self._told.wait(READY_S)
        if self._about is None:
            raise LoadError("the load did not start; its reason stands above")
        return self._about

    def rate(self, start_s: float, end_s: float) -> float:
        """Work a second between the first and the last tick from start to end.

        Raises:
            LoadError: there are no two.
        """
        found = rate(self._ticks, start_s, end_s)
        if found is None:
            state = "it has ended" if self._process.poll() is not None else "each takes too long"
            raise LoadError(
                f"the load did not do two rounds in {end_s - start_s:g} s ({state}): "
                "take a longer --stretch"
            )
        return found

    def end(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        self._thread.join()
        assert self._process.stdout
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout
        first = self._process.stdout.readline()
        if first:
            self._about = json.loads(first)
        self._told.set()
        for line in self._process.stdout:
            if not line.endswith("\n"):
                break  # it was killed
            t_s, _, work = line.partition(" ")
            self._ticks.append((float(t_s), float(work)))


def measure(asked: Asked, environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Readings and the comparison; `environ` is the processes' (this one's own).

    Raises:
        LoadError: the load does not run.
        OSError: a sampler cannot be started.
    """
    load = Load(asked.load, environ)
    try:
        about = load.about()
        say(
            f"{about['load']} runs; reading the GPUs for {asked.seconds:g} s, then {asked.pairs} "
            f"pairs of stretches: about {asked.about_s:.0f} s"
        )
        with tempfile.TemporaryDirectory(prefix="viralload-") as scratch:
            root = Path(scratch)
            begin_s = time.monotonic()
            sampled = read(root, asked, environ)
            work_per_s = load.rate(begin_s, time.monotonic())
            told = readings(sampled, about, work_per_s)
            rates = compare(root, asked, load, environ)
    finally:
        load.end()
    return {"benchmark": "sampler on a GPU", "load": about, **told, "throughput": apart(rates)}


def read(root: Path, asked: Asked, environ: Mapping[str, str] | None) -> Sampled:
    """What `viralload sample` tells of so many seconds.

    Raises:
        LoadError: it failed.
    """
    command = [sys.executable, "-m", "loadtest.cli", "sample", "--for", f"{asked.seconds:g}s"]
    command += ["--json", "--hz", str(asked.hz), "--out", str(root / "runs")]
    done = subprocess.run(command, env=environ, cwd=ROOT, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise LoadError("viralload sample failed; its reason stands above")
    return msgspec.json.decode(done.stdout, type=Sampled)


def compare(
    root: Path, asked: Asked, load: Load, environ: Mapping[str, str] | None
) -> list[tuple[float, float]]:
    """The load's rate with the sampler on and off, a pair of stretches after another."""
    pairs = []
    for number, order in enumerate(orders(asked.pairs)):
        rates = {}
        for on in order:
            with sampling(root / f"{number}-{on}", asked.hz, environ, on=on):
                time.sleep(asked.settle_s)
                begin_s = time.monotonic()
                time.sleep(asked.stretch_s)
                rates[on] = load.rate(begin_s, time.monotonic())
        pairs.append((rates[True], rates[False]))
        say(f"pair {number + 1} of {asked.pairs}: {100 * (1 - rates[True] / rates[False]):+.2f}%")
    return pairs


@contextmanager
def sampling(
    path: Path, hz: float, environ: Mapping[str, str] | None, *, on: bool
) -> Iterator[None]:
    """With the sampler at work, or without."""
    if not on:
        yield
        return
    path.mkdir()
    command = [sys.executable, "-m", "profiles.sampler", str(path), "--hz", str(hz)]
    command += ["--zero", repr(time.monotonic())]
    with subprocess.Popen(command, env=environ, cwd=ROOT, stdout=subprocess.PIPE) as sampler:
        try:
            assert sampler.stdout
            if not sampler.stdout.readline():
                raise LoadError("the sampler did not start; its reason stands above")
            yield
        finally:
            sampler.terminate()
    if not RunFolder(path).gpu().read():
        raise LoadError("the sampler read no GPU: `viralload doctor` says why")


def rate(ticks: Sequence[Tick], start_s: float, end_s: float) -> float | None:
    """Work a second between the first and the last tick within [start, end]; None below two."""
    inside = [tick for tick in list(ticks) if start_s <= tick[0] <= end_s]
    if len(inside) < 2:
        return None
    (first_s, before), (last_s, after) = inside[0], inside[-1]
    return (after - before) / (last_s - first_s)


def orders(pairs: int) -> list[tuple[bool, bool]]:
    """Whether the sampler is on, first and second of each pair: on off, off on, on off, ..."""
    return [(number % 2 == 0, number % 2 == 1) for number in range(pairs)]


def apart(pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """The share of its rate that the load lost to the sampler, percent, with its 95% interval.

    The interval is None for a single pair.
    """
    lost = [100 * (1 - on / off) for on, off in pairs]
    mean = statistics.fmean(lost)
    half = None
    if len(lost) > 1:
        half = t_quantile(0.95, len(lost) - 1) * statistics.stdev(lost) / math.sqrt(len(lost))
    return {
        "on_per_s": [on for on, _ in pairs],
        "off_per_s": [off for _, off in pairs],
        "lost_percent": mean,
        "lost_low_percent": None if half is None else mean - half,
        "lost_high_percent": None if half is None else mean + half,
        "bound_percent": BOUND_PERCENT,
        "within_bound": abs(mean) <= BOUND_PERCENT,
    }


def readings(sampled: Sampled, about: Mapping[str, Any], work_per_s: float) -> dict[str, Any]:
    """What was read, with energy by both estimates over the work of the load's GPU.

    Where the load does not tell its GPU's UUID, that is all GPUs'.
    """
    uuid = about.get("gpu_uuid")
    own = [gpu for gpu in sampled.gpus if uuid in (None, gpu.uuid)]
    work = work_per_s * (sampled.duration_s or 0.0)
    return {
        "work_per_s": work_per_s,
        "sampled_s": sampled.duration_s,
        "j_per_unit_counter": _over(own, "energy_counter_j", work),
        "j_per_unit_integrated": _over(own, "energy_integrated_j", work),
        "gpus": msgspec.to_builtins(sampled.gpus),
        "instances": msgspec.to_builtins(sampled.instances),
        "samplers": msgspec.to_builtins(sampled.samplers),
        "faults": msgspec.to_builtins(sampled.faults),
        "warnings": sampled.warnings,
    }


def _over(gpus: Sequence[GpuSummary], name: str, work: float) -> float | None:
    joules = [getattr(gpu, name) for gpu in gpus]
    return sum(joules) / work if joules and work and None not in joules else None


def say(text: str) -> None:
    """Progress."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201
