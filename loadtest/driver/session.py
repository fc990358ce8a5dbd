"""A run in progress: its folder, its processes, and how it ends, whatever it plays.

The driver computes nothing itself while the load is on: it starts the server, the sampler and
Locust as processes of their own, watches them, shows the live view, and writes the manifest.

Ctrl-C once: no further request is sent, those in flight are waited for, the run is reported.
Ctrl-C twice: everything is killed at once.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from loadtest.client.address import parse
from loadtest.client.credentials import NONE
from loadtest.client.target import Offer, ask_models
from loadtest.distributed import gather
from loadtest.distributed.handshake import TOKEN_ENV
from loadtest.driver import server
from loadtest.driver.prepare import (
    Options,
    first_manifest,
    sampler_command,
    server_settings,
    usable_gpus,
)
from loadtest.driver.target_checks import check_options, told_of
from loadtest.errors import ConfigurationError, ViralloadError
from loadtest.plan.plan import process_of
from loadtest.plan.source import Source, load_source
from loadtest.plan.unused_options import check_scenario
from loadtest.scenario.prompts import load_texts
from loadtest.system import charts_installed
from loadtest.system.processes import Child, adopt_orphans, kill_descendants
from profiles import edge
from profiles.record.folder import RunError, RunFolder
from profiles.schema import EndReason, RunEvent

SERVER_PATIENCE_S = 20.0
SAMPLER_PATIENCE_S = 5.0
Check = Callable[[Source, int], None]  # the load as read, and the GPUs there are
Play = Callable[[Source, dict[str, Any] | None], None]  # the settings of a server to start


class Interrupted(Exception):  # noqa: N818 - not an error
    """Ctrl-C before the load was on."""


class RunSession:
    """The run in progress."""

    def __init__(self, options: Options, console: Console) -> None:
        self.options = options
        self.console = console
        self.offer: Offer | None = None  # of an existing server
        self.interrupts = 0
        self.loading = False
        self.children: list[Child] = []

    def perform(self, check: Check, play: Play) -> None:
        """Run to its end, whatever that is; what happened is in the folder.

        Args:
            check: refuses a load that cannot be played, as far as that is known before all.
            play: plays it, once the folder is there.
        """
        options = self.options
        if options.workers is not None:
            gather.check(options.workers, options.host)
        for said in check_options(options):
            self.say(said)
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
        check(source, len(gpus))
        if settings is not None:
            server.check(settings)
        if (address := options.address) is not None:  # before there is any folder
            self.offer = ask_models(address, options.credentials, options.model)
        is_first = not options.out.exists()
        self.folder = _create_folder(options)
        self.zero = time.monotonic()
        self.manifest = first_manifest(options, self.folder, self.zero, gpus, settings)
        self.folder.write_manifest(self.manifest)
        with on_disk(self.folder.scenario_path):
            self.folder.scenario_path.write_text(options.scenario_text, encoding="utf-8")
        for why in unread:
            self.event("gpu_unreadable", why)
        self.console.print(f"run folder {self.folder.path}", highlight=False, soft_wrap=True)
        adopt_orphans()
        try:
            with self._signals():
                try:
                    play(source, settings)
                except BaseException as err:
                    self.note_failure(err)
                    raise
                finally:
                    self._end_children()
        except ConfigurationError:
            if self.manifest.load_start_s is None:  # nothing was spent, so nothing is left
                self._take_back(with_root=is_first)
            raise

    def can_draw(self) -> bool:
        """Whether the report can be drawn here; where it cannot, how it can is said."""
        missing = charts_installed.absent()
        if missing is not None:
            self.say(charts_installed.elsewhere(missing, self.folder.path))
        return missing is None

    def warn_unwritten(self, err: Exception) -> None:
        """Say that the report could not be made, and how it can."""
        self.note_failure(err)
        self.say(
            f"warning: the report was not written: {edge.in_words(err)}; "
            f"`viralload report {self.folder.path}` makes it again"
        )

    def now(self) -> float:
        """Seconds on the run's clock."""
        return time.monotonic() - self.zero

    def _take_back(self, *, with_root: bool) -> None:
        """Delete the folder of a run that never was, and what it lies in if that is ours, too."""
        self.folder.remove()
        if with_root:
            with contextlib.suppress(OSError):
                self.options.out.rmdir()

    def start_server(self, settings: dict[str, Any]) -> None:
        """Start the server of these settings, and wait until it is ready."""
        self.event("server_starting", f"model {settings['model']}")
        with self.console.status(f"starting the server (model {settings['model']})") as status:
            self.console.print(f"server: starting, model {settings['model']}", highlight=False)

            def tick(waited_s: float) -> None:
                status.update(f"starting the server (model {settings['model']}): {waited_s:.0f} s")

            child, ready = server.start(settings, self.folder.log_path("server"), tick)
        self.children.append(child)
        self.event("server_ready", ready.url)
        self.console.print(
            f"server: ready at {ready.url}, {ready.replicas} replica(s) on {ready.device}",
            highlight=False,
        )
        target = msgspec.structs.replace(
            self.manifest.target,
            url=ready.url, model=ready.model, replicas=ready.replicas, device=ready.device,
        )  # fmt: skip
        self.update(target=target)

    def learn_target(self) -> Offer:
        """What the server says of itself, noted in the manifest."""
        options, target = self.options, self.manifest.target
        offer = self.offer or ask_models(parse(target.url), NONE, options.model)
        for said in told_of(options, offer):
            self.event("target", said)
            self.say(f"target: {said}")
        self.update(
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

    def start_sampler(self) -> None:
        """Start the sampler, and wait for its first reading."""
        command = sampler_command(self.folder, self.manifest, self.options.metrics_port)
        child = Child("sampler", command, self.folder.log_path("sampler"), {})
        self.children.append(child)
        child.first_line(timeout_s=30.0)
        if self.options.metrics_port is not None:
            url = f"http://127.0.0.1:{self.options.metrics_port}/metrics"
            self.console.print(f"metrics of GPUs and host: {url}", highlight=False)

    def note_start(self, start_s: float, duration_s: float) -> None:
        """Written at once: should this process be killed, the record has it."""
        if self.manifest.load_start_s is None:
            with contextlib.suppress(RunError):  # a full disk is seen by who watches
                self.update(load_start_s=start_s, load_end_s=start_s + duration_s)

    def note_failure(self, err: BaseException) -> None:
        """What ended the run, in run.json; of what nobody foresaw, the traceback in its log."""
        secrets = [os.environ.get(TOKEN_ENV), *self.options.credentials.secrets]
        foreseen = isinstance(err, ViralloadError | RunError | Interrupted | KeyboardInterrupt)
        if foreseen:
            words = edge.hide(edge.printable(str(err) or type(err).__name__), secrets)
        else:
            words = edge.in_words(err, secrets)
            edge.keep(err, self.folder.log_path("viralload"), secrets)
        self.finish(_reason(err), words)

    def finish(self, reason: EndReason, detail: str | None) -> None:
        """Note how the run ended; the first reason stays."""
        self.folder.free_reserve()
        if self.manifest.end_reason is None:
            end = datetime.now(UTC).isoformat(timespec="milliseconds")
            with contextlib.suppress(RunError, OSError):  # a full disk: keep what is there
                self.update(end_utc=end, end_reason=reason, end_detail=detail)

    def update(self, **changes: Any) -> None:
        """Change the manifest, here and in the folder."""
        self.manifest = msgspec.structs.replace(self.manifest, **changes)
        self.folder.write_manifest(self.manifest)

    def say(self, text: str) -> None:
        """Print a line as it is."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def event(self, kind: str, detail: str) -> None:
        """Note what happened now."""
        now = self.now()
        self.folder.append_event(RunEvent(t_s=now, kind=kind, source="runner", detail=detail))

    def _end_children(self) -> None:
        self.loading = True  # from here on, Ctrl-C twice kills and once is noted
        for child in reversed(self.children):
            child.end(SERVER_PATIENCE_S if child.name == "server" else SAMPLER_PATIENCE_S)
        kill_descendants()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        def handle(_number: int, _frame: object) -> None:
            self.interrupts += 1
            if self.interrupts > 1:
                kill_descendants(patience_s=2.0)
                self.finish(EndReason.INTERRUPTED, "stopped at once by the user")
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
def on_disk(path: Path) -> Iterator[None]:
    """Say which file cannot be written."""
    try:
        yield
    except OSError as err:
        raise ViralloadError(f"cannot write {path}: {edge.reason(err)}") from err


def _reason(err: BaseException) -> EndReason:
    return EndReason.INTERRUPTED if isinstance(err, Interrupted) else EndReason.ERROR
