"""Offered and sent, beside the charts of Locust's own web UI.

Adds two routes and a strip at the foot of its page. What is shown is read from the run folder,
like every other reader of it does, so a worker on another machine is in it, too:

    /viralload             a page that draws
    /viralload/load.json   what it draws: `series` below, each column a list
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from profiles.record.folder import RunFolder
from profiles.schema import LoadSample

MAX_POINTS = 600
SILENT_S = 3
STRIP = (
    '<iframe src="/viralload" title="offered and sent" style="position:fixed;left:0;right:0;'
    'bottom:0;width:100%;height:190px;border:0;border-top:1px solid #888;z-index:9999"></iframe>'
    '<div style="height:200px"></div>'
)


class Progress:
    """What was offered and sent so far, second by second.

    Args:
        folder: the run.
        duration_s: of the load.
    """

    def __init__(self, folder: RunFolder, duration_s: float) -> None:
        self._due_s = np.sort(np.load(folder.schedule_path, mmap_mode="r")["t_s"])
        self._load, self._events = folder.load(), folder.events()
        self._duration_s = duration_s
        self._start_s: float | None = None
        self._seconds: dict[int, dict[str, LoadSample]] = {}  # of the load -> by generator

    def series(self) -> dict[str, Any]:
        """Columns of equal length: `t_s` from the load's start, and cumulative requests.

        `offered` is what the schedule has due by then. The others are attempts, of all generators:
        `sent`, `done`, and `in_flight`. Long runs are thinned to MAX_POINTS.
        """
        self._look()
        latest: dict[str, LoadSample] = {}
        rows = []
        for second in self._told():
            told = self._seconds[second]
            latest.update(told)
            t_s = float(np.mean([s.t_s for s in told.values()])) - (self._start_s or 0.0)
            offered = int(np.searchsorted(self._due_s, t_s, side="right"))
            counts = [(one.sent, one.done, one.in_flight) for one in latest.values()]
            rows.append((round(t_s, 3), offered, *np.sum(counts, axis=0).tolist()))
        step = -(-len(rows) // MAX_POINTS) or 1
        kept = rows[::-1][::step][::-1]  # the newest is always there
        names = ("t_s", "offered", "sent", "done", "in_flight")
        columns = {name: [row[k] for row in kept] for k, name in enumerate(names)}
        return {
            **columns,
            "scheduled": len(self._due_s),
            "duration_s": self._duration_s,
            "generators": sorted(latest),
        }

    def _told(self) -> list[int]:
        """The seconds that every generator told of; of one long silent, no more is expected."""
        newest: dict[str, int] = {}
        for second, told in self._seconds.items():
            newest.update((name, max(second, newest.get(name, 0))) for name in told)
        end = max(min(newest.values()), max(newest.values()) - SILENT_S) if newest else 0
        return sorted(second for second in self._seconds if second <= end)

    def _look(self) -> None:
        for event in self._events.read():
            if event.kind == "load_start":
                self._start_s = event.t_s
        if self._start_s is None:
            return
        for sample in self._load.read():
            second = int(max(sample.t_s - self._start_s, 0.0))
            self._seconds.setdefault(second, {})[sample.generator] = sample


def add(app: Any, folder: RunFolder, duration_s: float) -> None:
    """Add routes and strip to Locust's web UI.

    Args:
        app: its Flask application.
        folder: the run.
        duration_s: of the load.
    """
    progress = Progress(folder, duration_s)
    page = (Path(__file__).with_name("web_ui.html")).read_text(encoding="utf-8")

    def load() -> Any:
        return app.response_class(json.dumps(progress.series()), mimetype="application/json")

    def draw() -> Any:
        return app.response_class(page, mimetype="text/html")

    def strip(response: Any) -> Any:
        if response.mimetype == "text/html" and not response.direct_passthrough:
            text = response.get_data(as_text=True)
            if 'id="root"' in text:  # Locust's own page
                response.set_data(text.replace("</body>", f"{STRIP}</body>"))
        return response

    app.add_url_rule("/viralload/load.json", "viralload_load", load)
    app.add_url_rule("/viralload", "viralload_page", draw)
    app.after_request(strip)
