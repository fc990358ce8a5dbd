"""Locust's master, where workers are on other machines: their questions, and the run's end.

Runs inside Locust's master process; see `loadtest.distributed.roster` for what is answered,
`loadtest.distributed.worker` for who asks. Locust's own messages carry the rest: users, statistics,
the load's start.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import gevent

from loadtest.distributed import protocol, unknown_peers
from loadtest.distributed.handshake import TOKEN_ENV
from loadtest.distributed.roster import Roster
from loadtest.plan.job import Job
from profiles.record.folder import RunFolder
from profiles.schema import RunEvent

LOOK_S = 0.25
OVER_TOLD_S = 1.0  # workers ask several times a second


def introduce(job: Job, runner: Any) -> None:
    """Tell the master whose Locust this is, on a worker of another machine."""
    if job.worker is not None:
        runner.send_message("viralload_joined", {"worker": job.worker})


def receive(job: Job, folder: RunFolder, environment: Any, end: Callable[[Any], None]) -> "Master":
    """Answer workers from now on.

    Args:
        job: the run.
        folder: where its record goes.
        environment: Locust's.
        end: ends Locust.
    """
    crew = Roster(
        job.processes,
        os.environ.get(TOKEN_ENV, ""),
        folder,
        time.monotonic,
        job.clock_zero_monotonic_s,
    )
    return Master(job, crew, folder, environment, end)


class Master:
    """Where workers arrive, speak, and are missed."""

    def __init__(
        self,
        job: Job,
        crew: Roster,
        folder: RunFolder,
        environment: Any,
        end: Callable[[Any], None],
    ) -> None:
        self._job = job
        self._crew = crew
        self._folder = folder
        self._environment = environment
        self._runner = environment.runner
        self._end = end
        self._failed = False
        unknown_peers.hear_on(self._runner, self._note_stranger)
        self._runner.register_message("viralload", self._answer)
        self._runner.register_message("viralload_joined", self._joined)
        environment.events.quitting.add_listener(self._quitting)
        gevent.signal_handler(signal.SIGTERM, self._called_off)
        gevent.spawn(self._watch)

    def begin(self) -> None:
        """Wait for everybody, send strangers away; from here on nobody may be lost."""
        while not self._crew.is_complete():
            gevent.sleep(LOOK_S)
        for client in self._runner.clients.all:
            if self._crew.is_stranger(client.id):
                self._runner.send_message("quit", client_id=client.id)
        self._crew.has_begun = True

    def _answer(self, environment: Any, msg: Any, **_: object) -> None:
        if not (isinstance(msg.node_id, str) and isinstance(msg.data, dict) and "n" in msg.data):
            return  # no worker of ours
        try:
            answer = self._crew.answer(msg.node_id, msg.data.get("question"))
        except OSError as err:
            self._fail(f"the record cannot be written: {err}")
            return
        data = {"n": msg.data["n"], "answer": protocol.pack(answer)}
        self._runner.send_message(protocol.ANSWER, data, client_id=msg.node_id)

    def _joined(self, environment: Any, msg: Any, **_: object) -> None:
        if isinstance(msg.data, dict) and isinstance(msg.data.get("worker"), str):
            self._crew.locust_joined(msg.data["worker"], msg.node_id)

    def _note_stranger(self, what: str) -> None:
        now_s = time.monotonic() - self._job.clock_zero_monotonic_s
        event = RunEvent(t_s=now_s, kind="worker_refused", source="locust", detail=what)
        self._folder.append_event(event)

    def _watch(self) -> None:
        """End the run when every share is recorded, or when one never will be."""
        while True:
            gevent.sleep(LOOK_S)
            lost = self._crew.look()
            if self._crew.has_begun and lost:
                self._fail(f"lost {'; '.join(lost)}")
                return
            if self._crew.has_begun and self._crew.is_done():
                self._part()
                self._end(self._environment)
                return

    def _fail(self, why: str) -> None:
        """End the run as one that failed; the others' share is still taken in."""
        if self._failed:
            return
        self._failed = True
        now_s = time.monotonic() - self._job.clock_zero_monotonic_s
        event = RunEvent(t_s=now_s, kind="generator_died", source="locust", detail=why)
        self._folder.append_event(event)
        sys.stderr.write(f"error: {why}\n")
        sys.stderr.flush()
        self._environment.process_exit_code = 1
        gevent.spawn(self._wind_up_and_end)

    def _wind_up_and_end(self) -> None:
        self._wind_up()
        self._end(self._environment)

    def _wind_up(self) -> None:
        """Have every worker stop, answers waited for, and send what it recorded."""
        stopping = gevent.spawn(self._runner.stop)
        until_s = time.monotonic() + self._job.drain_s + self._job.timeout_s + 10
        while not self._crew.is_done() and self._is_heard() and time.monotonic() < until_s:
            self._crew.look()
            gevent.sleep(LOOK_S)
        stopping.kill()
        self._part()

    def _part(self) -> None:
        """Let the workers know that the run is over."""
        self._crew.is_over = True
        gevent.sleep(OVER_TOLD_S)

    def _is_heard(self) -> bool:
        """Whether Locust still reads what workers say."""
        return len(self._runner.greenlet) > 0

    def _called_off(self) -> None:
        """Stopped before everybody had come, when Locust does not listen to signals yet."""
        if not self._crew.has_begun:
            self._part()
            os._exit(0)

    def _quitting(self, environment: Any, **_: object) -> None:
        """Locust is about to end, because it was told to or because the run is over."""
        if self._crew.is_over:
            return
        if not self._crew.has_begun:
            self._part()
            return
        if self._is_heard():
            self._wind_up()
        missing = self._crew.unfinished()
        if missing and not self._failed:
            sys.stderr.write(f"error: lost {'; '.join(missing)}\n")
            environment.process_exit_code = 1
