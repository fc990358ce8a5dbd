"""The live view: one more reader of the run folder. Pure counting, and drawing for a terminal."""

import math
import time
from collections import Counter, deque
from collections.abc import Callable

import msgspec
import numpy as np
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from loadtest.driver.live_devices import Devices
from profiles.record.folder import RunFolder
from profiles.schema import Outcome

RECENT_S = 15.0  # percentiles and rates are over the last so many seconds
PLAIN_EVERY_S = 5.0
NARROW = 60  # columns, below which the table's rows would be cut


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What is shown at one instant. Counts are of attempts, rates of images."""

    t_s: float  # since load start; negative before
    duration_s: float
    due: int
    sent: int
    done: int
    in_flight: int
    outcomes: dict[str, int]
    ok_images_per_s: float
    p50_s: float | None
    p95_s: float | None
    devices: list[str]  # a line each
    devices_short: str = ""  # all of them, for a plain line
    news: list[str] = []  # what befell the GPUs since the last look


class Watcher:
    """Reads what came since the last look and keeps the counts.

    Args:
        folder: the run.
        duration_s: of the load.
        clock: seconds on the run's clock.
    """

    def __init__(self, folder: RunFolder, duration_s: float, clock: Callable[[], float]) -> None:
        self._requests, self._load = folder.requests(), folder.load()
        self._gpu, self._host, self._events = folder.gpu(), folder.host(), folder.events()
        self._duration_s = duration_s
        self._clock = clock
        self._outcomes: Counter[str] = Counter()
        self._recent: deque[tuple[float, float, int]] = deque()  # done, latency, images
        self._generators: dict[str, tuple[int, int, int]] = {}
        self._devices = Devices()
        self.load_start_s: float | None = None
        self.generator_lost: str | None = None  # as Locust's master says it
        self._unsent = 0

    @property
    def unsent(self) -> int:
        """Requests of the load recorded as never sent, so far; beyond its end none is due."""
        return self._unsent

    def look(self) -> View:
        """The run now."""
        news: list[str] = []
        for event in self._events.read():
            if event.kind == "load_start":
                self.load_start_s = event.t_s
            if event.kind == "generator_died" and event.source != "runner":
                self.generator_lost = event.detail or None
            news += self._devices.befell(event, self.load_start_s)
        for record in self._requests.read():
            self._outcomes[record.outcome] += 1
            if record.outcome is Outcome.UNSENT:
                end_s = (self.load_start_s or math.inf) + self._duration_s
                self._unsent += record.scheduled_s < end_s
            if record.outcome is Outcome.OK and record.done_s is not None:
                latency_s = record.done_s - record.scheduled_s
                self._recent.append((record.done_s, latency_s, record.images))
        for line in self._load.read():
            self._generators[line.generator] = (line.due, line.sent, line.in_flight)
        self._devices.readings(self._gpu.read(), self._host.read())
        now = self._clock()
        while self._recent and self._recent[0][0] < now - RECENT_S:
            self._recent.popleft()
        latencies = np.array([latency for _, latency, _ in self._recent])
        due, sent, in_flight = np.sum([(0, 0, 0), *self._generators.values()], axis=0).tolist()
        since_s = now - self.load_start_s if self.load_start_s is not None else -1.0
        window_s = min(RECENT_S, max(since_s, 1.0))
        return View(
            t_s=since_s,
            duration_s=self._duration_s,
            due=due,
            sent=sent,
            done=sum(self._outcomes.values()) - self._outcomes[Outcome.UNSENT],
            in_flight=in_flight,
            outcomes={o.value: self._outcomes[o] for o in Outcome if self._outcomes[o]},
            ok_images_per_s=sum(images for _, _, images in self._recent) / window_s,
            p50_s=float(np.quantile(latencies, 0.5)) if latencies.size else None,
            p95_s=float(np.quantile(latencies, 0.95)) if latencies.size else None,
            devices=self._devices.lines(now),
            devices_short=self._devices.short(now),
            news=news,
        )


class Display:
    """Shows views on stderr: a block redrawn in place on a terminal, plain lines elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        # A dumb terminal (TERM=dumb) can redraw nothing: rich would show nothing at all.
        redraws = console.is_terminal and not console.is_dumb_terminal
        self._live = Live(console=console, transient=True) if redraws else None
        self._last_line_s = -1e9

    def __enter__(self) -> "Display":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, view: View) -> None:
        """Draw one view; plain lines come at most every PLAIN_EVERY_S, what befell GPUs at once."""
        for news in view.news:
            self._console.print(news, style="bold red", highlight=False, markup=False)
        if self._live:
            self._live.update(block(view, self._console.width))
        elif time.monotonic() - self._last_line_s >= PLAIN_EVERY_S:
            self._last_line_s = time.monotonic()
            self._console.print(line(view), highlight=False, soft_wrap=True)


def line(view: View) -> str:
    """One plain line."""
    if view.t_s < 0:
        return "load: about to start"
    outcomes = " ".join(f"{name} {count}" for name, count in view.outcomes.items()) or "none yet"
    return (
        f"load: {view.t_s:5.1f}/{view.duration_s:.0f} s | sent {view.sent} of {view.due} due, "
        f"{view.in_flight} in flight | {view.ok_images_per_s:.2f} images/s | "
        f"p50 {_seconds(view.p50_s)} p95 {_seconds(view.p95_s)} | {outcomes} | "
        + (view.devices_short or "; ".join(view.devices))
    )


def block(view: View, columns: int = 80) -> RenderableType:
    """The block that is redrawn in place, in so many columns."""
    if columns < NARROW:
        return _narrow(view, columns)
    share = min(max(view.t_s / view.duration_s, 0.0), 1.0)
    width = 40
    filled = int(share * width)
    bar = Text.assemble(
        ("█" * filled, "cyan"),
        ("░" * (width - filled), "dim"),
        f" {max(view.t_s, 0):.0f} of "
        f"{view.duration_s:.0f} s" + (", draining" if view.t_s > view.duration_s else ""),
    )
    table = Table.grid(padding=(0, 3))
    table.add_row(
        "requests",
        f"due {view.due}",
        f"sent {view.sent}",
        f"done {view.done}",
        f"in flight {view.in_flight}",
    )
    table.add_row(
        f"last {RECENT_S:.0f} s",
        f"{view.ok_images_per_s:.2f} images/s",
        f"p50 {_seconds(view.p50_s)}",
        f"p95 {_seconds(view.p95_s)}",
    )
    table.add_row(
        "outcomes",
        *(
            Text(f"{name} {count}", "green" if name == Outcome.OK else "yellow")
            for name, count in view.outcomes.items()
        ),
    )
    return Group(bar, table, *(Text(device, _style(device)) for device in view.devices))


def _style(device: str) -> str:
    return "bold red" if " LOST " in device or "not read" in device else "dim"


def _narrow(view: View, columns: int) -> RenderableType:
    """The block where a row of it does not fit: one thing after the other."""
    share = min(max(view.t_s / view.duration_s, 0.0), 1.0)
    width = max(columns - 14, 8)
    filled = int(share * width)
    outcomes = ", ".join(f"{name} {count}" for name, count in view.outcomes.items()) or "none yet"
    rows = [
        f"sent {view.sent} of {view.due} due",
        f"done {view.done}, in flight {view.in_flight}",
        f"{view.ok_images_per_s:.2f} images/s",
        f"p50 {_seconds(view.p50_s)}, p95 {_seconds(view.p95_s)}",
        outcomes,
        *view.devices[:4],
    ]
    bar = Text.assemble(
        ("█" * filled, "cyan"),
        ("░" * (width - filled), "dim"),
        f" {max(view.t_s, 0):.0f}/{view.duration_s:.0f} s",
    )
    return Group(bar, *(Text(row, overflow="fold") for row in rows))


def _seconds(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f} s"
