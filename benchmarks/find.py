"""Does `viralload find` find what is there? `python -m benchmarks.find --repeats 20`.

The real command against the real server with the stub as a textbook queue, whose capacity theory
knows (`benchmarks.queues`): `m/d/8` and `m/m/8`, a mean service of 50 ms. One server a case,
started once; each repeat is a `viralload find --host` with seeds of its own for the arrivals, while
the server's service times go on being drawn.

What HTTP adds is in the latency and not in the queue: the stub counts its servers' time exactly,
and tells queue and service of every request. So the truth of a search is the rate at which sojourn
time and overhead together keep to the SLO, the overhead distributed as latency - (queue + service)
over that search's own requests: what else the machine did then is in it. The capacity without any
is told beside it.

A search takes 4 to 15 minutes. `--out` keeps the run folders, `--read` makes the figures again from
kept ones, and `--also` counts the searches of an output of before: repeats can be measured a few at
a time, with other first seeds.

Give it a quiet machine: whatever holds a request up is in its latency. With two cores, two searches
side by side want the replicas, HAProxy and the generators in real time (`chrt -r 1`) and what
steers them not: the fit after each window otherwise holds up the other search's requests, and HTTP
adds 14 ms at the 95th percentile instead of 5.

Progress goes to stderr. The last line of stdout is one JSON object: `result[case]` with
`covered` and `within_3_percent` of `repeats`, and each of the `searches`.

Exit codes: 0 measured, 1 a search or the server failed, 2 usage.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from benchmarks.options import environment, say
from benchmarks.queues import capacity, mdc_tail, mmc_tail
from profiles.record import columns
from profiles.record.folder import RunFolder
from profiles.schema import FindResult
from serve.ingress.haproxy import free_port

ROOT = Path(__file__).resolve().parent.parent
SERVERS = 8
SERVICE_S = 0.05
QUANTILES = 100  # of the overhead
STOP_S = 30.0


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A queue and an SLO."""

    service: Literal["fixed", "exponential"]
    limit_s: float
    percent: float

    @property
    def slo(self) -> str:
        """As `--slo` takes it."""
        return f"p({self.percent:g}) < {self.limit_s * 1e3:g}ms"

    def truth(self, overhead_s: Sequence[float] = (0.0,)) -> float:
        """Requests/s at which the SLO is just met, HTTP adding one of these, each as likely."""
        tail = mdc_tail if self.service == "fixed" else mmc_tail

        def late(rate: float) -> float:
            tails = [tail(rate, SERVICE_S, SERVERS, self.limit_s - added) for added in overhead_s]
            return sum(tails) / len(tails)

        return capacity(late, 1.0 - self.percent / 100.0, SERVERS / SERVICE_S)


CASES = {
    f"m/d/{SERVERS}": Case(service="fixed", limit_s=0.1, percent=95),
    f"m/m/{SERVERS}": Case(service="exponential", limit_s=0.25, percent=90),
}


class BenchmarkError(RuntimeError):
    """Nothing was measured; the message says why."""


def serve(case: Case) -> tuple[subprocess.Popen[str], str]:
    """The stub as that queue; its process and URL.

    Raises:
        BenchmarkError: it does not start.
    """
    settings = {
        "model": "stub",
        "stub_servers": SERVERS,
        "stub_service": case.service,
        "stub_fixed_s": SERVICE_S,
        "stub_step_s": 0.0,
        "max_queue": 100_000,
        "port": free_port(),
    }
    command = [sys.executable, "-m", "serve.app", "--settings", json.dumps(settings)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise BenchmarkError("the server did not start; its reason is above")
    return process, json.loads(line)["url"]


def search(case: Case, url: str, seed: int, out: Path, options: argparse.Namespace) -> RunFolder:
    """One `viralload find`; its folder.

    Raises:
        BenchmarkError: it ended without a result.
    """
    command = [sys.executable, "-m", "loadtest.cli", "find", "--host", url, "--slo", case.slo]
    command += ["--precision", str(options.precision), "--time", f"{options.time}s"]
    command += ["--seed", str(seed), "--out", str(out), "--label", f"repeat-{seed}", "--json"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if not done.stdout:
        raise BenchmarkError(f"a search ended with exit code {done.returncode} and no result")
    result = msgspec.json.decode(done.stdout, type=FindResult)
    return RunFolder(out / result.run_id)


def overhead_s(folder: RunFolder) -> list[float]:
    """Latency less what the server told of queue and service: QUANTILES of all requests, sorted."""
    requests = columns.request_columns(folder.requests())
    added = requests.latency_s - requests.queue_s - requests.service_s
    middles = (np.arange(QUANTILES) + 0.5) / QUANTILES
    return [float(each) for each in np.nanquantile(added, middles)]


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """What a search found, beside the truth; requests/s."""

    seed: int
    truth_per_s: float
    estimate_per_s: float | None
    low_per_s: float | None
    high_per_s: float | None
    verdict: str
    took_s: float | None
    windows_thrown_out: int
    overhead_p50_s: float
    overhead_p95_s: float

    @property
    def error(self) -> float | None:
        """Relative, of the estimate."""
        return None if self.estimate_per_s is None else self.estimate_per_s / self.truth_per_s - 1

    @property
    def covered(self) -> bool:
        """Whether the interval holds the truth; one without a lower end tells too little to."""
        return (self.low_per_s or math.inf) <= self.truth_per_s <= (self.high_per_s or math.inf)


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """The searches of a case."""

    slo: str
    truth_without_overhead_per_s: float
    repeats: int
    covered: int
    within_3_percent: int
    searches: list[Search]


class Output(msgspec.Struct, frozen=True):
    """The line that this program prints, as far as it is read again."""

    result: dict[str, Found]


def looked_at(case: Case, folder: RunFolder) -> Search:
    """A search's folder beside the truth of its own overhead."""
    one, added = folder.find(), overhead_s(folder)
    return Search(
        seed=folder.manifest().seed,
        truth_per_s=case.truth(added),
        estimate_per_s=one.requests_per_s,
        low_per_s=one.low_requests_per_s,
        high_per_s=one.high_requests_per_s,
        verdict=one.verdict.value,
        took_s=one.took_s,
        windows_thrown_out=sum(window.thrown_out is not None for window in one.windows),
        overhead_p50_s=added[QUANTILES // 2],
        overhead_p95_s=added[int(0.95 * QUANTILES)],
    )


def measured(case: Case, searches: list[Search]) -> Found:
    """How many hold the truth, and how many lie within 3% of it.

    Raises:
        BenchmarkError: two are of one seed, so of one schedule.
    """
    seeds = [one.seed for one in searches]
    twice = {seed for seed in seeds if seeds.count(seed) > 1}
    if twice:
        raise BenchmarkError(f"two searches of seed {min(twice)}: give others with --first-seed")
    return Found(
        slo=case.slo,
        truth_without_overhead_per_s=case.truth(),
        repeats=len(searches),
        covered=sum(one.covered for one in searches),
        within_3_percent=sum(abs(one.error) < 0.03 for one in searches if one.error is not None),
        searches=sorted(searches, key=lambda one: one.seed),
    )


def before(path: Path | None) -> dict[str, list[Search]]:
    """The searches of an output of before, by case.

    Raises:
        BenchmarkError: it is no such output.
    """
    if path is None:
        return {}
    try:
        told = msgspec.json.decode(path.read_bytes(), type=Output)
    except (OSError, msgspec.DecodeError) as err:
        raise BenchmarkError(f"--also {path}: {err}") from err
    return {name: found.searches for name, found in told.result.items()}


def main(argv: list[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.find",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--repeats", type=int, default=20, help="searches a case")
    parser.add_argument("--case", choices=sorted(CASES), action="append", help="default: both")
    parser.add_argument("--precision", type=float, default=0.03)
    parser.add_argument("--time", type=float, default=900.0, help="most seconds a search")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="keeps the run folders there, by case")
    parser.add_argument("--read", type=Path, help="an --out of before: searches nothing")
    parser.add_argument("--also", type=Path, help="an output of before; its searches count too")
    options = parser.parse_args(argv)
    if options.repeats < 1:
        parser.error("--repeats: at least 1")
    with tempfile.TemporaryDirectory() as scratch:
        out = options.out or Path(scratch)
        try:
            earlier, result = before(options.also), {}
            for name in options.case or CASES:
                kept_ones = kept(name, options.read) if options.read else None
                folders = kept_ones or _case(name, out, options)
                searches = [looked_at(CASES[name], folder) for folder in folders]
                result[name] = measured(CASES[name], [*earlier.get(name, []), *searches])
        except BenchmarkError as err:
            say(f"error: {err}")
            return 1
    told = {"result": msgspec.to_builtins(result), **environment("benchmarks.find")}
    print(json.dumps(told))  # noqa: T201
    return 0


def kept(name: str, out: Path) -> list[RunFolder]:
    """The searches of a case in an `--out` of before, by seed; those broken off are left out.

    Raises:
        BenchmarkError: there are none.
    """
    folders = [RunFolder(path.parent) for path in folder_of(name, out).glob("*/find.json")]
    whole = [folder for folder in folders if not folder.find().interrupted]
    if not whole:
        raise BenchmarkError(f"{folder_of(name, out)} holds no search: give what --out was")
    return sorted(whole, key=lambda folder: folder.manifest().seed)


def folder_of(name: str, out: Path) -> Path:
    """Where the searches of a case are kept."""
    return out / name.replace("/", "-")


def _case(name: str, out: Path, options: argparse.Namespace) -> list[RunFolder]:
    case = CASES[name]
    process, url = serve(case)
    try:
        folders = []
        for repeat in range(options.repeats):
            seed = 1000 * (options.first_seed + repeat)  # windows take the seeds after it
            folders.append(search(case, url, seed, folder_of(name, out), options))
            one = folders[-1].find()
            say(
                f"{name} {repeat + 1}/{options.repeats}: {one.requests_per_s} "
                f"({one.low_requests_per_s} to {one.high_requests_per_s}) in {one.took_s} s"
            )
        return folders
    finally:
        process.terminate()
        process.wait(STOP_S)


if __name__ == "__main__":
    sys.exit(main())
