"""Locust plays the schedule, open loop. Started by `loadtest.runner` as `locust -f locustfile.py`.

One user a process is a dispatcher, not a person: it sleeps until each arrival of its share is due
and starts a greenlet for it, whatever became of the earlier ones. The schedule is absolute, so
being late once does not make anything later late. Shares go by index: with n processes, process k
plays every arrival whose index is k modulo n.

Locust's own `request` event is fired for every attempt, so its statistics and web UI work; what is
measured is in the run folder, written by `loadtest.recorder`.
"""

import contextlib
import gc
import logging
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import gevent.event
import gevent.pool
import msgspec
import numpy as np
from locust import User, events, task
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner
from locust.user.task import LOCUST_STATE_STOPPING

from loadtest.answer import fault_in
from loadtest.client import ImageClient
from loadtest.job import Job
from loadtest.recorder import Recorder
from profiles.run import RunFolder
from profiles.schema import Outcome, RunEvent

JOB = msgspec.json.decode(Path(os.environ["VIRALLOAD_JOB"]).read_bytes(), type=Job)
FOLDER = RunFolder(Path(JOB.run_dir))
LEAD_S = 1.0  # from "everyone is connected" to the first arrival that may come
LOOK_UP_S = 0.1  # how often a sleeping dispatcher looks whether it should stop
WORKER_LOST_S = 1.0
PRIORITY = -10  # nice value, where the user may set it

log = logging.getLogger("viralload")
start_told = gevent.event.AsyncResult()  # load start, on the run's clock


def run_clock() -> float:
    """Seconds on the run's clock."""
    return time.monotonic() - JOB.clock_zero_monotonic_s


class Crowd(User):
    """Plays this process's share of the schedule, then idles until Locust stops it."""

    playing = False

    def on_start(self) -> None:
        """Map the schedule and open the record."""
        self.client = ImageClient(JOB.endpoint, JOB.timeout_s, os.environ.get(JOB.key_env))
        self.requests = gevent.pool.Group()
        self.due = 0
        self.broken: OSError | None = None  # the record cannot be written any more

    @task
    def play(self) -> None:
        """Send every arrival of the share at its time; wait for the answers; tell the master."""
        if Crowd.playing:  # a second user, started from the web UI, has nothing to play
            self._idle()
            return
        Crowd.playing = True
        try:
            self._play()
        except Exception as err:
            log.exception("the generator cannot go on")
            reason = "the record cannot be written" if err is self.broken else "it cannot go on"
            sys.stderr.write(f"error: {reason}: {err}\n")
            self.environment.process_exit_code = 1
            gevent.spawn(end, self.environment)
        self._idle()

    def _play(self) -> None:
        share, shares = share_of(self.environment)
        self.generator = f"locust-{share}"
        load_start_s: float = start_told.get()
        schedule = self.schedule = np.load(FOLDER.schedule_path, mmap_mode="r")
        self.recorder = Recorder(JOB, FOLDER.requests_writer(self.generator), run_clock)
        watch = gevent.spawn(self._watch)
        gc.collect()
        gc.freeze()
        with contextlib.suppress(PermissionError):  # being on time outranks the server's compute
            os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
        for seq, t_s, images in arrivals(schedule, share, shares):
            scheduled_s = load_start_s + t_s
            if self.broken is not None:
                raise self.broken
            if self._sleep_until(scheduled_s):
                self.due += 1
                self.recorder.sent += 1
                self.requests.add(gevent.spawn(self._ask, seq, scheduled_s, images))
            else:
                ask = JOB.ask(seq, schedule)
                self.recorder.unsent(seq, scheduled_s, images, ask)
        self.requests.join(timeout=JOB.drain_s)
        self.requests.kill()  # each records that it got no answer in time
        watch.kill()
        if self.broken is not None:
            raise self.broken
        self.recorder.flush()
        played(self.environment, self.generator)

    def _sleep_until(self, t_s: float) -> bool:
        """Sleep until the run's clock shows t_s; False as soon as the run is to stop."""
        while (wait_s := t_s - run_clock()) > 0:
            if self._stopping() or self.broken is not None:
                return False
            gevent.sleep(min(wait_s, LOOK_UP_S))
        gevent.sleep(0)  # let due requests out even when behind
        return not self._stopping()

    def _stopping(self) -> bool:
        return self._state == LOCUST_STATE_STOPPING

    def _idle(self) -> None:
        while not self._stopping():
            gevent.sleep(LOOK_UP_S)

    def _ask(self, seq: int, scheduled_s: float, images: int) -> None:
        exchange = self.client.exchange()
        ask, fault = JOB.ask(seq, self.schedule), None
        try:
            self.client.post(exchange, JOB.body(seq, images, ask))
            if exchange.status == 200 and not exchange.timed_out:
                check = gevent.get_hub().threadpool.apply  # keeps the event loop free
                fault = check(fault_in, (exchange.body, images, ask.width, ask.height, seq))
        except gevent.GreenletExit:
            exchange.timed_out, exchange.error = True, "no answer before the run ended"
        try:
            record = self.recorder.answered(seq, scheduled_s, images, exchange, fault, ask)
        except OSError as err:
            self.broken = err
            return
        took_s = (record.done_s or run_clock()) - (record.sent_s or scheduled_s)
        self.environment.events.request.fire(
            request_type="POST",
            name="/v1/images/generations",
            response_time=took_s * 1e3,
            response_length=record.bytes_in or 0,
            exception=None if record.outcome is Outcome.OK else AskError(record.error),
            context={},
            response=None,
            start_time=time.time() - took_s,
            url=JOB.endpoint,
        )

    def _watch(self) -> None:
        """Once a second: this generator's own state, and the record on disk."""
        lines = FOLDER.load_writer(self.generator)
        cpu_s, wall_s, lag_s = time.process_time(), time.monotonic(), 0.0
        try:
            while True:
                for _ in range(20):
                    before = time.monotonic()
                    gevent.sleep(0.05)
                    lag_s = max(lag_s, time.monotonic() - before - 0.05)
                used, now = time.process_time(), time.monotonic()
                cpu_pct = 100 * (used - cpu_s) / (now - wall_s)
                lines.add(self.recorder.sample(self.generator, self.due, cpu_pct, lag_s))
                lines.flush()
                self.recorder.flush()
                cpu_s, wall_s, lag_s = used, now, 0.0
        except OSError as err:
            self.broken = err
        finally:
            lines.close()


class AskError(Exception):
    """What Locust shows as a failure."""


def arrivals(
    schedule: np.ndarray[Any, Any], share: int, shares: int
) -> Iterator[tuple[int, float, int]]:
    """(seq, t_s, images) of every arrival whose index is `share` modulo `shares`."""
    for seq in range(share, len(schedule), shares):
        row = schedule[seq]
        yield seq, float(row["t_s"]), int(row["images"])


def share_of(environment: Environment) -> tuple[int, int]:
    """This process's index among the generators, and how many there are."""
    runner = environment.runner
    if isinstance(runner, WorkerRunner):
        return runner.worker_index, JOB.processes
    return 0, 1


@events.init.add_listener
def _connect(environment: Environment, **_: object) -> None:
    runner = environment.runner
    if isinstance(runner, WorkerRunner):
        runner.register_message("load_start", _told)
    elif isinstance(runner, MasterRunner):
        environment.shares_played = set()  # type: ignore[attr-defined]
        runner.register_message("played", _share_played)


@events.test_start.add_listener
def _start(environment: Environment, **_: object) -> None:
    """Fix the instant that is second 0 of the schedule, and tell everyone."""
    runner = environment.runner
    if isinstance(runner, WorkerRunner) or runner is None:
        return
    load_start_s = run_clock() + LEAD_S
    FOLDER.append_event(RunEvent(t_s=load_start_s, kind="load_start", source="locust"))
    if isinstance(runner, MasterRunner):
        runner.send_message("load_start", {"load_start_s": load_start_s})
        gevent.spawn(_watch_workers, environment)
    else:
        start_told.set(load_start_s)


def _told(environment: Environment, msg: Any, **_: object) -> None:
    start_told.set(float(msg.data["load_start_s"]))


def played(environment: Environment, generator: str) -> None:
    """This process has an outcome for every arrival of its share: end, or tell the master."""
    runner = environment.runner
    if isinstance(runner, WorkerRunner):
        runner.send_message("played", {"generator": generator})
    else:
        gevent.spawn(end, environment)


def end(environment: Environment) -> None:
    """End Locust itself, web UI included."""
    if environment.runner is not None:
        environment.runner.quit()
    if environment.web_ui is not None:
        environment.web_ui.stop()  # type: ignore[no-untyped-call]


def _share_played(environment: Environment, msg: Any, **_: object) -> None:
    done: set[str] = environment.shares_played  # type: ignore[attr-defined]
    done.add(msg.data["generator"])
    if len(done) == JOB.processes:
        gevent.spawn(end, environment)


def _watch_workers(environment: Environment) -> None:
    """End the run when a worker is lost: its share can no longer be played."""
    runner = environment.runner
    while isinstance(runner, MasterRunner) and runner.state != "stopped":
        gevent.sleep(WORKER_LOST_S)
        played_shares: set[str] = environment.shares_played  # type: ignore[attr-defined]
        alive = len(runner.clients) - len(runner.clients.missing)
        if alive < JOB.processes and len(played_shares) < JOB.processes:
            detail = f"{JOB.processes - alive} of {JOB.processes} generator processes were lost"
            FOLDER.append_event(
                RunEvent(t_s=run_clock(), kind="generator_died", source="locust", detail=detail)
            )
            environment.process_exit_code = 1
            end(environment)
            return
