"""The charts: SVG by themselves, and the whole report in a real browser."""

import re
import shutil
import subprocess
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from xml.etree import ElementTree

import numpy as np
import pytest

from profiles.report.charts.svg import (
    LEFT,
    MEDIUM,
    NARROW,
    WIDE,
    Axis,
    Band,
    Layer,
    Note,
    Rule,
    nice_ceiling,
    svg,
)
from profiles.report.html.run import write_report
from tests.profiles.viral import viral_run

NAN = np.nan
X = np.array([0.0, 1.0, 2.0, 3.0])


def drawn(*layers: Layer, rules: list[Rule] | None = None, size: tuple[int, int] = NARROW) -> str:
    axes = Axis("seconds", 0.0, 3.0), Axis(high=4.0)
    return svg(list(layers), *axes, about="a <test> & more", rules=rules, size=size)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.0, 1.0), (NAN, 1.0), (1.0, 1.0), (9.01, 10.0), (0.13, 0.15), (104.0, 120.0), (6.1, 7.0)],
)
def test_nice_ceiling(value: float, expected: float) -> None:
    assert nice_ceiling(value) == pytest.approx(expected)


def test_an_svg_is_well_formed_named_and_sized_by_the_page() -> None:
    root = ElementTree.fromstring(drawn(Layer("line", "c-ok", X, X)).replace("xlink:", ""))
    assert root.attrib["aria-label"] == "a <test> & more"
    assert set(root.attrib) == {"viewBox", "role", "aria-label"}


@pytest.mark.parametrize("size", [NARROW, MEDIUM, WIDE])
def test_a_picture_takes_the_room_it_was_given(size: tuple[int, int]) -> None:
    box = re.search(
        r'viewBox="\S+ 0 ([\d.]+) ([\d.]+)"', drawn(Layer("line", "c-ok", X, X), size=size)
    )
    assert box is not None
    # labels of other heights move the edge by a few pixels
    assert float(box[1]) == size[0]
    assert float(box[2]) == pytest.approx(size[1], abs=20)


def path_of(text: str, colour: str) -> str:
    [path] = re.findall(rf'd="([^"]*)"[^>]*(?:stroke|fill)="var\(--{colour}\)"', text)
    return str(path)


def test_unknown_breaks_a_line() -> None:
    whole = path_of(drawn(Layer("line", "c-ok", X, np.array([1.0, 2.0, 3.0, 4.0]))), "c-ok")
    gap = path_of(drawn(Layer("line", "c-ok", X, np.array([1.0, 2.0, NAN, 4.0]))), "c-ok")
    assert whole.count("M") == 1
    assert gap.count("M") == 2


def test_rules_stand_where_they_should() -> None:
    # The plot is 392 - 44 = 348 px wide and 210 - 40 = 170 px high: y = 3 of 4 is a quarter down,
    # x = 1 of 3 a third across.
    text = drawn(Layer("line", "c-ok", X, X), rules=[Rule(3.0, "c-slo"), Rule(1.0, "ink-3", "x")])
    [level] = re.findall(r'<line transform="translate\([\d.]+,([\d.]+)\)"[^>]*c-slo', text)
    [upright] = re.findall(r'<line transform="translate\(([\d.]+),[\d.]+\)"[^>]*ink-3', text)
    assert float(level) == pytest.approx(42.5, abs=0.6)
    assert float(upright) == pytest.approx(116.0, abs=0.6)


def test_bands_and_notes_stand_on_the_axis() -> None:
    # The plot is 348 px wide: 1 of 3 is 116 px across, 2 of 3 is 232, the middle between is 174.
    axes = Axis("seconds", 0.0, 3.0), Axis("images/s", high=4.0)
    text = svg(
        [Layer("line", "c-ok", X, X)],
        *axes,
        about="test",
        bands=[Band(1.0, 2.0, "c-phase", "peak")],
        notes=[Note(2.0, "GPU 1 lost", "c-fault", ends=True)],
    )
    [shade] = re.findall(r'd="M([\d.]+),0h([\d.]+)[^"]*"[^>]*c-phase', text)
    assert [float(part) for part in shade] == pytest.approx([116.0, 116.0], abs=0.6)
    [(label, x)] = re.findall(
        r'text-anchor="(\w+)" transform="translate\(([\d.]+),[^>]*>GPU 1', text
    )
    assert label == "end"
    assert float(x) == pytest.approx(232.0, abs=0.6)
    [middle] = re.findall(r'transform="translate\(([\d.]+),[^>]*>peak', text)
    assert float(middle) == pytest.approx(174.0, abs=0.6)
    assert ">images/s<" in text


def test_plots_have_their_left_edge_at_one_place_however_wide_their_numbers() -> None:
    lefts = []
    for high in (4.0, 4000.0, 4e7):
        text = svg([Layer("line", "c-ok", X, X)], Axis("", 0.0, 3.0), Axis(high=high), about="test")
        box = re.search(r'viewBox="(\S+) 0', text)
        origin = re.search(r"translate\(([\d.]+),", text)
        assert box is not None
        assert origin is not None
        lefts.append(float(origin[1]) - float(box[1]))
    assert lefts == [LEFT] * 3


# -- in a browser ----------------------------------------------------------------------------

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--virtual-time-budget=5000",
    "--dump-dom",
)

PROBE = """
<script>
addEventListener("load", () => {
  const frame = document.querySelector("iframe").contentDocument;
  const told = [...frame.querySelectorAll(".plot svg")].map(svg => {
    const box = svg.getBoundingClientRect();
    return `${svg.getAttribute("aria-label")}|${box.width}|${box.height}`;
  });
  told.push(`page|${frame.documentElement.scrollWidth}|${frame.documentElement.clientWidth}`);
  document.body.innerText = told.join("\\n");
});
</script>
"""


class Served(SimpleHTTPRequestHandler):
    """Serves a folder and writes down what was asked for."""

    asked: list[str]

    def __init__(self, *args: object, asked: list[str], directory: str) -> None:
        self.asked = asked
        super().__init__(*args, directory=directory)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, *args: object) -> None:
        """Nothing."""


def browse(folder: Path, name: str, profile: Path) -> tuple[str, str, list[str]]:
    """A page's DOM, the browser's console, and the paths it asked for."""
    asked: list[str] = []
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Served, asked=asked, directory=str(folder))
    )
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        done = subprocess.run(
            [
                str(CHROMIUM),
                *FLAGS,
                f"--user-data-dir={profile}",
                f"http://127.0.0.1:{server.server_address[1]}/{name}",
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    return done.stdout, done.stderr, asked


@pytest.mark.e2e
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
@pytest.mark.parametrize("width_px", [390, 800, 1280])
def test_a_browser_shows_every_chart_and_asks_for_nothing(width_px: int, tmp_path: Path) -> None:
    folder = viral_run(tmp_path / "runs", duration_s=30.0, peak_images_per_s=9.0)
    write_report(folder)
    frame = f'<iframe src="report.html" style="width: {width_px}px; height: 900px"></iframe>'
    (folder.path / "probe.html").write_text(f"<body>{frame}{PROBE}</body>")

    dom, console, asked = browse(folder.path, "probe.html", tmp_path / "profile")
    told = [line.split("|") for line in dom.replace("<br>", "\n").splitlines() if "|" in line]
    *charts, page = told
    boxes = [(float(width), float(height)) for _, width, height in charts]
    shown = [box for box in boxes if box != (0.0, 0.0)]
    assert (len(boxes), len(shown)) == (22, 16)  # of three sizes one shows
    assert all(width > 250 and height > 80 for width, height in shown)
    page_width, visible_width = (float(part.split("<")[0]) for part in page[1:])
    assert page_width <= visible_width  # nothing sticks out sideways
    assert "CONSOLE" not in console
    assert [path for path in asked if path != "/favicon.ico"] == ["/probe.html", "/report.html"]
