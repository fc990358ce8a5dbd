"""A long run with faults on the way: `python -m benchmarks.soak --minutes 60`.

Plays people who are patient for a while and try again with backoff against the embedded server (a
stub, two replicas, HAProxy). In every period the replicas stand still for some seconds, then are
slow for some more, clients hang up half-way, and a burst comes. Memory, threads and open files of
every process are read every few seconds.

It held if, after the warm-up (twenty minutes, or a third of a shorter soak), each process's memory
is flat within 5 %, its threads and files are no more than before, each scheduled request has one
outcome, no line of the record is damaged, and no process, folder or shared memory is left.

Progress goes to stderr; what was read goes to `looks.jsonl` under `--out`, beside the run. The last
line of stdout is one JSON object: each process's change, the record, what was left, what did not
hold.

Exit codes: 0 it held, 1 it did not, or nothing was measured, 2 usage.
"""

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import psutil

from benchmarks.options import environment, say
from benchmarks.soak_judge import Look, Records, faults, over_time
from benchmarks.soak_looks import RAYS_FOLDER, Watch
from benchmarks.soak_plan import Act, Asked, acts, scenario_of
from profiles.record.columns import read
from profiles.record.folder import RunError, RunFolder
from profiles.record.json_lines import LineWriter
from profiles.requests.attempts import add_up
from profiles.schema import Outcome, Summary

ROOT = Path(__file__).resolve().parent.parent
MARK = "VIRALLOAD_SOAK_MARK"  # in the environment of all that a soak starts
START_S = 300.0
END_S = 600.0  # after the load: answers waited for, the report
LEFT_S = 5.0  # within which all that was started is gone
HANG_UPS = 100
TELL_S = 60.0
CLIENT_WAITS_S = 0.5
HALF = b'POST /v1/images/generations HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n{"prompt":'
WHOLE = (
    b'POST /v1/images/generations HTTP/1.1\r\nHost: x\r\nContent-Length: 14\r\n\r\n{"prompt":"a"}'
)


class SoakError(RuntimeError):
    """Nothing was measured; the message says why."""


class Soak:
    """A soak in progress.

    Args:
        asked: What is played.
        out: The folder that takes run, scenario and looks.
    """

    def __init__(self, asked: Asked, out: Path) -> None:
        self._asked = asked
        self._mark = uuid.uuid4().hex
        self.out = out
        self.looks: list[Look] = []
        # Second of load, MiB in Ray's folder, the machine's load: once a minute
        self.minutes: list[tuple[float, float, float]] = []
        out.mkdir(parents=True, exist_ok=True)
        scenario = out / "soak.toml"
        scenario.write_text(scenario_of(asked), encoding="utf-8")
        command = [sys.executable, "-P", "-m", "loadtest.cli", "run", str(scenario)]
        command += ["--json", "--out", str(out / "runs"), "--label", self._mark[:8]]
        with (out / "viralload.log").open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, MARK: self._mark},
            )
        self._watch = Watch(self._process.pid)

    def play(self) -> Summary:
        """Play it to its end; the run's own summary.

        Raises:
            SoakError: the load never began, or the run did not end.
        """
        try:
            zero_s = self._load_start_s()
            self._during(zero_s)
            told, _ = self._process.communicate(timeout=END_S)
        except subprocess.TimeoutExpired as err:
            raise SoakError(f"the run did not end; see {self.out}/viralload.log") from err
        finally:
            self._signal(signal.SIGCONT)
            self._process.terminate()
        try:
            return msgspec.json.decode(told, type=Summary)
        except msgspec.DecodeError as err:
            raise SoakError(f"the run told no summary; see {self.out}/viralload.log") from err

    def folder(self) -> RunFolder | None:
        """The run's, once it is made."""
        found = list((self.out / "runs").glob(f"*-{self._mark[:8]}"))
        return RunFolder(found[0]) if found else None

    def left(self) -> list[str]:
        """Processes, folders and files of the run's that are there after it, in words."""
        until_s = time.monotonic() + LEFT_S
        while (found := self._left()) and time.monotonic() < until_s:
            time.sleep(0.2)
        return found

    def _left(self) -> list[str]:
        own = str(self.out.resolve())
        opened = [name for name in self._watch.opened if not name.startswith(own)]
        folders = {m[0] for m in map(RAYS_FOLDER.match, opened) if m}
        alive = [f"process {one.pid}: {' '.join(one.cmdline())[:80]}" for one in self._alive()]
        return alive + sorted(name for name in {*folders, *opened} if Path(name).exists())

    def _alive(self) -> Iterator[psutil.Process]:
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if process.environ().get(MARK) == self._mark:
                    yield process

    def _load_start_s(self) -> float:
        """When the load began, on CLOCK_MONOTONIC.

        Raises:
            SoakError: It did not.
        """
        until_s = time.monotonic() + START_S
        while time.monotonic() < until_s and self._process.poll() is None:
            folder = self.folder()
            with contextlib.suppress(RunError):
                manifest = folder.manifest() if folder else None
                if manifest is not None and manifest.load_start_s is not None:
                    return float(manifest.clock_zero_monotonic_s + manifest.load_start_s)
            time.sleep(0.2)
        raise SoakError(f"the load did not begin; see {self.out}/viralload.log")

    def _during(self, zero_s: float) -> None:
        """Look and act until the load's end."""
        left, next_s, told_s = list(acts(self._asked)), 0.0, 0.0
        lines = LineWriter(self.out / "looks.jsonl")
        while self._process.poll() is None:
            due_s = min([next_s, *(act.t_s for act in left[:1])])
            if due_s > self._asked.load_s:
                break
            time.sleep(max(0.0, zero_s + due_s - time.monotonic()))
            if left and left[0].t_s <= due_s:
                self._act(left.pop(0))
                continue
            looks = self._watch.look(round(time.monotonic() - zero_s, 3))
            self.looks += looks
            for look in looks:
                lines.add(look)
            lines.flush()
            next_s += self._asked.every_s
            if due_s >= told_s:
                ray_mib = round(self._watch.on_disk_bytes() / 2**20, 2)
                self.minutes.append((due_s, ray_mib, round(os.getloadavg()[0], 2)))
                say(f"{due_s / 60:.0f} min: {_in_words(looks)}")
                told_s += TELL_S
        lines.close()

    def _act(self, act: Act) -> None:
        match act.kind:
            case "stop":
                self._signal(signal.SIGSTOP)
            case "go":
                self._signal(signal.SIGCONT)
            case "hang_up":
                folder = self.folder()
                if folder is not None:
                    hang_up(folder.manifest().target.url)

    def _signal(self, number: int) -> None:
        for process in self._watch.called("replica"):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)


def hang_up(url: str) -> None:
    """Open connections, ask half or all of a request, and leave without reading."""
    parts = urlsplit(url)
    where = (parts.hostname or "127.0.0.1", parts.port or 80)
    for number in range(HANG_UPS):
        with contextlib.suppress(OSError), socket.create_connection(where, CLIENT_WAITS_S) as one:
            one.sendall(WHOLE if number % 2 else HALF)


def records_of(folder: RunFolder) -> Records:
    """What a run folder holds, counted."""
    recorded = read(folder)
    counted = add_up(recorded.requests, recorded.manifest)
    outcomes = {
        str(outcome): int((counted.requests.outcome == code).sum())
        for code, outcome in enumerate(Outcome)
    }
    tally = counted.tally
    return Records(
        scheduled=tally.scheduled,
        outcomes=outcomes,
        attempts=len(counted.attempts),
        missing=tally.missing,
        duplicates=tally.duplicates,
        strangers=tally.strangers,
        contradictions=tally.contradictions,
        damaged_lines=recorded.damaged,
        unsent=outcomes[str(Outcome.UNSENT)],
    )


def main(argv: list[str] | None = None) -> int:
    """Soak and print; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=_positive, default=60.0, help="of load")
    parser.add_argument("--rate", type=_positive, default=60.0, help="requests/s between bursts")
    parser.add_argument("--period", type=_positive, default=10.0, help="minutes, of the faults")
    parser.add_argument("--every", type=_positive, default=5.0, help="seconds between looks")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/soak"), help="run and looks")
    options = parser.parse_args(argv)
    asked = Asked(
        minutes=options.minutes,
        rate_per_s=options.rate,
        period_s=60 * options.period,
        every_s=options.every,
        seed=options.seed,
    )
    soak = Soak(asked, options.out)
    try:
        summary = soak.play()
    except SoakError as err:
        say(f"error: {err}")
        return 1
    left = soak.left()
    folder = soak.folder()
    assert folder is not None  # its summary was told
    processes = over_time(soak.looks, asked.warm_up_s, asked.load_s)
    records = records_of(folder)
    wrong = faults(processes, records, left, soak.looks)
    if not summary.valid:
        wrong.append(f"the run is not valid: {'; '.join(summary.reasons)}")
    told = {
        "held": not wrong,
        "faults": wrong,
        "asked": asked,
        "warm_up_s": asked.warm_up_s,
        "processes": processes,
        "records": records,
        "left": left,
        "minutes": {"columns": ["t_s", "ray_folder_mib", "load_1min"], "rows": soak.minutes},
        "verdict": summary.verdict,
        "lateness_p99_s": summary.lateness_p99_s,
        **environment("benchmarks.soak"),
    }
    print(json.dumps(msgspec.to_builtins(told)))  # noqa: T201
    return 1 if wrong else 0


def _in_words(looks: list[Look]) -> str:
    return ", ".join(f"{look.process} {look.anonymous_bytes / 2**20:.1f}" for look in looks)


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e5:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


if __name__ == "__main__":
    sys.exit(main())
