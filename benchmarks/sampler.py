"""The sampler against a scripted NVML: is it on time, is it cheap, are its readings true?

    python -m benchmarks.sampler [--seconds 60] [--gpus 8] [--hz 10] [--no-burn]
    python -m benchmarks.sampler --gpu [--load sdxl] [--pairs 6] [--stretch 20]
    python -m benchmarks.sampler --gpu --load matmul --seconds 12 --pairs 2 --stretch 5

The real sampler and the real pynvml read a fake library (tests/profiles/fake_nvml.c) whose script
is the truth: power as a function of time, constant, square or ramp, and a counter that moves in
steps. Meanwhile another core is kept busy. Then every fault the script knows is played, and must be
found and named.

stderr shows the progress; the last line of stdout is one JSON object: `lateness_p99_s`,
`cpu_percent` (of a core), `missed` cycles, `energy_error_percent` by power shape and estimate,
`faults` (name -> whether it was found), and where it ran.

With --gpu the load and the readings are real ones (benchmarks.sampler_gpu): a matmul or a model on
this machine's first GPU. The JSON then has what each GPU told, energy by both estimates, the cost
of each call, and the share of its rate that the load lost to the sampler. By its defaults that
takes six minutes; the last line above takes less than one.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil

from benchmarks.options import environment
from benchmarks.sampler_faults import find_faults
from benchmarks.sampler_gpu import Asked, LoadError, measure, say
from profiles.devices.host import node_name
from profiles.devices.visible import every_gpu
from profiles.record.columns import Gpu, gpu_columns
from profiles.record.folder import RunFolder
from profiles.telemetry.energy import gpu_energy
from tests.profiles import fake_nvml
from tests.profiles.fake_nvml import Power

SHAPES = (
    Power("constant", 350.0),
    Power("square", 120.0, 690.0, 3.7),
    Power("ramp", 100.0, 650.0, 11.0),
)
COUNTER_STEP_S = 0.1
MARGIN_S = 1.5  # of the samples at both ends, which the energy window leaves out
BURN = "while True: pass"


def main() -> int:
    """Run the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sampler", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--hz", type=float, default=10.0)
    parser.add_argument("--burn", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    parser.add_argument("--gpu", action="store_true", help="beside a real load on a real GPU")
    real = parser.add_argument_group("with --gpu")
    real.add_argument("--load", default="sdxl", help="matmul, or a model (random weights)")
    real.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of it")
    real.add_argument("--pairs", type=_some, default=6, help="stretches with and without")
    real.add_argument("--stretch", type=float, default=20.0, help="seconds of each")
    arguments = parser.parse_args()
    if arguments.gpu:
        return beside_a_load(arguments)
    with tempfile.TemporaryDirectory(prefix="viralload-") as scratch:
        root = Path(scratch)
        library = fake_nvml.build(root)
        say(f"sampling {arguments.gpus} GPUs at {arguments.hz:g} Hz for {arguments.seconds:g} s")
        told = keep_time(root, library, arguments)
        say("playing the faults")
        told["faults"] = find_faults(root, library)
    told |= {
        "seconds": arguments.seconds,
        "gpus": arguments.gpus,
        "hz": arguments.hz,
        "other_core_loaded": arguments.burn,
    }
    tell(told, arguments.out)
    return 0


def beside_a_load(arguments: argparse.Namespace) -> int:
    """The part with a real GPU; returns the exit code."""
    load = [sys.executable, "-m", "benchmarks.gpu_load", arguments.load]
    for word in arguments.set:
        load += ["--set", word]
    asked = Asked(
        load=load,
        seconds=arguments.seconds,
        pairs=arguments.pairs,
        stretch_s=arguments.stretch,
        hz=arguments.hz,
    )
    try:
        told = measure(asked)
    except LoadError as err:
        say(f"error: {err}")
        return 2
    told |= {
        "hz": arguments.hz,
        "stretch_s": arguments.stretch,
        "devices": msgspec.to_builtins(every_gpu(node_name())),  # driver, power limit, memory
        **environment("benchmarks.sampler"),
    }
    tell(told, arguments.out)
    return 0


def tell(told: dict[str, Any], out: Path | None) -> None:
    """Print it as JSON, with when and where it was measured; also to a file if one is named."""
    told |= {
        "date_utc": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cores": len(os.sched_getaffinity(0)),
    }
    if out is not None:
        out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(told))  # noqa: T201


def _some(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of pairs from 1 up")
    return int(text)


def keep_time(root: Path, library: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Lateness, cost and energy errors of one undisturbed run."""
    zero_s = time.monotonic()
    lines = [f"- gpus {arguments.gpus}", f"- zero_s {zero_s!r}", "* gpm 1", "* gpm_tensor 40"]
    lines.append(f"* counter_step_s {COUNTER_STEP_S}")
    powers = [SHAPES[index % len(SHAPES)] for index in range(arguments.gpus)]
    lines += [f"{index} power {power.script}" for index, power in enumerate(powers)]
    folder = RunFolder(root / "time")
    folder.path.mkdir()
    env = fake_nvml.environment(root, "\n".join(lines) + "\n", library)
    command = [sys.executable, "-m", "profiles.sampler", str(folder.path), "--zero", repr(zero_s)]
    command += ["--node", "n", "--hz", str(arguments.hz)]
    with (
        busy_core(arguments.burn),
        subprocess.Popen(command, env=env, stdout=subprocess.PIPE) as sampler,
    ):
        try:
            assert sampler.stdout
            sampler.stdout.readline()
            process = psutil.Process(sampler.pid)
            time.sleep(0.5)
            begin_s, spent_s = time.monotonic(), cpu_s(process)
            time.sleep(arguments.seconds)
            spent_s, took_s = cpu_s(process) - spent_s, time.monotonic() - begin_s
        finally:
            sampler.terminate()
    gpus = gpu_columns(folder.gpu())
    lags = np.concatenate([gpu.lag_s for gpu in gpus])
    return {
        "lateness_p50_s": float(np.quantile(lags, 0.5)),
        "lateness_p99_s": float(np.quantile(lags, 0.99)),
        "lateness_max_s": float(lags.max()),
        "cpu_percent": 100.0 * spent_s / took_s,
        "missed": missed(gpus, arguments.hz),
        "samples": int(lags.size),
        "energy_error_percent": energy_errors(gpus, powers),
    }


def missed(gpus: list[Gpu], hz: float) -> int:
    """Cycles between a GPU's first and last that it has no sample of; the most of any GPU."""
    most = 0
    for gpu in gpus:
        cycles = np.unique(np.round((gpu.t_s - gpu.lag_s) * hz))
        most = max(most, int(cycles[-1] - cycles[0]) + 1 - cycles.size)
    return most


def energy_errors(gpus: list[Gpu], powers: list[Power]) -> dict[str, dict[str, float]]:
    """Percent off the script's truth, by shape and estimate; the worst GPU of each shape."""
    worst: dict[str, dict[str, float]] = {}
    for gpu in gpus:
        power = powers[gpu.index]
        start_s, end_s = float(gpu.t_s[0]) + MARGIN_S, float(gpu.t_s[-1]) - MARGIN_S
        truth_j = power.energy_j(start_s, end_s)
        (found,) = gpu_energy([gpu], start_s, end_s).by_gpu
        row = worst.setdefault(power.shape, {})
        for name, joules in (("counter", found.counter_j), ("integrated", found.integrated_j)):
            off = float("nan") if joules is None else 100.0 * abs(joules / truth_j - 1.0)
            row[name] = max(row.get(name, 0.0), off)
    return worst


@contextmanager
def busy_core(burn: bool) -> Iterator[None]:
    """Keep the last core busy, where there are two."""
    cores = sorted(os.sched_getaffinity(0))
    if not burn or len(cores) < 2:
        yield
        return
    with subprocess.Popen([sys.executable, "-c", BURN]) as burner:
        os.sched_setaffinity(burner.pid, {cores[-1]})
        try:
            yield
        finally:
            burner.kill()


def cpu_s(process: psutil.Process) -> float:
    """User and system time of a process so far, seconds."""
    spent = process.cpu_times()
    return float(spent.user + spent.system)


if __name__ == "__main__":
    sys.exit(main())
