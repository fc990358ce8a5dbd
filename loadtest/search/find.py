"""`viralload find`: the search for the highest rate that meets the SLO, against a real server.

A run's own machinery starts the server, the sampler and Locust, once. Then the driver hands over
window after window (`loadtest.search.player`), each decided on (`loadtest.search.next_window`)
while the one before is still on, from what is recorded so far. Everything counts in the search's
time, starting the server included.
"""

import time
from typing import Any

import msgspec
import numpy as np
from rich.console import Console

from loadtest.calibration.calibrate import alone, asks, calibrate, in_flight_for
from loadtest.client.target import Offer
from loadtest.driver.prepare import Options, job_for, locust_command
from loadtest.driver.session import RunSession
from loadtest.errors import ConfigurationError, ViralloadError
from loadtest.generator import self_test
from loadtest.plan.job import Job, encode
from loadtest.plan.source import Source
from loadtest.scenario.scenario import Scenario
from loadtest.search.goal import SearchGoal
from loadtest.search.next_window import Goal, Next, choose, found
from loadtest.search.player import Player, Requests
from loadtest.search.windows import Images
from loadtest.system.processes import Child
from profiles.record import columns
from profiles.record.columns import Recorded
from profiles.record.folder import RunFolder
from profiles.schema import EndReason, FindResult, FindWindow, SearchPlan
from profiles.search.result import find, look_at
from profiles.search.windows import counts

LONE_REQUESTS = 3
START_SHARE = 0.6  # of a capacity seen by a closed loop, where the ramp begins
PACE_TRUST = 1.5  # times what the self-test thinks the generator can send, the ramp ends
LATE_IN_A_ROW = 3


def run(options: Options, asked: SearchGoal, console: Console) -> tuple[RunFolder, FindResult]:
    """Search; everything that happened is in the returned folder.

    Raises:
        ConfigurationError: it cannot be run as asked; said before any load is sent.
        ViralloadError: the server did not start, or something of ours failed.
        Interrupted: stopped by the user before the load was on.
    """
    # Its people and its curve are left out, but not what they ask for.
    alone = msgspec.structs.replace(options.scenario, session=None)
    session = RunSession(msgspec.structs.replace(options, scenario=alone), console)
    search = Search(session, asked, options.scenario)
    session.perform(lambda _source, _gpus: None, search.play)
    result = find(session.folder)
    try:
        session.folder.write_find(result)
        if session.can_draw():
            from profiles.report.html.search import (
                write_find_report,  # altair is large, and only draws
            )

            write_find_report(session.folder, result)
    except Exception as err:  # noqa: BLE001 - the result is told all the same
        session.warn_unwritten(err)
    return session.folder, result


class Search:
    """The search in progress: windows are played, not the scenario's curve.

    Args:
        session: its folder and processes.
        asked: what for.
        mixed: the scenario whose requests are asked.
    """

    def __init__(self, session: RunSession, asked: SearchGoal, mixed: Scenario) -> None:
        self.session, self.options, self.asked, self.mixed = session, session.options, asked, mixed
        self.began_s = time.monotonic()
        self.shown = 0  # windows

    def play(self, source: Source, settings: dict[str, Any] | None) -> None:
        """Search; `settings` are those of a server to start."""
        options, asked = self.options, self.asked
        rows = asks(self.mixed, source)
        np.save(self.session.folder.asks_path, rows)
        images = float(rows["images"].mean())
        search = SearchPlan(
            slo=asked.slo,
            limit_s=asked.limit_s,
            allowed_share=asked.allowed,
            precision=asked.precision,
            time_s=asked.time_s,
            images_per_request=images,
        )
        self.session.update(search=search)
        if settings is not None:
            self.session.start_server(settings)
        offer = self.session.learn_target()
        job = msgspec.structs.replace(
            job_for(options, self.session.manifest, self.session.folder, offer), in_windows=True
        )
        self.session.folder.job_path.write_bytes(encode(job))
        log = self.session.folder.log_path("closed-loop")
        # the first one warms caches up
        _, *lone = alone(self.session.folder.job_path, log, 1 + LONE_REQUESTS, self._opened)
        cpu_s = self_test.cpu_s_per_request(self.session.folder.job_path, max(1, round(images)))
        most = None if cpu_s is None else PACE_TRUST * self_test.SHARE / cpu_s * job.processes
        search = msgspec.structs.replace(search, lone_latency_s=lone, most_per_s=most)
        self.session.update(search=search)
        if min(lone) >= asked.limit_s:
            self._say(f"{asked.slo} cannot be met: a lone request takes {min(lone):.3g} s or more")
            self.session.finish(EndReason.COMPLETED, "a lone request misses the SLO")
            return
        start = self._start_rate(offer, min(lone))
        self.session.start_sampler()
        self._search(job, search, rows["images"], start)

    @property
    def _opened(self) -> dict[str, str]:
        """What opens the server, as environment variables."""
        return self.options.credentials.environment

    def _start_rate(self, offer: Offer, lone_s: float) -> float:
        """Requests/s the ramp begins with."""
        first = in_flight_for(offer.max_batch, offer.replicas)
        self._say(f"a first look at the capacity, from {first} requests in flight on")
        try:
            log = self.session.folder.log_path("closed-loop")
            measured = calibrate(self.session.folder.job_path, first, log, opened=self._opened)
        except ViralloadError as err:
            self._say(f"it gave none ({err}); the ramp begins with one request at a time")
            return 1.0 / lone_s
        search = self.session.manifest.search
        images = search.images_per_request if search else 1.0
        return START_SHARE * measured.images_per_s / images

    # -- the windows -------------------------------------------------------------------------

    def _search(self, job: Job, search: SearchPlan, images: Images, start_per_s: float) -> None:
        goal = Goal(
            limit_s=search.limit_s,
            allowed=search.allowed_share,
            precision=search.precision,
            time_s=max(self._left_s(), 1.0),
            most_per_s=search.most_per_s or float("inf"),
            least_per_s=0.02 / min(search.lone_latency_s),
        )
        player = self._player(job, search, images)
        reason, detail = player.wait_for_start()
        self.session.update(load_start_s=player.load_start_s or None)
        while reason is None:
            following = self._following(self._look(player, search), player, start_per_s, goal)
            if following is None:
                break
            reason, detail = player.play(following)
        if reason is EndReason.INTERRUPTED:
            self.session.children[-1].ask_to_end()
        if reason is None or reason is EndReason.INTERRUPTED:
            ended, words = player.drain(job.drain_s + job.timeout_s + 30.0)
            reason, detail = (ended, words) if reason is None else (reason, detail)
        self.session.update(load_end_s=player.end_s or None)
        self.session.finish(reason, detail)

    def _player(self, job: Job, search: SearchPlan, images: Images) -> Player:
        env = {"VIRALLOAD_JOB": str(self.session.folder.job_path.resolve())}
        env |= self._opened
        self.session.loading = True
        command = locust_command(job, self.options.web_port)
        locust = Child("load generator", command, self.session.folder.log_path("locust"), env)
        self.session.children.append(locust)
        same = Requests(
            images=images,
            seed=self.options.scenario.seed,
            timeout_s=job.timeout_s,
            limit_s=search.limit_s,
        )
        session = self.session
        children = {child.name: child for child in session.children}
        return Player(session.folder, children, same, session.now, lambda: session.interrupts > 0)

    def _following(
        self, seen: list[FindWindow], player: Player, start_per_s: float, goal: Goal
    ) -> Next | None:
        """The window to play next; None at the end."""
        for each in seen[self.shown :]:
            if each.start_s + each.duration_s <= player.settled_s:
                self._tell(each)
                self.shown += 1
        used = counts(seen)
        if found(used, goal) is not None:
            return None
        last = [each.thrown_out or "" for each in seen[-LATE_IN_A_ROW:]]
        if len(last) == LATE_IN_A_ROW and all(why.startswith("the generator") for why in last):
            self._say("the generator cannot send so fast: the search ends")
            return None
        following = choose(used, start_per_s, goal)
        if following is not None and following.duration_s + goal.limit_s > self._left_s():
            self._say("time is out")
            return None
        return following

    def _look(self, player: Player, search: SearchPlan) -> list[FindWindow]:
        """The windows so far, as far as they are recorded."""
        recorded = Recorded(
            manifest=self.session.manifest,
            requests=columns.request_columns(self.session.folder.requests()),
            gpus=[],
            hosts=[],
            load=[],
            events=[],
        )
        return look_at(self.session.folder, player.planned, recorded, search, player.settled_s)

    def _tell(self, seen: FindWindow) -> None:
        share = seen.miss_share
        told = f"window {seen.index + 1:>2}: {seen.rate_per_s:7.2f} requests/s, "
        told += "nothing known" if share is None else f"{100 * share:5.1f}% miss {self.asked.slo}"
        if seen.latency_p95_s is not None:
            told += f", p95 {seen.latency_p95_s:.3g} s"
        if seen.thrown_out:
            told += f"; thrown out: {seen.thrown_out}"
        self._say(told)

    def _left_s(self) -> float:
        """Of the search's time."""
        return self.asked.time_s - (time.monotonic() - self.began_s)

    def _say(self, told: str) -> None:
        self.session.say(f"find: {told}")


def check(asked: SearchGoal, options: Options) -> None:
    """Refuse what cannot be searched, before anything is started.

    Raises:
        ConfigurationError: names the option and the remedy.
    """
    timeout_s = float(options.scenario.request.timeout)
    if timeout_s <= asked.limit_s:
        raise ConfigurationError(
            f"--slo: {asked.slo} waits longer than the timeout of {timeout_s:g} s; give a longer "
            "--timeout"
        )
    least_s = (20.0 if options.host is None else 10.0) + 20 * asked.limit_s
    if asked.time_s < least_s:
        raise ConfigurationError(
            f"--time: {asked.time_s:g} s is too short to search in: starting, a ramp and some "
            f"windows with {asked.slo} take {least_s:.0f} s at least"
        )
