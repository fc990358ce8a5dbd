"""Locust plays the schedule, open loop. `loadtest.driver.run` starts it by `locust -f`.

One user a process is a dispatcher, not a person: it sleeps until each arrival of its share is due
and starts a greenlet for it, whatever became of the earlier ones. The schedule is absolute, so
being late once does not make anything later late. Shares go by index: with n processes, process k
plays every arrival whose index is k modulo n. Where the scenario has people, an arrival is a person
and the greenlet plays all they do (`loadtest.generator.people`).

Locust's own `request` event is fired for every attempt, so its statistics and web UI work; what is
measured is in the run folder, written by `loadtest.generator.recorder`.
"""

import gc
import logging
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import gevent.event
import gevent.pool
import numpy as np
from locust import User, events, task
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner
from locust.user.task import LOCUST_STATE_STOPPING

from loadtest.client import credentials
from loadtest.client.image_client import ImageClient
from loadtest.distributed import master, unknown_peers
from loadtest.generator import monitor, people, web_ui
from loadtest.generator.person import Answer, Departure, Script, retry_after
from loadtest.generator.recorder import FIRST, Attempt, Recorder
from loadtest.generator.sender import Prepared, Sender
from loadtest.generator.timer import Alarm
from loadtest.plan.job import decode
from loadtest.search import windows
from loadtest.system import open_files, scheduling
from profiles.record.folder import RunFolder
from profiles.schema import Outcome, RequestRecord, RunEvent

JOB = decode(Path(os.environ["VIRALLOAD_JOB"]).read_bytes())
CREDENTIALS = credentials.of_this_process()
FOLDER = RunFolder(Path(JOB.run_dir))
LEAD_S = 1.0  # from "everyone is connected" to the first arrival that may come
LOOK_UP_S = 0.1  # how often a sleeping dispatcher looks whether it should stop
WORKER_LOST_S = 1.0
SWITCH_S = 5e-4  # the longest that a thread at work keeps the loop from running

log = logging.getLogger("viralload")
open_files.raise_limit()
if JOB.is_remote:
    unknown_peers.bound_frames()  # before Locust opens its port
start_told = gevent.event.AsyncResult()  # load start, on the run's clock


def run_clock() -> float:
    """Seconds on the run's clock."""
    return time.monotonic() - JOB.clock_zero_monotonic_s


class Crowd(User):
    """Plays this process's share of the schedule, then idles until Locust stops it."""

    playing = False

    def on_start(self) -> None:
        """Map the schedule and open the record."""
        url = CREDENTIALS.url(JOB.endpoint)
        self.client = ImageClient(url, JOB.timeout_s, CREDENTIALS.headers)
        self.requests = gevent.pool.Group()
        self.stopped = gevent.event.Event()  # people send nothing any more
        self.alarm = Alarm()
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
        rows = FOLDER.asks_path if JOB.in_windows else FOLDER.schedule_path
        schedule = np.load(rows, mmap_mode="r")
        writer = FOLDER.requests_writer(self.generator)
        self.recorder = Recorder(JOB, writer, run_clock, CREDENTIALS)
        self.sender = Sender(JOB, self.client, self.recorder, schedule)
        watch = gevent.spawn(self._watch)
        gc.collect()
        gc.freeze()
        sys.setswitchinterval(SWITCH_S)
        scheduling.make_room_for_files()
        scheduling.come_first()
        if JOB.in_windows:
            self._send(windows.arrivals(FOLDER, share, shares, self._wait), load_start_s)
        elif JOB.retry is None:
            self._send(arrivals(schedule, share, shares), load_start_s)
        else:
            load_end_s = load_start_s + JOB.load_s
            self._let_in(people.scripts_of(schedule, share, shares, load_start_s, load_end_s))
            self._sleep_until(load_end_s)  # those who are there go on
        self.requests.join(timeout=JOB.drain_s)
        self.stopped.set()
        self.requests.kill()  # each records that it got no answer in time
        watch.kill()
        if self.broken is not None:
            raise self.broken
        self.recorder.flush()
        played(self.environment, self.generator)

    def _send(self, due: Iterator[tuple[int, float, int]], load_start_s: float) -> None:
        """Requests that come by themselves."""
        for seq, t_s, images in due:
            scheduled_s = load_start_s + t_s
            if self.broken is not None:
                raise self.broken
            made = self.sender.prepare(seq, images)
            if self._sleep_until(scheduled_s):
                self.requests.add(gevent.spawn(self.ask, seq, scheduled_s, images, prepared=made))
            else:
                self.leave(seq, scheduled_s, images)

    def _let_in(self, scripts: Iterator[Script]) -> None:
        """People, each of whom makes one request after another."""
        assert JOB.retry is not None
        for script in scripts:
            if self.broken is not None:
                raise self.broken
            if self._sleep_until(script.arrives_s):
                self.requests.add(gevent.spawn(people.live, script, JOB.retry, JOB.seed, self))
            else:
                people.never_came(script, self)

    # -- the stage people are played on

    def now_s(self) -> float:
        """Seconds on the run's clock."""
        return run_clock()

    def sleep_until(self, t_s: float) -> bool:
        """Sleep until then; False as soon as no further request is to be sent."""
        try:
            if (wait_s := t_s - run_clock()) > 0:
                self.stopped.wait(wait_s)
        except gevent.GreenletExit:
            return False
        return not self.is_over()

    def is_over(self) -> bool:
        """Whether no further request is to be sent."""
        return self.stopped.is_set() or self.broken is not None

    def leave(
        self,
        seq: int,
        due_s: float,
        images: int,
        whose: Attempt = FIRST,
        gone: Departure | None = None,
    ) -> None:
        """Record a request that never left; None: the run stopped before it did."""
        try:
            if gone is None:
                self.sender.leave(seq, due_s, images, whose)
            else:
                self.sender.leave(seq, due_s, images, whose, gone.outcome, gone.why)
        except OSError as err:
            self.broken = err

    # -- both

    def _sleep_until(self, t_s: float) -> bool:
        """Sleep until the run's clock shows t_s; False as soon as the run is to stop."""
        if run_clock() >= t_s:
            gevent.sleep(0)  # let due requests out even when behind
        while (now_s := run_clock()) < t_s:
            if self._stopping() or self.broken is not None:
                return False
            wake_s = min(t_s, now_s + LOOK_UP_S)
            self.alarm.wait_until(JOB.clock_zero_monotonic_s + wake_s)
        return not self._stopping()

    def _wait(self) -> bool:
        """Sleep a moment; False as soon as the run is to stop."""
        gevent.sleep(windows.LOOK_S)
        return not self._stopping() and self.broken is None

    def _stopping(self) -> bool:
        return self._state == LOCUST_STATE_STOPPING

    def _idle(self) -> None:
        while not self._stopping():
            gevent.sleep(LOOK_UP_S)

    def ask(
        self,
        seq: int,
        due_s: float,
        images: int,
        whose: Attempt = FIRST,
        patience_s: float = math.inf,
        prepared: Prepared | None = None,
    ) -> Answer:
        """Send a request, wait for its end at most so long, record it."""
        self.due += 1
        try:
            record, exchange = self.sender.send(seq, due_s, images, whose, patience_s, prepared)
        except OSError as err:
            self.broken = err
            return Answer(outcome=Outcome.FAILED)
        self._tell_locust(record, due_s)
        told_s = retry_after(exchange.headers.get("retry-after"), time.time())
        return Answer(outcome=record.outcome, retry_after_s=told_s)

    def _tell_locust(self, record: RequestRecord, due_s: float) -> None:
        """For Locust's own statistics and web UI."""
        took_s = (record.done_s or run_clock()) - (record.sent_s or due_s)
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
        """This generator's own state, and whether it should stop."""
        lines = FOLDER.load_writer(self.generator)
        try:
            monitor.sample_forever(
                lines,
                self.recorder,
                self.generator,
                lambda: self.due,
                self._look,
                lambda: self.client.unasked,
            )
        except OSError as err:
            self.broken = err

    def _look(self) -> None:
        if self._stopping():
            self.stopped.set()


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
    if JOB.share is not None:
        return JOB.share, JOB.processes
    if isinstance(runner, WorkerRunner):
        return runner.worker_index, JOB.processes
    return 0, 1


@events.init.add_listener
def _connect(environment: Environment, **_: object) -> None:
    runner = environment.runner
    if environment.web_ui is not None:
        web_ui.add(environment.web_ui.app, FOLDER, JOB.load_s)
    if isinstance(runner, WorkerRunner):
        runner.register_message("load_start", _told)
        master.introduce(JOB, runner)
    elif isinstance(runner, MasterRunner) and JOB.is_remote:
        environment.crew = master.receive(JOB, FOLDER, environment, end)  # type: ignore[attr-defined]
    elif isinstance(runner, MasterRunner):
        environment.shares_played = set()  # type: ignore[attr-defined]
        runner.register_message("played", _share_played)


@events.test_start.add_listener
def _start(environment: Environment, **_: object) -> None:
    """Fix the instant that is second 0 of the schedule, and tell everyone."""
    runner = environment.runner
    if isinstance(runner, WorkerRunner) or runner is None:
        return
    crew: master.Master | None = getattr(environment, "crew", None)
    if crew is not None:
        crew.begin()
    load_start_s = run_clock() + LEAD_S
    FOLDER.append_event(RunEvent(t_s=load_start_s, kind="load_start", source="locust"))
    if isinstance(runner, MasterRunner):
        runner.send_message("load_start", {"load_start_s": load_start_s})
        if crew is None:
            gevent.spawn(_watch_workers, environment)
    else:
        start_told.set(load_start_s)


def _told(environment: Environment, msg: Any, **_: object) -> None:
    start_told.set(float(msg.data["load_start_s"]))


def played(environment: Environment, generator: str) -> None:
    """This process has an outcome for every arrival of its share: end, or tell the master."""
    runner = environment.runner
    if JOB.share is not None:  # what reads the folder sends it to the master
        FOLDER.append_event(RunEvent(t_s=run_clock(), kind="played", source=generator))
    elif isinstance(runner, WorkerRunner):
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
