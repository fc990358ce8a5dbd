"""One run, from a scenario to a reported run folder: the planned load, played once."""

import contextlib
import os
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
from rich.console import Console

from loadtest.calibration.calibrate import (
    alone,
    asks,
    calibrate,
    in_flight_for,
    mix_of_asks,
    refusal,
)
from loadtest.calibration.concurrency import Calibration, Window
from loadtest.client.target import Offer
from loadtest.distributed import gather
from loadtest.distributed.handshake import TOKEN_ENV
from loadtest.driver.prepare import (
    Options,
    job_for,
    locust_command,
)
from loadtest.driver.session import RunSession, on_disk
from loadtest.driver.watch import watch
from loadtest.errors import ConfigurationError, ViralloadError
from loadtest.generator import self_test
from loadtest.plan.job import Job, encode
from loadtest.plan.plan import Node, Schedule, demand, make_plan, needs_capacity
from loadtest.plan.source import Source
from loadtest.plan.text import UNBROKEN, plan_text
from loadtest.scenario.session import hopeless_retries, impatience
from loadtest.system import open_files, output
from loadtest.system.processes import Child
from profiles.record.columns import read
from profiles.record.folder import RunFolder
from profiles.schema import LoadPlan, Summary
from profiles.summary.run import compute


def run(options: Options, console: Console) -> tuple[RunFolder, Summary]:
    """Run the scenario; everything that happened is in the returned folder.

    Raises:
        ConfigurationError: it cannot be run as asked; said before any load is sent.
        ViralloadError: the server did not start, or something of ours failed.
        Interrupted: stopped by the user before the load was on.
    """
    session = RunSession(options, console)
    load = PlannedLoad(session)
    session.perform(load.check, load.play)
    try:
        # As this process knows it: a disk that is full has not taken the run's end.
        recorded = replace(read(session.folder), manifest=session.manifest)
        summary = compute(recorded)
    except Exception as err:
        session.note_failure(err)
        raise
    try:
        session.folder.write_summary(summary)
        if session.can_draw():
            from profiles.report.html.run import (
                write_report,  # here: altair is large, and only draws
            )

            write_report(session.folder, recorded)
    except Exception as err:  # noqa: BLE001 - the result is told all the same
        session.warn_unwritten(err)
    return session.folder, summary


class PlannedLoad:
    """The load of a scenario: planned once the capacity is known, and played."""

    def __init__(self, session: RunSession) -> None:
        self.session = session
        self.options = session.options

    def check(self, source: Source, gpus: int) -> None:
        """Refuse a load that is too long, or empty, as far as that is known before all.

        Raises:
            ConfigurationError: it cannot be played.
        """
        options = self.options
        if options.capacity is not None or not needs_capacity(options.scenario):
            node = Node(gpus=gpus or None, capacity_images_per_s=options.capacity)
            make_plan(options.scenario, source, node)

    def play(self, source: Source, settings: dict[str, Any] | None) -> None:
        """Plan the load, and play it; `settings` are those of a server to start."""
        options = self.options
        if settings is not None:
            self.session.start_server(settings)
        offer = self.session.learn_target()
        job = job_for(options, self.session.manifest, self.session.folder, offer)
        self.session.folder.job_path.write_bytes(encode(job))
        self._check_patience(job, offer)
        self._check_mix(source, job)
        node = self._node(source, offer)
        plan, schedule = make_plan(options.scenario, source, node)
        job = msgspec.structs.replace(job, load_s=plan.duration_s)
        with on_disk(self.session.folder.schedule_path):
            np.save(self.session.folder.schedule_path, schedule)
        self.session.folder.job_path.write_bytes(encode(job))
        event = demand(options.scenario, source)
        self.session.update(plan=plan, demand=event)
        columns = output.width(UNBROKEN, self.session.console.file)
        self.session.console.print(
            plan_text(options.scenario, source, plan, event, relative=False, width=columns),
            highlight=False, markup=False, soft_wrap=True,
        )  # fmt: skip
        self.session.start_sampler()  # first, so that the GPUs are seen idle, with the model loaded
        self._check_pace(plan, schedule, job)
        self._play(plan, job)

    def _check_patience(self, job: Job, offer: Offer) -> None:
        """Refuse people whom no server could serve in time; warn where some are like that."""
        session = self.options.scenario.session
        if session is None:
            return
        try:
            image_s = offer.image_s
            if image_s is None:
                log = self.session.folder.log_path("closed-loop")
                opened = self.options.credentials.environment
                (image_s,) = alone(self.session.folder.job_path, log, opened=opened)
        except ViralloadError as err:
            self.session.console.print(f"patience: not checked: {err}", highlight=False)
            image_s = 0.0
        for told in hopeless_retries(session, job.timeout_s, image_s):
            self.session.console.print(f"warning: {told}", highlight=False, soft_wrap=True)
        found = impatience(session, job.timeout_s, image_s)
        if found is None:
            return
        nobody, told = found
        if nobody:
            raise ConfigurationError(f"{told}; give people more time")
        self.session.console.print(f"warning: {told}", highlight=False)

    def _check_mix(self, source: Source, job: Job) -> None:
        """Refuse a capacity that was found with other requests than this run's.

        Raises:
            ConfigurationError: It was.
        """
        found = self.options.capacity_mix
        if found is None:
            return
        own = mix_of_asks(asks(self.options.scenario, source), job)
        if own.differs(found):
            raise ConfigurationError(
                f"--capacity: it was found with {found.told}, and this run asks for {own.told}, "
                "which costs other: search with this scenario (`viralload find SCENARIO`), leave "
                "it out, or give images/s"
            )

    def _node(self, source: Source, offer: Offer) -> Node:
        gpus = self.session.manifest.target.replicas if self.session.manifest.gpus else None
        if self.options.capacity is not None:
            return Node(
                gpus=gpus,
                capacity_images_per_s=self.options.capacity,
                capacity_basis=self.options.capacity_basis,
            )
        if not needs_capacity(self.options.scenario):
            return Node(gpus=gpus)
        measured = self._calibrate(source, offer)
        why_not = refusal(measured)
        if why_not is not None:
            raise ConfigurationError(why_not)
        said = f"{measured.images_per_s:.3g} images/s ({measured.basis})"
        self.session.event("calibrated", said)
        self.session.console.print(f"capacity: {said}", highlight=False)
        return Node(
            gpus=gpus,
            capacity_images_per_s=measured.images_per_s,
            capacity_interval_images_per_s=measured.interval,
            capacity_basis=measured.basis,
        )

    def _calibrate(self, source: Source, offer: Offer) -> Calibration:
        """Raise what is in flight, by the scenario's own requests, until more brings no more."""
        first = in_flight_for(offer.max_batch, offer.replicas)
        np.save(self.session.folder.asks_path, asks(self.options.scenario, source))
        with self.session.console.status("measuring the capacity"):
            self.session.console.print(
                f"capacity: measuring with the scenario's requests, from {first} in flight on",
                highlight=False,
            )

            def tell(window: Window) -> None:
                self.session.console.print(
                    f"capacity: {window.in_flight} in flight: {window.images_per_s:.3g} images/s",
                    highlight=False,
                )

            log = self.session.folder.log_path("closed-loop")
            opened = self.options.credentials.environment
            return calibrate(self.session.folder.job_path, first, log, tell, opened)

    def _check_pace(self, plan: LoadPlan, schedule: Schedule, job: Job) -> None:
        """Warn where this machine cannot send as fast as the schedule's busiest second asks."""
        if self.options.workers is not None:
            return  # it sends nothing, and each worker looks after itself
        limit = open_files.hard_limit()
        scarce = open_files.warning(schedule["t_s"], job.timeout_s, job.processes, limit)
        if scarce is not None:
            self.session.event("open_files_scarce", scarce)
            self.session.console.print(
                f"warning: {scarce}", highlight=False, markup=False, soft_wrap=True
            )
        told = self_test.warning(
            self.session.folder.job_path,
            schedule["t_s"],
            plan.images / plan.requests,
            self.options.processes,
            len(os.sched_getaffinity(0)),
        )
        if told is not None:
            self.session.event("generator_too_slow", told)
            self.session.console.print(
                f"warning: {told}", highlight=False, markup=False, soft_wrap=True
            )

    def _play(self, plan: LoadPlan, job: Job) -> None:
        crew = self.options.workers
        command = locust_command(job, self.options.web_port, crew)
        if self.options.web_port is not None:
            self.session.console.print(f"Locust's web UI: http://127.0.0.1:{self.options.web_port}")
        env = {"VIRALLOAD_JOB": str(self.session.folder.job_path.resolve())}
        env |= self.options.credentials.environment
        own = os.environ.get(TOKEN_ENV)
        if crew is not None:
            env[TOKEN_ENV] = gather.token_for(crew, own)
            self.session.say(gather.invitation(crew, env[TOKEN_ENV], own))
        self.session.loading = crew is None
        locust = Child("load generator", command, self.session.folder.log_path("locust"), env)
        self.session.children.append(locust)
        if crew is not None:
            gather.gather(crew, self.session.folder, locust, self.session.now, self.session.console)
            self.session.loading = True
        reason, detail, load_start_s = watch(
            self.session.folder,
            {child.name: child for child in self.session.children},
            plan.duration_s,
            allowed_s=plan.duration_s + job.drain_s + job.timeout_s + 30.0,
            server_url=job.base_url if self.session.manifest.target.embedded else None,
            clock=self.session.now,
            interrupted=lambda: self.session.interrupts > 0,
            console=self.session.console,
            on_start=lambda start_s: self.session.note_start(start_s, plan.duration_s),
            web=self.options.web_port is not None,
        )
        if load_start_s is not None:
            self.session.note_start(load_start_s, plan.duration_s)
        with contextlib.suppress(OSError):
            self.session.event("drained", "")
        self.session.finish(reason, detail)
