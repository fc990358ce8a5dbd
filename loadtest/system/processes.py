"""Child processes of a run: started in sessions of their own, all gone at the end.

The driver declares itself the reaper of its orphans (Linux PR_SET_CHILD_SUBREAPER), so whatever a
killed child leaves behind (Ray's workers, Locust's) becomes the driver's own child and is found.
"""

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil

from loadtest.errors import ViralloadError
from loadtest.system.child_environment import environ

_RAISED = re.compile(r"[\w.]+(Error|Exception): ")
# of its statistics: rules, "POST  /v1/images  23  0(0.00%) | ...", "Aggregated  47 51 56 ..."
_TABLE = re.compile(r"[-|+ ]*$|.*\|.*\||Type +Name|(Aggregated|GET|POST|Response time) ")
GUARD = "viralload-guard"  # the name of what removes a killed server's files, and then ends
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Make this process the reaper of every descendant whose parent dies."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Child:
    """One child process whose output goes to a log file.

    Args:
        name: for messages.
        command: program and arguments.
        log: file that takes stderr (and stdout, unless it is read through `first_line`).
        env: environment variables put over those of `loadtest.system.child_environment`.
    """

    def __init__(self, name: str, command: list[str], log: Path, env: Mapping[str, str]) -> None:
        self.name = name
        self.log = log
        self._log_file = log.open("ab")
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log_file,
            env=environ(env),
            start_new_session=True,  # Ctrl-C is the driver's to hand on
            preexec_fn=_die_with_parent,
        )

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid

    def exit_code(self) -> int | None:
        """None while it runs; negative signal number if a signal killed it."""
        return self.process.poll()

    def first_line(self, timeout_s: float, tick: Callable[[float], None] | None = None) -> bytes:
        """The first line of its stdout; `tick(seconds waited)` is called several times a second.

        Raises:
            ViralloadError: it ended, or said nothing in time.
        """
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        begin, read = time.monotonic(), b""
        while b"\n" not in read:
            read += self.process.stdout.read() or b""
            waited = time.monotonic() - begin
            if self.process.poll() is not None and b"\n" not in read:
                raise ViralloadError(f"the {self.name} ended at start: {self.last_words()}")
            if waited > timeout_s:
                raise ViralloadError(
                    f"the {self.name} was not ready in {timeout_s:.0f} s; see {self.log}"
                )
            if tick:
                tick(waited)
            time.sleep(0.05)
        return read.split(b"\n", 1)[0]

    def output(self, timeout_s: float) -> Iterator[bytes]:
        """Its stdout in pieces as they come, until it ends or for so long."""
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        until_s = time.monotonic() + timeout_s
        while time.monotonic() < until_s:
            has_ended = self.process.poll() is not None  # before the last read
            if block := self.process.stdout.read():
                yield block
            elif has_ended:
                return
            time.sleep(0.05)

    def last_words(self) -> str:
        """The last error line of its log, for a message."""
        try:
            return last_words(self.log.read_text(errors="replace"))
        except OSError:  # the folder is gone
            return f"its log {self.log} cannot be read"

    def last_error(self) -> str | None:
        """The last line of its log that it called an error; None where there is none."""
        try:
            return last_error(self.log.read_text(errors="replace"))
        except OSError:  # the folder is gone
            return None

    def ask_to_end(self) -> None:
        """SIGTERM, if it still runs."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def end(self, patience_s: float) -> int:
        """SIGTERM, then SIGKILL after `patience_s`; returns the exit code."""
        self.ask_to_end()
        try:
            code = self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()
        self._log_file.close()
        return code


def last_words(log: str) -> str:
    """What a process said last, of an error if there is one; a row of Locust's tables is none."""
    lines = [line for line in log.strip().splitlines() if line.strip()]
    raised = [line for line in lines if _RAISED.match(line)]
    plain = [line for line in lines if not _TABLE.match(line.strip())]
    return last_error(log) or (raised or plain or ["it said nothing"])[-1]


def last_error(log: str) -> str | None:
    """The last line of a log that begins with `error:`, without that; None where there is none."""
    errors = [line for line in log.splitlines() if line.lower().startswith("error:")]
    return errors[-1][len("error:") :].strip() if errors else None


def kill_descendants(patience_s: float = 5.0) -> list[str]:
    """SIGKILL every process below this one; returns their names.

    A server's guard, which clears up behind it, is waited for instead, as long as there is time.
    """
    names = []
    deadline = time.monotonic() + patience_s
    while left := _descendants():
        is_late = time.monotonic() > deadline
        spared = set() if is_late else _guards(left)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                if process not in spared:
                    names.append(process.name())
                    process.kill()
        psutil.wait_procs(left, timeout=0.5)
        _reap()
        if is_late:
            break
    return names


def _descendants() -> list[psutil.Process]:
    found = psutil.Process().children(recursive=True)
    return [process for process in found if _runs(process)]


def _guards(processes: list[psutil.Process]) -> set[psutil.Process]:
    """Servers' guards among them, and what these have started."""
    found: set[psutil.Process] = set()
    for process in processes:
        with contextlib.suppress(psutil.Error):
            if GUARD in process.cmdline():
                found |= {process, *process.children()}
    return found


def _runs(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
