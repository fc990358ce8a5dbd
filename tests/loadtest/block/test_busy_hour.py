"""A scenario's busiest hour as the arrivals of a cell, and `viralload capacity --curve`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadtest.block.busy_hour import HOUR_S, busy_hour, draws
from loadtest.cli.main import main
from loadtest.plan.source import load_source
from loadtest.scenario.scenario import parse_scenario, scenario_text
from profiles.requests.burstiness import Arrivals
from tests.profiles.steady import full_run

BURSTS = """
name = "bursts"
title = "steady on average, in bursts"
[curve]
kind = "constant"
rate_per_s = 1.0
duration = "2h"
[load]
peak = 1.0
arrivals = "agent-like"
compress_to = "1min"
[slo]
latency = "10s"
"""


def of(name_or_path: str, full_per_s: float = 16.0, seed: int = 1) -> Arrivals:
    text, folder = scenario_text(name_or_path)
    scenario = parse_scenario(text)
    return busy_hour(scenario, load_source(scenario, folder), full_per_s, seed)


@pytest.fixture
def bursts(tmp_path: Path) -> str:
    path = tmp_path / "bursts.toml"
    path.write_text(BURSTS)
    return str(path)


def test_a_flash_crowd_peaks_above_what_the_cell_does_and_is_in_its_own_time() -> None:
    found = of("flash-crowd")
    assert found.duration_s == HOUR_S  # though a run of it is compressed to 2 min
    assert found.peak_per_s == pytest.approx(1.25 * 16.0, rel=0.02)
    mean = found.times_s.size / found.duration_s
    assert 1.8 < found.peak_per_s / mean < 2.4
    assert found.dispersion == pytest.approx(1.0, abs=0.5)
    assert found.times_s.min() >= 0.0
    assert (np.diff(found.times_s) >= 0.0).all()


def test_the_busiest_hour_of_a_week_holds_its_peak() -> None:
    found = of("ghibli-week")
    assert found.peak_per_s == pytest.approx(1.25 * 16.0, rel=0.02)
    assert found.times_s.size / found.duration_s == pytest.approx(found.peak_per_s, rel=0.05)


def test_bursts_are_the_scenario_s_own_and_each_draw_differs(bursts: str) -> None:
    found = of(bursts)
    assert found.bursty
    assert found.dispersion is not None
    assert 30.0 < found.dispersion < 600.0  # towards 169
    text, folder = scenario_text(bursts)
    scenario = parse_scenario(text)
    drawn = draws(scenario, load_source(scenario, folder), 16.0)
    assert len({one.times_s.size for one in drawn}) == len(drawn) == 8


def test_a_large_cell_is_shown_a_shorter_stretch() -> None:
    found = of("flash-crowd", full_per_s=4000.0)
    assert found.duration_s == pytest.approx(200_000 / 5000.0)
    assert "the busiest 40 s" in found.told


def test_a_trace_keeps_its_instants(tmp_path: Path) -> None:
    times = np.sort(np.random.default_rng(0).uniform(0.0, 7200.0, 3000))
    (tmp_path / "t.csv").write_text("t_s\n" + "\n".join(f"{t:.4f}" for t in times))
    path = tmp_path / "trace.toml"
    path.write_text(
        'name = "trace"\ntitle = "a trace"\n[curve]\nfile = "t.csv"\nkind = "trace"\n'
        '[load]\npeak = 1.0\n[slo]\nlatency = "10s"\n'
    )
    found = of(str(path), full_per_s=0.2)  # peak of 0.25/s: thinned
    assert found.duration_s == HOUR_S
    assert found.peak_per_s == pytest.approx(0.25)
    assert 0 < found.times_s.size < times.size

    def apart_s(begin_s: float) -> float:
        """How far the drawn instants are from recorded ones, were the hour to begin here."""
        at = found.times_s + begin_s
        next_ = np.clip(np.searchsorted(times, at), 1, times.size - 1)
        return float(np.minimum(abs(times[next_] - at), abs(times[next_ - 1] - at)).max())

    assert min(apart_s(begin_s) for begin_s in times - found.times_s[0]) < 1e-3


def capacity(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Any, str]:
    code = main(["capacity", *words, "--json", "--no-ledger"])
    captured = capsys.readouterr()
    return code, json.loads(captured.out) if code == 0 else None, captured.err


def test_bursts_take_off_what_a_steady_rate_bears(
    bursts: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, plain, _ = capacity(capsys, "--published", "sdxl-h200")
    _, asked, _ = capacity(capsys, "--published", "sdxl-h200", "--curve", bursts)
    rho = {one["name"]: one for one in asked["capacity"]["factors"]}["admissible utilization"]
    assert 0.3 < rho["value"] < 0.95
    assert rho["stand"] == "assumed"
    assert rho["source"].startswith("simulated, not measured: the busiest 3,600 s of bursts")
    ratio = asked["capacity"]["block_images_per_s"] / plain["capacity"]["block_images_per_s"]
    assert ratio == pytest.approx(rho["value"])


def test_how_arrivals_come_may_be_asked(bursts: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--published", "sdxl-h200", "--curve")
    _, own, _ = capacity(capsys, *words, bursts)
    _, even, _ = capacity(capsys, *words, bursts, "--arrivals", "even")
    assert even["capacity"]["block_images_per_s"] > 1.1 * own["capacity"]["block_images_per_s"]
    code, _, err = capacity(capsys, *words[:2], "--arrivals", "even")
    assert (code, "name a scenario there" in err) == (2, True)
    code, _, err = capacity(capsys, *words, bursts, "--arrivals", "trace")
    assert (code, "Traceback" in err) == (2, False)


def test_the_curve_s_own_event_is_what_the_peak_is_of(capsys: pytest.CaptureFixture[str]) -> None:
    _, told, _ = capacity(capsys, "--published", "sdxl-h200", "--curve", "ghibli-hour")
    assert told["capacity"]["gpus_for_peak"] > 0


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ("images = 4", "asks for 4 images per request"),
        ('size = "1024x1024"', "1024x1024"),
    ],
)
def test_a_block_of_other_requests_than_were_measured_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], request_: str, said: str
) -> None:
    run = str(full_run(tmp_path, "a").path)  # 1 image of 512 x 512
    path = tmp_path / "other.toml"
    path.write_text(f"{BURSTS}[request]\n{request_}\n")
    code, _, err = capacity(capsys, run, "--curve", str(path))
    assert code == 2
    assert said in err
    assert "measured 1 image of 512 × 512 a request" in err
    path.write_text(BURSTS + '[request]\nsize = "512x512"\n')
    assert capacity(capsys, run, "--curve", str(path))[0] == 0


def test_a_curve_that_is_none_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = capacity(capsys, "--published", "sdxl-h200", "--curve", "flash-crwd")
    assert code == 2
    assert "flash-crowd" in err
    assert "Traceback" not in err
