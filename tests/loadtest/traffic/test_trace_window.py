"""A stretch of a trace, and that what is sent of one is told beside what the file holds."""

from pathlib import Path

import numpy as np
import pytest

from loadtest.errors import ConfigurationError, ScenarioError, TraceError
from loadtest.plan.plan import Node, make_plan
from loadtest.plan.source import load_source
from loadtest.plan.text import plan_text
from loadtest.scenario.scenario import Scenario, parse_scenario
from loadtest.traffic.curve import Bins
from loadtest.traffic.recorded import MIN_IN_PEAK, Arrivals, busiest_part
from loadtest.traffic.statistics import loses_bursts, of_arrivals, of_bins, peak_of_bins
from loadtest.traffic.trace_window import Stretch, cut, parse_stretch
from profiles.report.text.tables import traffic_rows
from profiles.schema import LoadPlan

SCENARIO = """
name = "t"
title = "T"
[curve]
kind = "trace"
file = "t.csv"
{curve}
[load]
{load}
"""


@pytest.mark.parametrize(
    ("text", "length_s", "begin_s"),
    [
        ("10min@peak", 600.0, None),
        ("90s@02:30:00", 90.0, 9000.0),
        ("1h@0:05", 3600.0, 300.0),
        ("5 min @ 2.5h", 300.0, 9000.0),
        ("30@100:00:00.5", 30.0, 360_000.5),
    ],
)
def test_a_stretch_is_a_length_and_a_place(
    text: str, length_s: float, begin_s: float | None
) -> None:
    assert parse_stretch(text) == Stretch(length_s, begin_s)


@pytest.mark.parametrize("text", ["10min", "10min@", "@peak", "0@peak", "1h@noon", "1h@2:99"])
def test_what_is_no_stretch_is_refused(text: str) -> None:
    with pytest.raises(ScenarioError, match=r'curve.window: expected a length and .*"10min@peak"'):
        parse_scenario(SCENARIO.format(curve=f'window = "{text}"', load=""))


def test_arrivals_are_cut_where_most_are_or_where_it_is_said() -> None:
    steps = np.arange(6, dtype=np.uint16)
    trace = Arrivals(np.array([0.0, 10.0, 20.0, 21.0, 22.0, 60.0]), {"steps": steps})
    busiest, told = cut(trace, Stretch(5.0))
    assert isinstance(busiest, Arrivals)
    assert busiest.times_s.tolist() == [0.0, 1.0, 2.0]
    assert busiest.asks["steps"].tolist() == [2, 3, 4]
    assert busiest.duration_s == 5.0  # its own length, not to its last arrival
    assert told == "the busiest 5 s of its 1.2 min, from 00:00:20 on"
    named, _ = cut(trace, Stretch(15.0, 8.0))
    assert isinstance(named, Arrivals)
    assert named.times_s.tolist() == [2.0, 12.0, 13.0, 14.0]
    with pytest.raises(TraceError, match=r"5 min reaches beyond the trace, which lasts 1.2 min"):
        cut(trace, Stretch(300.0))
    with pytest.raises(TraceError, match="hold 0 arrivals: name a longer one"):
        cut(trace, Stretch(20.0, 30.0))


def test_bins_are_cut_within_and_keep_their_rates() -> None:
    bins = Bins(edges_s=(0.0, 10.0, 20.0, 30.0), rates_per_s=(1.0, 5.0, 2.0))
    part, _ = cut(bins, Stretch(12.0))
    assert part == Bins(edges_s=(0.0, 10.0, 12.0), rates_per_s=(5.0, 2.0))
    assert cut(bins, Stretch(10.0, 5.0))[0] == Bins(edges_s=(0, 5.0, 10.0), rates_per_s=(1.0, 5.0))


# -- the peak ------------------------------------------------------------------------------------


def test_a_peak_stands_on_a_hundred_arrivals() -> None:
    # 400 Poisson arrivals: the fullest of 60 parts has twice the mean by chance alone
    times = np.sort(np.random.default_rng(3).random(400)) * 400.0
    counts = np.histogram(times, 60, (0.0, 400.0))[0]
    assert counts.max() * 60 / 400 > 1.6
    peak, parts = busiest_part(times, 400.0)
    assert parts <= 4
    assert peak < 1.25
    # where a hundred come in a sixtieth, it is a sixtieth
    burst = np.sort(np.concatenate([times, 100.0 + np.arange(150) * 0.02]))
    peak, parts = busiest_part(burst, 400.0)
    assert parts == 60
    assert peak > 150 / 400 * 60 * 0.5
    assert busiest_part(np.array([0.0, 1.0, 4.0]), 6.0) == (0.5, 1)


def test_bins_of_few_arrivals_are_put_together_for_a_peak() -> None:
    counts = np.random.default_rng(2).poisson(5.0, 3600).astype(float)  # an hour of seconds
    bins = Bins(edges_s=tuple(np.arange(3601.0).tolist()), rates_per_s=tuple(counts.tolist()))
    assert counts.max() >= 13
    peak_per_s, over_s = peak_of_bins(bins)
    assert 5.0 < peak_per_s < 7.5
    assert peak_per_s * over_s >= MIN_IN_PEAK
    few = Bins(edges_s=(0.0, 60.0, 120.0), rates_per_s=(0.1, 0.5))
    assert peak_of_bins(few) == (0.5, 60.0)  # bins that were made as long stay
    assert of_bins(few).requests == 36.0


def scenario(curve: str = "", load: str = "") -> Scenario:
    return parse_scenario(SCENARIO.format(curve=curve, load=load))


def planned(s: Scenario, folder: Path, node: Node | None = None) -> tuple[LoadPlan, str]:
    source = load_source(s, folder)
    plan, _ = make_plan(s, source, node or Node())
    return plan, plan_text(s, source, plan, None, relative=False)


def test_a_multiple_of_the_capacity_is_that_multiple_and_both_are_printed(tmp_path: Path) -> None:
    times = np.sort(np.random.default_rng(4).random(400)) * 400.0
    (tmp_path / "t.csv").write_text("t_s\n" + "\n".join(map(str, times)))
    s = scenario(load='peak = "1.2x"')
    plan, text = planned(s, tmp_path, Node(capacity_images_per_s=10.0))
    assert plan.peak_images_per_s == 12.0
    assert 9.5 < plan.mean_images_per_s < 12.0  # flat traffic: the mean is near the peak
    assert f"mean {plan.mean_images_per_s:.3g} images/s, " in text
    assert f"{plan.mean_images_per_s / 10:.3g} x the capacity\n" in text
    stated, text = planned(scenario(load="peak = 5"), tmp_path, Node(capacity_images_per_s=10.0))
    assert stated.peak_images_per_s == 5.0
    assert "(stated in images/s, 0.5 x the capacity)" in text


# -- what is sent --------------------------------------------------------------------------------


@pytest.fixture
def bursty(tmp_path: Path) -> Path:
    """An hour with 120 bursts of 40 arrivals within a second, at random."""
    rng = np.random.default_rng(7)
    begins = np.sort(rng.random(120)) * 3590.0
    times = np.sort((begins[:, None] + rng.random((120, 40))).ravel())
    (tmp_path / "t.csv").write_text("t_s\n" + "\n".join(f"{t:.6f}" for t in times))
    return tmp_path


def test_a_trace_that_would_be_compressed_is_cut_instead_and_keeps_its_bursts(
    bursty: Path,
) -> None:
    plan, text = planned(scenario(load='compress_to = "5min"'), bursty)
    assert plan.recorded is not None
    assert plan.sent is not None
    assert plan.recorded.requests == 4800
    assert plan.recorded.gap_cv is not None
    assert plan.recorded.gap_cv > 5.0
    assert plan.time_compression == 1.0
    assert plan.duration_s == 300.0
    assert plan.sent.requests == plan.requests >= 400  # more than a twelfth: its busiest
    assert plan.sent.gap_cv == pytest.approx(plan.recorded.gap_cv, rel=0.25)
    assert not loses_bursts(plan.recorded, plan.sent)
    assert "window    the busiest 5 min of its" in text
    assert "at real speed in place of all of it compressed" in text
    assert f"sent      {plan.requests:,} requests over 5 min" in text
    assert "To keep the bursts" not in text


@pytest.mark.parametrize(
    ("curve", "load", "offered"),
    [
        # time is squeezed twelvefold and the rate kept: one arrival in twelve is left
        ("", "compression = 12", "--window 5min@peak"),
        # a peak far below the trace's own
        ("", "peak = 0.5", "--rate-scale 1, without --peak"),
    ],
)
def test_what_is_thinned_says_so_with_the_ways_out(
    bursty: Path, curve: str, load: str, offered: str
) -> None:
    plan, text = planned(scenario(curve, load), bursty)
    assert plan.recorded is not None
    assert plan.sent is not None
    assert loses_bursts(plan.recorded, plan.sent)
    assert plan.sent.gap_cv is not None
    told = next(line for line in text.splitlines() if "To keep the bursts" in line)
    assert f"its gap CV is {plan.sent.gap_cv:.3g} where the trace's is" in told
    assert offered in told


def test_a_window_that_is_named_is_played_at_real_speed(bursty: Path) -> None:
    plan, text = planned(scenario('window = "10min@00:30:00"'), bursty)
    assert plan.duration_s == 600.0
    assert plan.window is not None
    assert plan.window.endswith("from 00:30:00 on")
    assert plan.window in text
    with pytest.raises(ScenarioError, match="give one of the two"):
        scenario('window = "10min@peak"', 'compress_to = "1min"')
    with pytest.raises(ConfigurationError, match="reaches beyond the trace"):
        planned(scenario('window = "2h@peak"'), bursty)


def test_run_and_report_tell_the_file_and_what_was_sent(bursty: Path) -> None:
    plan, _ = planned(scenario(load='compress_to = "5min"'), bursty)
    rows = dict(traffic_rows(plan))
    assert list(rows) == ["Trace as recorded", "Window", "Trace as sent"]
    assert rows["Trace as recorded"].startswith("4,800 requests in ")
    assert rows["Trace as sent"].startswith(f"{plan.requests:,} requests in 5 min")
    assert "gap CV" in rows["Trace as sent"]
    assert traffic_rows(planned_curve()) == []


def planned_curve() -> LoadPlan:
    text = 'name = "t"\ntitle = "T"\n[curve]\nkind = "constant"\nrate_per_s = 5\nduration = "9s"\n'
    s = parse_scenario(text)
    return make_plan(s, load_source(s, Path()), Node())[0]


def test_an_exact_replay_is_sent_as_it_was_recorded(bursty: Path) -> None:
    plan, _ = planned(scenario(), bursty)
    assert plan.sent == plan.recorded
    assert plan.sent == of_arrivals(
        load_source(scenario(), bursty).shape.times_s,  # type: ignore[union-attr]
        plan.duration_s,
    )


def test_of_bins_the_sent_stand_beside_the_counted(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("t_s,count\n" + "".join(f"{60 * k},600\n" for k in range(20)))
    plan, text = planned(scenario(), tmp_path)
    assert plan.recorded is not None
    assert plan.recorded.requests == 12_000
    assert plan.recorded.gap_cv is None  # bins do not tell
    assert plan.sent is not None
    assert plan.sent.gap_cv == pytest.approx(1.0, abs=0.05)
    assert f"sent      {plan.requests:,} requests over 20 min" in text
