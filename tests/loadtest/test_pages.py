"""The pages beside a run's report: of what they are, and how they look at 400 and 1200 px."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from loadtest.cli.main import main
from profiles.fleet.simulate import simulate, steady
from profiles.report.html import fleet as fleet_report
from profiles.report.html import search as search_page
from profiles.schema import FindResult, FindVerdict, FindWindow
from tests.profiles.fleet.test_simulate import fleet
from tests.profiles.report.charts.test_svg import CHROMIUM, PROBE, browse
from tests.profiles.steady import full_run
from tests.profiles.synthetic import gpu_info, manifest


def found() -> FindResult:
    """A search that narrowed to 17.6 images/s."""
    windows = [
        FindWindow(
            index=k,
            rate_per_s=rate,
            start_s=30.0 * k,
            duration_s=30.0,
            short=k < 3,
            warm_up_s=3.0,
            requests=round(27 * rate),
            missed=k if rate < 17.6 else round(3 * rate),  # of 27 a rate: 11%, where 5% may
            completed_images_per_s=rate,
            latency_p50_s=2.0 / (20.0 - rate),
            latency_p95_s=6.0 / (20.0 - rate),
            latency_p99_s=9.0 / (20.0 - rate),
            lateness_p99_s=0.002,
            thrown_out="the generator was late: p99 130 ms, bound 100 ms" if k == 3 else None,
        )
        for k, rate in enumerate((2.0, 4.0, 8.0, 16.0, 17.0, 18.0, 18.5, 19.0))
    ]
    return FindResult(
        run_id="20250331T170000Z-find",
        scenario="find",
        verdict=FindVerdict.FOUND,
        valid=True,
        reasons=[],
        slo="p(95) < 5s",
        limit_s=5.0,
        allowed_share=0.05,
        precision=0.05,
        half_width=0.04,
        images_per_s=17.6,
        low_images_per_s=16.9,
        high_images_per_s=18.3,
        windows=windows,
    )


def find_page(_folder: Path) -> str:
    about = manifest(None, gpus=[gpu_info(k) for k in range(8)])
    return search_page.render(found(), about)


def test_windows_that_missed_the_slo_are_coloured(tmp_path: Path) -> None:
    page = find_page(tmp_path)
    slow = [each for each in found().windows if search_page.missed(each, found())]
    assert 0 < len(slow) < len(found().windows)
    assert page.count('<tr class="missed">') == len(slow)
    assert "p95 of a window that missed the SLO" in page


def fleet_page(_folder: Path) -> str:
    played = simulate(fleet(), steady(9.0, 300.0), seed=1, slo_s=5.0)
    left = ["load.drain: answers are waited for 10 min after the load, whatever the scenario says"]
    played = msgspec.structs.replace(played, left_out=left, assumptions=["assumed: all of it."])
    return fleet_report.render(played, None, [("Made", "2025-03-31 17:00 UTC")])


def capacity_page(folder: Path) -> str:
    run = full_run(folder, "a")
    page = folder / "whatif.html"
    words = ["capacity", str(run.path), "--slo", "p(95) < 30s", "--no-ledger", "--html", str(page)]
    assert main(words) == 0
    return page.read_text()


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (find_page, ["Throughput against latency", '<span class="unit">seconds</span>', "H200"]),
        (fleet_page, ["whatever the scenario says", "2025-03-31 17:00 UTC", "About this page"]),
        (capacity_page, ["sd15 on NVIDIA H200", "viralload capacity", "--slo", " UTC"]),
    ],
)
def test_a_page_says_of_what_it_is_and_draws_for_three_widths(
    made: Callable[[Path], str], words: list[str], tmp_path: Path
) -> None:
    html = made(tmp_path)
    assert all(word in html for word in words)
    for size in ("wide", "medium", "narrow"):
        assert f"only-{size}" in html
    assert "@media print" in html


@pytest.mark.e2e
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
@pytest.mark.parametrize("width_px", [400, 1200])
@pytest.mark.parametrize("made", [find_page, fleet_page, capacity_page])
def test_a_browser_shows_every_page_without_anything_sticking_out(
    made: Callable[[Path], str], width_px: int, tmp_path: Path
) -> None:
    (tmp_path / "report.html").write_text(made(tmp_path / "runs"))
    frame = f'<iframe src="report.html" style="width: {width_px}px; height: 900px"></iframe>'
    (tmp_path / "probe.html").write_text(f"<body>{frame}{PROBE}</body>")
    dom, console, _ = browse(tmp_path, "probe.html", tmp_path / "profile")
    told = [line.split("|") for line in dom.replace("<br>", "\n").splitlines() if "|" in line]
    *charts, page = told
    shown = [(float(w), float(h)) for _, w, h in charts if (float(w), float(h)) != (0.0, 0.0)]
    assert shown
    assert all(width > 250 and height > 80 for width, height in shown)
    page_width, visible_width = (float(part.split("<")[0]) for part in page[1:])
    assert page_width <= visible_width
    assert "CONSOLE" not in console
