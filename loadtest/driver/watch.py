"""Watching a run while the load is on: who died, who is ill, when is it over."""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from rich.console import Console

from loadtest.client.target import is_healthy
from loadtest.driver.live import Display, Watcher
from loadtest.system.processes import Child
from profiles.record.folder import RunFolder
from profiles.schema import EndReason, RunEvent

LOOK_EVERY_S = 0.25
HEALTH_EVERY_S = 1.0
HEALTH_TIMEOUT_S = 2.0
UNREACHABLE_S = 15.0
MIN_BYTES = 4096  # of room on the disk: a block

DEATHS = {
    "server": (EndReason.SERVER_DIED, "server_died"),
    "sampler": (EndReason.SAMPLER_DIED, "sampler_died"),
    "load generator": (EndReason.GENERATOR_DIED, "generator_died"),
}


def watch(
    folder: RunFolder,
    children: Mapping[str, Child],
    duration_s: float,
    *,
    allowed_s: float,
    server_url: str | None,
    clock: Callable[[], float],
    interrupted: Callable[[], bool],
    console: Console,
    on_start: Callable[[float], None] = lambda _start_s: None,
    web: bool = False,
) -> tuple[EndReason, str | None, float | None]:
    """Show the run until the load generator has ended; why it ended, in words, and its start.

    Args:
        folder: the run.
        children: by name; "load generator" is the one whose end is the run's.
        duration_s: of the load.
        allowed_s: after so long the generator is taken for stuck and killed.
        server_url: whose /health is watched; None for a server of somebody else's.
        clock: seconds on the run's clock.
        interrupted: whether the user wants the run to end.
        console: for the live view.
        on_start: told once when the load begins, on the run's clock.
        web: whether Locust's web UI is on, where a user may stop the load.
    """
    generator = children["load generator"]
    watcher = Watcher(folder, duration_s, clock)
    health = _Health(folder, server_url, clock) if server_url else None
    reason: EndReason | None = None
    detail: str | None = None
    begin_s, has_begun = clock(), False
    with Display(console) as display:
        while generator.exit_code() is None:
            time.sleep(LOOK_EVERY_S)
            display.show(watcher.look())
            if watcher.load_start_s is not None and not has_begun:
                has_begun = True
                on_start(watcher.load_start_s)
            if reason is None:
                reason, detail = _look_at(
                    children, health, interrupted, clock() - begin_s, allowed_s
                )
                if reason is not None:
                    _note(folder, clock(), reason, detail)
                    console.print(
                        f"ending the run: {detail}", highlight=False, markup=False, soft_wrap=True
                    )
                    generator.ask_to_end()
            elif clock() - begin_s > allowed_s + 60:
                generator.process.kill()
    if health:
        health.stop()
    watcher.look()
    if reason is None:
        full = _no_room(folder.path)
        reason, detail = _ended_itself(generator, watcher.unsent, watcher.generator_lost, web=web)
        if full is not None and reason is not EndReason.COMPLETED:
            reason, detail = EndReason.ERROR, full
        if reason is not EndReason.COMPLETED:
            _note(folder, clock(), reason, detail)
    return reason, detail, watcher.load_start_s


def _look_at(
    children: Mapping[str, Child],
    health: "_Health | None",
    interrupted: Callable[[], bool],
    waited_s: float,
    allowed_s: float,
) -> tuple[EndReason | None, str | None]:
    reason, detail = look_at_children(children, lambda: False)
    if reason is not None and reason is not EndReason.GENERATOR_DIED:
        return reason, detail
    if health and health.unreachable_s > UNREACHABLE_S:
        return EndReason.SERVER_DIED, f"the server did not answer for {UNREACHABLE_S:.0f} s"
    if interrupted():
        return EndReason.INTERRUPTED, "stopped by the user; Ctrl-C again leaves at once"
    if waited_s > allowed_s:
        return EndReason.GENERATOR_DIED, f"the load generator did not end in {allowed_s:.0f} s"
    return None, None


def look_at_children(
    children: Mapping[str, Child], interrupted: Callable[[], bool]
) -> tuple[EndReason | None, str | None]:
    """Why the run must end, if it must: no room, a child that has died, or the user wants it."""
    for place in {child.log.parent for child in children.values()}:  # the run folder
        full = _no_room(place)
        if full is not None:
            return EndReason.ERROR, full
    for name, child in children.items():
        code = child.exit_code()
        if code is not None:
            return DEATHS[name][0], f"the {name} {_how(code)}: {child.last_words()}"
    if interrupted():
        return EndReason.INTERRUPTED, "stopped by the user; Ctrl-C again leaves at once"
    return None, None


def _no_room(folder: Path) -> str | None:
    """Why nothing more can be recorded; None if it can."""
    try:
        disk = os.statvfs(folder)
    except OSError:
        return f"the run folder {folder} is gone: it was moved or deleted under the load"
    if disk.f_bavail * disk.f_frsize >= MIN_BYTES or not disk.f_blocks:
        return None
    return (
        f"the disk of {folder} is full, and nothing more can be recorded: free some room "
        "there, or name another place with --out DIR"
    )


def _ended_itself(
    generator: Child, unsent: int, lost: str | None, *, web: bool
) -> tuple[EndReason, str | None]:
    code = generator.exit_code()
    if lost is not None:  # and why, where it could still say so
        why = generator.last_error()
        is_more = why is not None and why not in lost
        return EndReason.GENERATOR_DIED, f"{lost}: {why}" if is_more else lost
    if code == 0 and unsent and web:
        return EndReason.INTERRUPTED, "stopped from Locust's web UI"
    if code == 0 and unsent:
        said = f"the load generator ended early: {generator.last_words()}"
        return EndReason.GENERATOR_DIED, said
    if code == 0:
        return EndReason.COMPLETED, None
    how = _how(code if code is not None else 0)
    return EndReason.GENERATOR_DIED, f"the load generator {how}: {generator.last_words()}"


def _how(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"


def _note(folder: RunFolder, t_s: float, reason: EndReason, detail: str | None) -> None:
    kind = next((kind for r, kind in DEATHS.values() if r is reason), reason.value)
    with contextlib.suppress(OSError):  # a full disk
        folder.append_event(RunEvent(t_s=t_s, kind=kind, source="runner", detail=detail or ""))


def unreachable(before_s: float, answer: bool | None, took_s: float) -> float:
    """For how long a server has not answered, seconds, after it was asked once more. Pure.

    A question counts for as long as it may take and no longer: should this process have stood still
    meanwhile (Ctrl-Z, a debugger, a freezer), that was not the server's silence.

    Args:
        before_s: For how long it had not answered.
        answer: What it said; None: nothing.
        took_s: From the question until then.
    """
    if answer is not None:
        return 0.0
    return before_s + HEALTH_EVERY_S + min(took_s, HEALTH_TIMEOUT_S)


class _Health:
    """Asks /health once a second, in a thread of its own, and notes every change."""

    def __init__(self, folder: RunFolder, url: str, clock: Callable[[], float]) -> None:
        self._folder, self._url, self._clock = folder, url, clock
        self._stop = threading.Event()
        self.unreachable_s = 0.0  # since /health last answered anything
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join(5.0)

    def _ask(self) -> None:
        well = True
        while not self._stop.wait(HEALTH_EVERY_S):
            asked_s = self._clock()
            now = is_healthy(self._url, HEALTH_TIMEOUT_S)
            if self._stop.is_set():
                continue
            self.unreachable_s = unreachable(self.unreachable_s, now, self._clock() - asked_s)
            if now is not None and now != well:
                kind = "server_healthy" if now else "server_unhealthy"
                detail = "" if now else "not every replica is up"
                event = RunEvent(t_s=self._clock(), kind=kind, source="runner", detail=detail)
                self._folder.append_event(event)
                well = now
