"""One run: started, hit, waited for, and looked at. Real processes, real signals."""

import contextlib
import ctypes
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.chaos_act import NOTE_S, Doing
from benchmarks.chaos_command import ROOT, SETTINGS, Command, Server
from benchmarks.chaos_draw import Case
from benchmarks.chaos_judge import Seen, Told
from benchmarks.chaos_roles import Process
from profiles.record.folder import RunFolder
from serve.ingress.haproxy import free_port

TIMEOUT_S = 5.0
REPORT_S = 120.0
STUCK_S = 95.0  # after which the driver takes a generator for stuck, and kills it
START_S = {"embedded": 180.0, "foreign": 60.0, "workers": 90.0}
END_S = 120.0
WORKERS_END_S = 25.0  # of those whose master is gone
MNT_DETACH = 2
KEEPS_WORKERS_RECORD = ("worker", "master", "driver")  # hit, a worker's own stays, as promised

EVEN = """
name = "chaos"
title = "Even arrivals while something is done to the run"
[curve]
kind = "constant"
rate_per_s = {rate}
duration = "{load}s"
[load]
arrivals = "even"
drain = "{timeout}s"
[request]
size = "64x64"
timeout = "{timeout}s"
prompts = ["a"]
[slo]
latency = "2s"
[thresholds]
failed = ["rate < 1%"]
"""
PEOPLE = """
[session]
requests = { "2" = 1 }
think = { kind = "fixed", value = "0.5s" }
patience = { kind = "fixed", value = "5s" }
retry = { policy = "backoff", most_attempts = 3, first = "0.2s", cap = "1s" }
"""


def play(case: Case, folder: Path, server: Server | None) -> Seen:
    """Run the case in that folder, which it may keep, and see what becomes of it.

    Args:
        case: What is run and what is done to it.
        folder: Is made.
        server: That is loaded; None: the run starts one.

    Raises:
        OSError: A file system of the wanted size cannot be made here.
    """
    folder.mkdir(parents=True)
    bound_s = _bound_s(case)
    with _runs_folder(case, folder) as runs:
        command, workers = _start(case, folder, runs, server)
        try:
            doing = Doing(case, command, workers, server, runs, command.began_s + bound_s)
            hit = doing.do()
            while not command.is_over() and time.monotonic() - command.began_s < bound_s:
                command.traces.look()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    command.process.wait(NOTE_S)
            took_s = time.monotonic() - command.began_s
            code = command.process.poll()
            left = _left(case, command, workers) if code is not None else []
        finally:
            for one in [command, *workers]:
                one.end()
        path = _kept(runs, folder)
    return _seen(path, command, code, took_s, bound_s, hit, left)


def _start(
    case: Case, folder: Path, runs: Path, server: Server | None
) -> tuple[Command, list[Command]]:
    scenario = folder / "scenario.toml"
    text = EVEN.format(rate=case.rate_per_s, load=case.load_s, timeout=int(TIMEOUT_S))
    scenario.write_text(text + PEOPLE if case.people else text)
    words = ["run", str(scenario), "--json", "--out", str(runs)]
    words += ["--host", server.url] if server else [*SETTINGS]
    port = free_port()
    if case.setting == "workers":
        words += ["--expect-workers", str(case.processes), "--master-bind-port", str(port)]
        words += ["--expect-workers-max-wait", "60s"]
    else:
        words += ["--processes", str(case.processes)]
    amount = case.act.amount or 0
    how = case.act.how
    command = Command(
        words,
        folder / "run",
        before=["prlimit", f"--nofile={amount}"] if how == "few files" else None,
        file_bytes=1000 * amount if how == "short files" else None,
    )
    workers = [
        Command(["worker", f"127.0.0.1:{port}", "--wait", "60s"], folder / f"worker-{k}")
        for k in range(case.processes if case.setting == "workers" else 0)
    ]
    return command, workers


def _bound_s(case: Case) -> float:
    """In which a run must end: what each of its stretches may take on a busy machine."""
    load_s = case.load_s + 2 * TIMEOUT_S
    stuck_s = STUCK_S if case.act.how == "stop" and case.act.for_s is None else 0.0
    return START_S[case.setting] + load_s + (case.act.for_s or 0.0) + stuck_s + END_S


def _left(case: Case, command: Command, workers: list[Command]) -> list[str]:
    """What is left of all of them."""
    found = command.traces.left()
    for worker in workers:
        found += worker.traces.left(WORKERS_END_S)
    if case.act.target in KEEPS_WORKERS_RECORD:
        found = [one for one in found if "/viralload-worker-" not in one]
    return found


def _kept(runs: Path, folder: Path) -> Path | None:
    """The run's folder, from where it can be read and written; None: there is none."""
    paths = [path for path in runs.glob("*") if path.is_dir()] if runs.is_dir() else []
    if not paths:
        return None
    if not os.path.ismount(runs):
        return paths[0]
    return Path(shutil.copytree(paths[0], folder / "copied" / paths[0].name))


@contextlib.contextmanager
def _runs_folder(case: Case, folder: Path) -> Iterator[Path]:
    """Where the run writes: a disk of its own where it is to be full."""
    runs = folder / "runs"
    if case.act.how != "full disk":
        yield runs
        return
    runs.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    size = f"size={case.act.amount}k".encode()
    if libc.mount(b"chaos", str(runs).encode(), b"tmpfs", 0, size):
        raise OSError(ctypes.get_errno(), "cannot mount a small disk (root may)")
    try:
        yield runs
    finally:
        libc.umount2(str(runs).encode(), MNT_DETACH)


def _seen(
    path: Path | None, command: Command, code: int | None, took_s: float,
    bound_s: float, hit: list[Process], left: list[str],
) -> Seen:  # fmt: skip
    said = command.err.read_text(errors="replace").strip()
    told = _told(command.out.read_bytes())
    again, recorded, schedule = None, dict[str, int](), None
    if path is not None:
        again = _report(path)
        recorded = _recorded(RunFolder(path))
        schedule = _rows(RunFolder(path))
    return Seen(
        exit_code=code, took_s=round(took_s, 1), bound_s=bound_s, hit=hit, told=told, again=again,
        folder=path is not None, schedule=schedule, recorded=recorded, left=left,
        errors=[line for line in said.splitlines() if line.startswith("Traceback")],
        words=said.splitlines()[-1] if said else "", load_1min=round(os.getloadavg()[0], 2),
    )  # fmt: skip


def _told(printed: bytes) -> Told | None:
    try:
        return msgspec.json.decode(printed, type=Told)
    except msgspec.DecodeError:
        return None


def _report(path: Path) -> Told | None:
    """What `viralload report` makes of the folder now."""
    command = [sys.executable, "-m", "loadtest.cli", "report", str(path), "--json"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=REPORT_S, check=False)
    except subprocess.TimeoutExpired:
        return None
    return _told(done.stdout) if done.returncode == 0 else None


def _recorded(folder: RunFolder) -> dict[str, int]:
    """Requests by the outcome of their last attempt on record."""
    last: dict[int, tuple[int, str]] = {}
    for record in folder.requests().read():
        if record.seq not in last or record.attempt > last[record.seq][0]:
            last[record.seq] = (record.attempt, record.outcome.value)
    return dict(Counter(outcome for _, outcome in last.values()))


def _rows(folder: RunFolder) -> int | None:
    try:
        return len(np.load(folder.schedule_path))
    except (OSError, ValueError, EOFError):
        return None
