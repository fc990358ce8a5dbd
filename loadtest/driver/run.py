"""One run, from a scenario to a reported run folder.

The driver computes nothing itself while the load is on: it starts the server, the sampler and
Locust as processes of their own, watches them, shows the live view, and writes the manifest.

Ctrl-C once: no further request is sent, those in flight are waited for, the run is reported.
Ctrl-C twice: everything is killed at once.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
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
from loadtest.client.address import parse
from loadtest.client.credentials import NONE
from loadtest.client.target import Offer, ask_models
from loadtest.distributed import gather
from loadtest.distributed.handshake import TOKEN_ENV
from loadtest.driver import server
from loadtest.driver.prepare import (
    Options,
    first_manifest,
    job_for,
    locust_command,
    sampler_command,
    server_settings,
    usable_gpus,
)
from loadtest.driver.target_checks import check_options, told_of
from loadtest.driver.watch import watch
from loadtest.errors import ConfigurationError, ViralloadError
from loadtest.generator import self_test
from loadtest.plan.job import Job, encode
from loadtest.plan.plan import Node, Schedule, demand, make_plan, needs_capacity, process_of
from loadtest.plan.source import Source, load_source
from loadtest.plan.text import UNBROKEN, plan_text
from loadtest.plan.unused_options import check_scenario
from loadtest.scenario.prompts import load_texts
from loadtest.scenario.session import hopeless_retries, impatience
from loadtest.system import charts_installed, open_files, output
from loadtest.system.processes import Child, adopt_orphans, kill_descendants
from profiles import edge
from profiles.record.columns import read
from profiles.record.folder import RunError, RunFolder
from profiles.schema import EndReason, LoadPlan, RunEvent, Summary
from profiles.summary.run import compute

SERVER_PATIENCE_S = 20.0
SAMPLER_PATIENCE_S = 5.0


class Interrupted(Exception):  # noqa: N818 - not an error
    """Ctrl-C before the load was on."""


def run(options: Options, console: Console) -> tuple[RunFolder, Summary]:
    """Run the scenario; everything that happened is in the returned folder.

    Raises:
        ConfigurationError: it cannot be run as asked; said before any load is sent.
        ViralloadError: the server did not start, or something of ours failed.
        Interrupted: stopped by the user before the load was on.
    """
    return Run(options, console).run()


class Run:
    """The run in progress."""

    def __init__(self, options: Options, console: Console) -> None:
        self.options = options
        self.console = console
        self.offer: Offer | None = None  # of an existing server
        self.interrupts = 0
        self.loading = False
        self.children: list[Child] = []

    def run(self) -> tuple[RunFolder, Summary]:
        """Run, and sum it up."""
        self.perform()
        try:
            # As this process knows it: a disk that is full has not taken the run's end.
            summary = compute(replace(read(self.folder), manifest=self.manifest))
        except Exception as err:
            self._note_failure(err)
            raise
        try:
            self.folder.write_summary(summary)
            if self.can_draw():
                from profiles.report.html.run import (
                    write_report,  # here: altair is large, and only draws
                )

                write_report(self.folder)
        except Exception as err:  # noqa: BLE001 - the result is told all the same
            self.warn_unwritten(err)
        return self.folder, summary

    def can_draw(self) -> bool:
        """Whether the report can be drawn here; where it cannot, how it can is said."""
        missing = charts_installed.absent()
        if missing is not None:
            self._say(charts_installed.elsewhere(missing, self.folder.path))
        return missing is None

    def warn_unwritten(self, err: Exception) -> None:
        """Say that the report could not be made, and how it can."""
        self._note_failure(err)
        self._say(
            f"warning: the report was not written: {edge.in_words(err)}; "
            f"`viralload report {self.folder.path}` makes it again"
        )

    def perform(self) -> None:
        """Run to its end, whatever that is; what happened is in the folder."""
        options = self.options
        if options.workers is not None:
            gather.check(options.workers, options.host)
        for said in check_options(options):
            self._say(said)
        source = load_source(options.scenario, options.folder)
        check_scenario(options.given, options.scenario, source)
        process_of(options.scenario, source)  # a wrong one is said before anything is started
        load_texts(options.scenario.request.prompts, options.folder)  # told now if it cannot be
        if options.host is not None and options.scenario.server:
            self.console.print(
                "warning: [server] of the scenario is of a server that a run starts; with --host "
                "it is left out",
                highlight=False,
            )
        gpus, unread = usable_gpus(options)
        settings = server_settings(options, gpus)
        self._check_load(source, len(gpus))
        if settings is not None:
            server.check(settings)
        if (address := options.address) is not None:  # before there is any folder
            self.offer = ask_models(address, options.credentials, options.model)
        is_first = not options.out.exists()
        self.folder = _create_folder(options)
        self.zero = time.monotonic()
        self.manifest = first_manifest(options, self.folder, self.zero, gpus, settings)
        self.folder.write_manifest(self.manifest)
        with _on_disk(self.folder.scenario_path):
            self.folder.scenario_path.write_text(options.scenario_text, encoding="utf-8")
        for why in unread:
            self._event("gpu_unreadable", why)
        self.console.print(f"run folder {self.folder.path}", highlight=False, soft_wrap=True)
        adopt_orphans()
        try:
            with self._signals():
                try:
                    self._run_processes(source, settings)
                except BaseException as err:
                    self._note_failure(err)
                    raise
                finally:
                    self._end_children()
        except ConfigurationError:
            if self.manifest.load_start_s is None:  # nothing was spent, so nothing is left
                self._take_back(with_root=is_first)
            raise

    # -- before the load ---------------------------------------------------------------------

    def _check_load(self, source: Source, gpus: int) -> None:
        """Refuse a load that is too long, or empty, as far as that is known before all.

        Raises:
            ConfigurationError: it cannot be played.
        """
        options = self.options
        if options.capacity is not None or not needs_capacity(options.scenario):
            node = Node(gpus=gpus or None, capacity_images_per_s=options.capacity)
            make_plan(options.scenario, source, node)

    def _take_back(self, *, with_root: bool) -> None:
        """Delete the folder of a run that never was, and what it lies in if that is ours, too."""
        self.folder.remove()
        if with_root:
            with contextlib.suppress(OSError):
                self.options.out.rmdir()

    def _run_processes(self, source: Source, settings: dict[str, Any] | None) -> None:
        options = self.options
        if settings is not None:
            self._start_server(settings)
        offer = self._learn_target()
        job = job_for(options, self.manifest, self.folder, offer)
        self.folder.job_path.write_bytes(encode(job))
        self._check_patience(job, offer)
        self._check_mix(source, job)
        node = self._node(source, offer)
        plan, schedule = make_plan(options.scenario, source, node)
        job = msgspec.structs.replace(job, load_s=plan.duration_s)
        with _on_disk(self.folder.schedule_path):
            np.save(self.folder.schedule_path, schedule)
        self.folder.job_path.write_bytes(encode(job))
        event = demand(options.scenario, source)
        self._update(plan=plan, demand=event)
        columns = output.width(UNBROKEN, self.console.file)
        self.console.print(
            plan_text(options.scenario, source, plan, event, relative=False, width=columns),
            highlight=False, markup=False, soft_wrap=True,
        )  # fmt: skip
        self._start_sampler()  # first, so that the GPUs are seen idle, with the model loaded
        self._check_pace(plan, schedule, job)
        self._play(plan, job)

    def _start_server(self, settings: dict[str, Any]) -> None:
        self._event("server_starting", f"model {settings['model']}")
        with self.console.status(f"starting the server (model {settings['model']})") as status:
            self.console.print(f"server: starting, model {settings['model']}", highlight=False)

            def tick(waited_s: float) -> None:
                status.update(f"starting the server (model {settings['model']}): {waited_s:.0f} s")

            child, ready = server.start(settings, self.folder.log_path("server"), tick)
        self.children.append(child)
        self._event("server_ready", ready.url)
        self.console.print(
            f"server: ready at {ready.url}, {ready.replicas} replica(s) on {ready.device}",
            highlight=False,
        )
        target = msgspec.structs.replace(
            self.manifest.target,
            url=ready.url, model=ready.model, replicas=ready.replicas, device=ready.device,
        )  # fmt: skip
        self._update(target=target)

    def _learn_target(self) -> Offer:
        options, target = self.options, self.manifest.target
        offer = self.offer or ask_models(parse(target.url), NONE, options.model)
        for said in told_of(options, offer):
            self._event("target", said)
            self._say(f"target: {said}")
        self._update(
            target=msgspec.structs.replace(
                target,
                model=offer.model,
                is_stub=offer.is_stub,
                replicas=target.replicas or offer.replicas,
                device=target.device or offer.device,
                limits=offer.limits,
                flop_per_image=offer.flop_per_image,
                approximations=offer.approximations,
            )
        )
        return offer

    def _check_patience(self, job: Job, offer: Offer) -> None:
        """Refuse people whom no server could serve in time; warn where some are like that."""
        session = self.options.scenario.session
        if session is None:
            return
        try:
            image_s = offer.image_s
            if image_s is None:
                log = self.folder.log_path("closed-loop")
                opened = self.options.credentials.environment
                (image_s,) = alone(self.folder.job_path, log, opened=opened)
        except ViralloadError as err:
            self.console.print(f"patience: not checked: {err}", highlight=False)
            image_s = 0.0
        for told in hopeless_retries(session, job.timeout_s, image_s):
            self.console.print(f"warning: {told}", highlight=False, soft_wrap=True)
        found = impatience(session, job.timeout_s, image_s)
        if found is None:
            return
        nobody, told = found
        if nobody:
            raise ConfigurationError(f"{told}; give people more time")
        self.console.print(f"warning: {told}", highlight=False)

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
        gpus = self.manifest.target.replicas if self.manifest.gpus else None
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
        self._event("calibrated", said)
        self.console.print(f"capacity: {said}", highlight=False)
        return Node(
            gpus=gpus,
            capacity_images_per_s=measured.images_per_s,
            capacity_interval_images_per_s=measured.interval,
            capacity_basis=measured.basis,
        )

    def _calibrate(self, source: Source, offer: Offer) -> Calibration:
        """Raise what is in flight, by the scenario's own requests, until more brings no more."""
        first = in_flight_for(offer.max_batch, offer.replicas)
        np.save(self.folder.asks_path, asks(self.options.scenario, source))
        with self.console.status("measuring the capacity"):
            self.console.print(
                f"capacity: measuring with the scenario's requests, from {first} in flight on",
                highlight=False,
            )

            def tell(window: Window) -> None:
                self.console.print(
                    f"capacity: {window.in_flight} in flight: {window.images_per_s:.3g} images/s",
                    highlight=False,
                )

            log = self.folder.log_path("closed-loop")
            opened = self.options.credentials.environment
            return calibrate(self.folder.job_path, first, log, tell, opened)

    def _check_pace(self, plan: LoadPlan, schedule: Schedule, job: Job) -> None:
        """Warn where this machine cannot send as fast as the schedule's busiest second asks."""
        if self.options.workers is not None:
            return  # it sends nothing, and each worker looks after itself
        limit = open_files.hard_limit()
        scarce = open_files.warning(schedule["t_s"], job.timeout_s, job.processes, limit)
        if scarce is not None:
            self._event("open_files_scarce", scarce)
            self.console.print(f"warning: {scarce}", highlight=False, markup=False, soft_wrap=True)
        told = self_test.warning(
            self.folder.job_path,
            schedule["t_s"],
            plan.images / plan.requests,
            self.options.processes,
            len(os.sched_getaffinity(0)),
        )
        if told is not None:
            self._event("generator_too_slow", told)
            self.console.print(f"warning: {told}", highlight=False, markup=False, soft_wrap=True)

    # -- the load ----------------------------------------------------------------------------

    def _start_sampler(self) -> None:
        command = sampler_command(self.folder, self.manifest, self.options.metrics_port)
        child = Child("sampler", command, self.folder.log_path("sampler"), {})
        self.children.append(child)
        child.first_line(timeout_s=30.0)
        if self.options.metrics_port is not None:
            url = f"http://127.0.0.1:{self.options.metrics_port}/metrics"
            self.console.print(f"metrics of GPUs and host: {url}", highlight=False)

    def _play(self, plan: LoadPlan, job: Job) -> None:
        crew = self.options.workers
        command = locust_command(job, self.options.web_port, crew)
        if self.options.web_port is not None:
            self.console.print(f"Locust's web UI: http://127.0.0.1:{self.options.web_port}")
        env = {"VIRALLOAD_JOB": str(self.folder.job_path.resolve())}
        env |= self.options.credentials.environment
        own = os.environ.get(TOKEN_ENV)
        if crew is not None:
            env[TOKEN_ENV] = gather.token_for(crew, own)
            self._say(gather.invitation(crew, env[TOKEN_ENV], own))
        self.loading = crew is None
        locust = Child("load generator", command, self.folder.log_path("locust"), env)
        self.children.append(locust)
        if crew is not None:
            gather.gather(
                crew, self.folder, locust, lambda: time.monotonic() - self.zero, self.console
            )
            self.loading = True
        reason, detail, load_start_s = watch(
            self.folder,
            {child.name: child for child in self.children},
            plan.duration_s,
            allowed_s=plan.duration_s + job.drain_s + job.timeout_s + 30.0,
            server_url=job.base_url if self.manifest.target.embedded else None,
            clock=lambda: time.monotonic() - self.zero,
            interrupted=lambda: self.interrupts > 0,
            console=self.console,
            on_start=lambda start_s: self._note_start(start_s, plan.duration_s),
            web=self.options.web_port is not None,
        )
        if load_start_s is not None:
            self._note_start(load_start_s, plan.duration_s)
        with contextlib.suppress(OSError):
            self._event("drained", "")
        self._finish(reason, detail)

    def _note_start(self, start_s: float, duration_s: float) -> None:
        """Written at once: should this process be killed, the record has it."""
        if self.manifest.load_start_s is None:
            with contextlib.suppress(RunError):  # a full disk is seen by who watches
                self._update(load_start_s=start_s, load_end_s=start_s + duration_s)

    # -- the end -----------------------------------------------------------------------------

    def _note_failure(self, err: BaseException) -> None:
        """What ended the run, in run.json; of what nobody foresaw, the traceback in its log."""
        secrets = [os.environ.get(TOKEN_ENV), *self.options.credentials.secrets]
        foreseen = isinstance(err, ViralloadError | RunError | Interrupted | KeyboardInterrupt)
        if foreseen:
            words = edge.hide(edge.printable(str(err) or type(err).__name__), secrets)
        else:
            words = edge.in_words(err, secrets)
            edge.keep(err, self.folder.log_path("viralload"), secrets)
        self._finish(_reason(err), words)

    def _finish(self, reason: EndReason, detail: str | None) -> None:
        self.folder.free_reserve()
        if self.manifest.end_reason is None:
            end = datetime.now(UTC).isoformat(timespec="milliseconds")
            with contextlib.suppress(RunError, OSError):  # a full disk: keep what is there
                self._update(end_utc=end, end_reason=reason, end_detail=detail)

    def _end_children(self) -> None:
        self.loading = True  # from here on, Ctrl-C twice kills and once is noted
        for child in reversed(self.children):
            child.end(SERVER_PATIENCE_S if child.name == "server" else SAMPLER_PATIENCE_S)
        kill_descendants()

    def _update(self, **changes: Any) -> None:
        self.manifest = msgspec.structs.replace(self.manifest, **changes)
        self.folder.write_manifest(self.manifest)

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _event(self, kind: str, detail: str) -> None:
        now = time.monotonic() - self.zero
        self.folder.append_event(RunEvent(t_s=now, kind=kind, source="runner", detail=detail))

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        def handle(_number: int, _frame: object) -> None:
            self.interrupts += 1
            if self.interrupts > 1:
                kill_descendants(patience_s=2.0)
                self._finish(EndReason.INTERRUPTED, "stopped at once by the user")
                os._exit(130)
            if not self.loading:
                raise Interrupted("stopped by the user before the load was on")

        before = {s: signal.signal(s, handle) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, action in before.items():
                signal.signal(number, action)


def _create_folder(options: Options) -> RunFolder:
    try:
        return RunFolder.create(
            options.out, options.scenario.name, options.label, datetime.now(UTC)
        )
    except RunError as err:
        raise ConfigurationError(str(err)) from err


@contextlib.contextmanager
def _on_disk(path: Path) -> Iterator[None]:
    """Say which file cannot be written."""
    try:
        yield
    except OSError as err:
        raise ViralloadError(f"cannot write {path}: {edge.reason(err)}") from err


def _reason(err: BaseException) -> EndReason:
    return EndReason.INTERRUPTED if isinstance(err, Interrupted) else EndReason.ERROR
