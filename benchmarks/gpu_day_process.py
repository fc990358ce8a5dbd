"""One part of a GPU day as a process that is sure to end, with all that it started.

A part runs in a session of its own and carries a mark in its environment. At its time-out it is
asked to end, then killed: its group, its descendants, and whatever else carries the mark (Ray and
Locust start sessions of their own, and a dead parent's children are nobody's descendants).
"""

import contextlib
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import psutil

MARK = "VIRALLOAD_GPU_DAY_MARK"
PATIENCE_S = 3.0  # between being asked to end and being killed
POLL_S = 0.1


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a process ended.

    Attributes:
        code: Its exit code; negative signal number if a signal ended it.
        seconds: That it took.
        timed_out: Whether it was ended for taking too long.
    """

    code: int
    seconds: float
    timed_out: bool


def run(
    command: Sequence[str],
    *,
    log: Path,
    limit_s: float,
    environ: Mapping[str, str],
    patience_s: float = PATIENCE_S,
    tick: Callable[[], None] = lambda: None,
) -> Ended:
    """Run a command to its end or its time-out; afterwards nothing that it started runs.

    Args:
        command: Program and arguments.
        log: File that takes its stdout and stderr.
        limit_s: Its time-out.
        environ: Variables put over this process's own.
        patience_s: Between SIGTERM, at the time-out, and SIGKILL.
        tick: Called several times a second meanwhile.

    Raises:
        OSError: It cannot be started.
    """
    mark = uuid.uuid4().hex
    began_s = time.monotonic()
    with log.open("ab") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environ, MARK: mark},
            start_new_session=True,
        )
    try:
        timed_out = not _wait(process, limit_s, tick)
        if timed_out:
            _signal_group(process.pid, signal.SIGTERM)
            _wait(process, patience_s, tick)
    finally:
        _kill(process, mark)
    return Ended(code=process.wait(), seconds=time.monotonic() - began_s, timed_out=timed_out)


def marked(mark: str) -> list[psutil.Process]:
    """Every living process that carries the mark."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            alive = process.status() != psutil.STATUS_ZOMBIE
            if alive and process.environ().get(MARK) == mark:
                found.append(process)
    return found


def _wait(process: "subprocess.Popen[bytes]", limit_s: float, tick: Callable[[], None]) -> bool:
    """Whether it ended in time."""
    until_s = time.monotonic() + limit_s
    while (left_s := until_s - time.monotonic()) > 0:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(min(POLL_S, left_s))
            return True
        tick()
    return process.poll() is not None


def _kill(process: "subprocess.Popen[bytes]", mark: str) -> None:
    """SIGKILL to it and to all that it started."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
    _signal_group(process.pid, signal.SIGKILL)
    left = marked(mark)
    for one in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(left, timeout=PATIENCE_S)


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
