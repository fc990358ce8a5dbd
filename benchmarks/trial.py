"""One generator against one null server: a case of the load generator benchmark."""

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from benchmarks.generators import GENERATORS, Load
from benchmarks.lateness import count_difference, even_due_s, lateness_s, punctuality
from benchmarks.null_server import Service
from benchmarks.tree import Look, Tree, cpu_between, rss_at
from loadtest.traffic.arrivals import even
from loadtest.traffic.curve import FlashCrowd
from loadtest.units import Duration

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 120.0  # for a generator's start and end
LOOK_S = 0.2
TOLERANCE_S = 0.005  # of a count at an instant
SHARES = (0.1, 0.5, 1.0)  # of a million, at which memory is told
VIRAL = FlashCrowd(
    base_per_s=10, magnitude=20, begin=Duration(2), rise=Duration(6), hold=Duration(3),
    half_life=Duration(2), duration=Duration(16),
)  # fmt: skip

Array = npt.NDArray[np.float64]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asked for."""

    seconds: float
    rates_per_s: tuple[float, ...]
    services_s: tuple[float, ...]
    window_s: float
    start_per_s: float

    def rate_cases(self) -> Iterator[tuple[float, Service]]:
        """Rates and servers; the longest service time also with a stall in the middle."""
        for rate_per_s in self.rates_per_s:
            for service_s in self.services_s:
                yield rate_per_s, Service(service_s=service_s)
            longest_s = max(self.services_s)
            yield rate_per_s, Service(service_s=longest_s, stall_at_s=self.seconds / 2)


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of one load."""

    arrived_s: Array  # sorted, CLOCK_MONOTONIC
    looks: list[Look]
    load_start_s: float | None = None  # of ours, likewise


def run_trial(name: str, load: Load, service: Service, every_s: float = LOOK_S) -> Trial:
    """Start server and generator, wait for the generator's end, and collect the stamps."""
    with tempfile.TemporaryDirectory() as temporary, null_server(service) as server:
        folder = Path(temporary)
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}"
        load = msgspec.structs.replace(load, url=url, folder=folder)
        with (folder / "log").open("wb") as log:
            generator = subprocess.Popen(
                GENERATORS[name](load), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
            tree = Tree(generator.pid, every_s)
            try:
                generator.wait(load.seconds + load.answer_s + PATIENCE_S)
            except subprocess.TimeoutExpired:
                generator.terminate()
                generator.wait()
            looks = tree.stop()
        stamps, _ = server.communicate()
        arrived_s = np.sort(np.frombuffer(stamps, np.float64))
        if not arrived_s.size:
            sys.stderr.write((folder / "log").read_text(errors="replace")[-2000:])
        return Trial(arrived_s=arrived_s, looks=looks, load_start_s=_load_start_s(folder))


@contextlib.contextmanager
def null_server(service: Service) -> Iterator["subprocess.Popen[bytes]"]:
    """The null server; its first line is its port, the rest, when its stdin ends, the stamps."""
    told = msgspec.json.encode(service).decode()
    command = [sys.executable, "-m", "benchmarks.null_server", told]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe) as process:
        try:
            yield process
        finally:
            process.kill()


def rate_case(
    name: str,
    rate_per_s: float,
    service: Service,
    asked: Asked,
    seconds: float | None = None,
    processes: int = 1,
) -> dict[str, Any]:
    """A constant rate."""
    seconds = asked.seconds if seconds is None else seconds
    answer_s = service.service_s + (0.0 if service.stall_at_s is None else service.stall_s)
    load = Load(rate_per_s=rate_per_s, seconds=seconds, answer_s=answer_s, processes=processes)
    trial = run_trial(name, load, service)
    told = punctuality(trial.arrived_s, even_due_s(rate_per_s, seconds))
    return msgspec.structs.asdict(told) | _cost(trial, service.service_s)


def curve_case(name: str, asked: Asked) -> dict[str, Any]:
    """A flash crowd; the server answers at once."""
    load = Load(
        rate_per_s=VIRAL.base_per_s * VIRAL.magnitude, seconds=VIRAL.duration_s, curve=VIRAL
    )
    trial = run_trial(name, load, Service())
    due_s = even(VIRAL.integral, VIRAL.duration_s)
    told = punctuality(trial.arrived_s, due_s)
    zero_s = trial.load_start_s
    if zero_s is None and trial.arrived_s.size:  # the generator does not tell: from the arrivals
        late_s = lateness_s(trial.arrived_s, due_s)
        zero_s = float(np.median(trial.arrived_s[: late_s.size] - due_s[: late_s.size] - late_s))
    due_s = due_s + (zero_s or 0.0)
    return {
        "requests": int(due_s.size),
        "tolerance_s": TOLERANCE_S,
        "count_difference": count_difference(trial.arrived_s, due_s, TOLERANCE_S),
        "count_difference_at_once": count_difference(trial.arrived_s, due_s, 0.0),
        **msgspec.structs.asdict(told),
        **_cost(trial, 0.0),
    }


def million_case(count: int, rate_per_s: float, processes: int) -> dict[str, Any]:
    """So many requests by ours: whether its memory stays flat."""
    seconds = count / rate_per_s
    load = Load(rate_per_s=rate_per_s, seconds=seconds, processes=processes)
    trial = run_trial("viralload", load, Service(), every_s=1.0)
    told = punctuality(trial.arrived_s, even_due_s(rate_per_s, seconds))
    rss = {
        str(int(share * count)): rss_at(trial.looks, float(trial.arrived_s[int(share * count) - 1]))
        for share in SHARES
        if int(share * count) <= trial.arrived_s.size
    }
    return {"rss_bytes": rss, **msgspec.structs.asdict(told), **_cost(trial, 0.0)}


def _cost(trial: Trial, service_s: float) -> dict[str, float | None]:
    if trial.arrived_s.size < 2:
        return {"cpu_s_per_request": None}
    first_s, last_s = float(trial.arrived_s[0]), float(trial.arrived_s[-1]) + service_s
    used_s = cpu_between(trial.looks, first_s, last_s)
    return {"cpu_s_per_request": None if used_s is None else used_s / trial.arrived_s.size}


def _load_start_s(folder: Path) -> float | None:
    """When second 0 of our schedule was; None of another generator."""
    for path in folder.glob("runs/*/run.json"):
        manifest = json.loads(path.read_bytes())
        if manifest.get("load_start_s") is not None:
            return float(manifest["clock_zero_monotonic_s"] + manifest["load_start_s"])
    return None
