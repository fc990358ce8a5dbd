"""How fast and how right the fleet simulation is: `python -m benchmarks.fleet`.

requests_per_s_1core, requests_per_s_2core
    M/M/c, two cells of 100 servers behind a central queue each at 0.9, on one thread and on two
simpy_requests_per_s
    the same M/M/c (one cell) in SimPy, in the same run
theory_error_percent
    by case: Erlang C, M/D/1, M/M/1, power of two choices, Little's law (`benchmarks.fleet_theory`)
scaling
    seconds and the process's peak memory at 1, 10 and 100 million requests, least of two
    (`--quick`: a tenth)
block_hour_*
    one viral hour (ghibli-hour's curve) on 100,000 GPUs at 33,000 images/s on average, least of two
peak_rss_bytes
    of the whole process at the end

Each part runs in a process of its own, so that peaks are its own. `--reality` compares with stub
replicas on this machine instead (`benchmarks.fleet_reality`). The last line of stdout is JSON.

Exit codes: 0 measured, 1 it could not be, 2 usage.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import msgspec
import numpy as np

from benchmarks.fleet_theory import cases, error_percent
from profiles.fleet.simulate import Demand, simulate, steady
from profiles.schema.fleet import Fleet, Service

BLOCK_GPUS = 100_000
BLOCK_IMAGES_PER_S = 33_000.0
HOUR_S = 3600.0
STEADY = Service(
    step_base_s=0.0,
    step_image_s=1.0,
    steps=1,
    largest_batch=1,
    spread="exponential",
    basis="stated",
)


def block_hour(quick: bool) -> dict[str, Any]:
    """The viral hour at block scale; quick: 1,000 GPUs."""
    gpus = BLOCK_GPUS // (100 if quick else 1)
    mean = BLOCK_IMAGES_PER_S * gpus / BLOCK_GPUS
    shape = flash()
    peak_share = float(shape.max() / shape.mean())
    # An image takes what lets the peak use 98% of the block: above 1, a queue just grows.
    image_s = 0.98 * gpus / (mean * peak_share)
    service = Service(step_base_s=0.0, step_image_s=image_s / 20, steps=20, largest_batch=1)
    fleet = Fleet(gpus=gpus, service=service, policy="none", max_batch=1, routing="two",
                  max_queue=None)  # fmt: skip
    rates = tuple((shape / shape.mean() * mean).tolist())
    demand = Demand(duration_s=HOUR_S, rates_per_s=rates)
    begin_s = time.perf_counter()
    played = simulate(fleet, demand, seed=1, slo_s=10.0)
    took_s = time.perf_counter() - begin_s
    return {
        "block_hour_requests": played.requests,
        "block_hour_s": took_s,
        "block_hour_gpus": gpus,
        "block_hour_image_s": image_s,
        "block_hour_p95_s": played.latency_p95_s,
        "block_hour_goodput_images_per_s": played.goodput_images_per_s,
        "block_hour_peak_rss_bytes": rss_bytes(),
    }


def flash() -> np.ndarray[Any, Any]:
    """The shape of loadtest's ghibli-hour in bins of 10 s: base, rise, hold, decay."""
    t = (np.arange(360) + 0.5) * 10.0
    up = np.clip((t - 600) / 900, 0, 1)
    after = np.maximum(t - 600 - 900 - 600, 0)
    return np.asarray(1 + 3.9 * up * 0.5 ** (after / 720))


def mmc(requests: int, threads: int) -> dict[str, Any]:
    """Two cells of M/M/100 at 0.9."""
    fleet = Fleet(gpus=200, cell_gpus=100, service=STEADY, policy="none", max_batch=1,
                  routing="central", max_queue=None)  # fmt: skip
    return timed(fleet, steady(180.0, requests / 180.0), threads)


def scaled(requests: int) -> dict[str, Any]:
    """So many requests in half an hour, on as many cells of 1,000 GPUs as that takes at 0.9."""
    gpus = max(1000, round(requests / 0.9 / 1800.0 / 1000) * 1000)
    fleet = Fleet(gpus=gpus, service=STEADY, policy="none", max_batch=1, routing="two",
                  max_queue=None)  # fmt: skip
    return timed(fleet, steady(requests / 1800.0, 1800.0), None)


def timed(fleet: Fleet, demand: Demand, threads: int | None) -> dict[str, Any]:
    """How long it takes."""
    begin_s = time.perf_counter()
    played = simulate(fleet, demand, seed=1, slo_s=10.0, threads=threads)
    took_s = time.perf_counter() - begin_s
    return {
        "requests": played.requests,
        "seconds": took_s,
        "requests_per_s": played.requests / took_s,
        "peak_rss_bytes": rss_bytes(),
    }


def rss_bytes() -> int:
    """The most memory this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def theory() -> dict[str, float]:
    """Percent off, by case."""
    return {case.name: error_percent(case) for case in cases(5.0)}


def simpy_speed(requests: int) -> dict[str, float]:
    """SimPy on the same M/M/100."""
    from benchmarks.fleet_simpy import requests_per_s

    speed, wait_s = requests_per_s(100, 0.9, requests, seed=1)
    return {"requests_per_s": speed, "wait_s": wait_s}


def part(name: str, quick: bool) -> Any:
    """One part, in this process."""
    size = 10 if quick else 1
    parts: dict[str, Callable[[], Any]] = {
        "block": lambda: block_hour(quick),
        "theory": theory,
        "simpy": lambda: simpy_speed(200_000 // size),
        "one": lambda: mmc(10_000_000 // size, 1),
        "two": lambda: mmc(10_000_000 // size, 2),
        "scale-1": lambda: scaled(1_000_000 // size),
        "scale-10": lambda: scaled(10_000_000 // size),
        "scale-100": lambda: scaled(100_000_000 // size),
    }
    if name not in {"theory", "simpy"}:
        mmc(1000, 1)  # loads the compiled code, or compiles it
    return parts[name]()


def apart(name: str, quick: bool) -> Any:
    """The same in a process of its own.

    Raises:
        subprocess.CalledProcessError: it failed; its words are on stderr.
    """
    say(name)
    words = [sys.executable, "-m", "benchmarks.fleet", "--part", name, *["--quick"] * quick]
    done = subprocess.run(words, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def say(line: str) -> None:
    """Progress."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201


def main(argv: list[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fleet",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the requests and less")
    parser.add_argument("--reality", action="store_true", help="against stub replicas")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    asked = parser.parse_args(argv)
    if asked.part:
        print(json.dumps(part(asked.part, asked.quick)))  # noqa: T201
        return 0
    if asked.reality:
        from benchmarks.embedded import BenchmarkError
        from benchmarks.fleet_reality import compare

        try:
            rows = {"reality": [msgspec.to_builtins(row) for row in compare(quick=asked.quick)]}
        except BenchmarkError as err:
            say(f"error: {err}")
            return 1
        print(json.dumps(rows | environment()))  # noqa: T201
        return 0
    try:
        one, two = apart("one", asked.quick), apart("two", asked.quick)
        simpy = apart("simpy", asked.quick)
        scaling = [apart(f"scale-{millions}", asked.quick) for millions in (1, 10, 100)]
        block = apart("block", asked.quick)
        told: dict[str, Any] = {
            "requests_per_s_1core": one["requests_per_s"],
            "requests_per_s_2core": two["requests_per_s"],
            "simpy_requests_per_s": simpy["requests_per_s"],
            "times_simpy_1core": one["requests_per_s"] / simpy["requests_per_s"],
            "times_simpy_2core": two["requests_per_s"] / simpy["requests_per_s"],
            **block,
            "scaling": scaling,
            "theory_error_percent": apart("theory", asked.quick),
        }
    except subprocess.CalledProcessError as err:
        say(f"error: {' '.join(err.cmd[1:])} failed; its reason is above")
        return 1
    told["peak_rss_bytes"] = max(block["block_hour_peak_rss_bytes"], rss_bytes())
    print(json.dumps(told | environment()))  # noqa: T201
    return 0


def environment() -> dict[str, Any]:
    """What it was measured on."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "load_1min": os.getloadavg()[0],
        "python": platform.python_version(),
        "numba": version("numba"),
        "simpy": version("simpy"),
        "utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }


if __name__ == "__main__":
    sys.exit(main())
