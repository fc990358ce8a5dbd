"""What is done to a run, at its instant."""

import contextlib
import os
import signal
import time
from pathlib import Path

from benchmarks.chaos_command import LOOK_S, Command, Server
from benchmarks.chaos_draw import Case
from benchmarks.chaos_left import everyone
from benchmarks.chaos_roles import Process, roles, targets
from profiles.record.folder import RunFolder

SECOND_CTRL_C_S = 0.6
NOTE_S = 0.5  # between two looks at whom the run has started


class Doing:
    """An act that waits for its instant.

    Args:
        case: Says what is done to what, and when.
        command: The run.
        workers: Of it.
        server: That it loads, where it is not its own.
        runs: Where its folder is to come.
        until_s: CLOCK_MONOTONIC, after which nothing is done any more.
    """

    def __init__(
        self, case: Case, command: Command, workers: list[Command], server: Server | None,
        runs: Path, until_s: float,
    ) -> None:  # fmt: skip
        self._act, self._command, self._runs, self._until_s = case.act, command, runs, until_s
        self._roots = {command.pid: "driver"} | {worker.pid: "worker" for worker in workers}
        if server is not None:
            self._roots[server.command.pid] = "server"
        self._commands = [command, *workers]
        self._noted_s = 0.0

    def do(self) -> list[Process]:
        """Wait for the instant and do it; whom it hit."""
        act = self._act
        if act.target is None or not self._wait():
            return []
        hit = self._find()
        if act.how == "kill":
            _send(hit, signal.SIGKILL)
        elif act.how == "stop":
            _send(hit, signal.SIGSTOP)
            if act.for_s is not None and hit:
                self._pause(act.for_s)
                _send(hit, signal.SIGCONT)
        elif act.how == "terminate":
            _send(hit, signal.SIGTERM)
        else:
            _send(hit, signal.SIGINT)
            if act.how == "leave":
                self._pause(SECOND_CTRL_C_S)
                _send(hit, signal.SIGINT)
        return hit

    def _find(self) -> list[Process]:
        """The target; of a run that starts, as soon as it is there."""
        assert self._act.target is not None
        while True:
            found = targets(roles(everyone(), self._roots), self._act.target)
            if found or self._act.under_load or self._is_over():
                return found
            self._pause(LOOK_S)

    def _wait(self) -> bool:
        """Until the instant; False where the run has ended before it."""
        at_s = self._command.began_s + self._act.at_s
        if self._act.under_load:
            while (start_s := load_start_s(self._runs)) is None:
                if self._is_over():
                    return False
                self._pause(LOOK_S)
            at_s = start_s + self._act.at_s
        while (wait_s := at_s - time.monotonic()) > 0 and not self._is_over():
            self._pause(min(wait_s, NOTE_S))
        return not self._is_over()

    def _is_over(self) -> bool:
        return self._command.is_over() or time.monotonic() > self._until_s

    def _pause(self, seconds: float) -> None:
        """So long, noting now and then whom the run has started."""
        until_s = time.monotonic() + seconds
        if time.monotonic() - self._noted_s > NOTE_S:
            self._noted_s = time.monotonic()
            for command in self._commands:
                command.traces.look()
        time.sleep(max(0.0, until_s - time.monotonic()))


def _send(processes: list[Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


def load_start_s(runs: Path) -> float | None:
    """When the load of the one run in there began, CLOCK_MONOTONIC; None: it has not yet."""
    for path in runs.glob("*/run.json"):
        folder = RunFolder(path.parent)
        for event in folder.events().read():
            if event.kind == "load_start":
                return folder.manifest().clock_zero_monotonic_s + event.t_s
    return None
