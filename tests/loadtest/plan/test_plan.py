import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.errors import ConfigurationError
from loadtest.plan.plan import Node, Schedule, demand, make_plan, needs_capacity
from loadtest.plan.source import load_source
from loadtest.plan.text import draw, plan_text
from loadtest.scenario.scenario import Scenario, parse_scenario, scenario_text
from profiles import formats
from profiles.schema import LoadPlan

BASE = """
name = "t"
title = "T"
seed = {seed}
[curve]
kind = "ramp"
from_per_s = 0
to_per_s = 10
duration = "100s"
[load]
{load}
[request]
images = {images}
{more}
"""


def scenario(load: str = "", images: str = "1", more: str = "", seed: int = 1) -> Scenario:
    return parse_scenario(BASE.format(load=load, images=images, more=more, seed=seed))


def planned(
    s: Scenario, node: Node | None = None, folder: Path = Path()
) -> tuple[LoadPlan, Schedule]:
    return make_plan(s, load_source(s, folder), node or Node())


EVENT = '[event]\nimages_per_person = 3\nbasis = "test"'


@pytest.mark.parametrize(
    ("load", "images", "more", "node", "duration_s", "peak", "expected_images"),
    [
        # the curve's own rate: 10/s x 100 s / 2
        ("", "1", "", Node(), 100.0, 10.0, 500.0),
        # 20 x faster, the same rates for a twentieth of the time
        ("compression = 20", "1", "", Node(), 5.0, 10.0, 25.0),
        ('compress_to = "10s"', "1", "", Node(), 10.0, 10.0, 50.0),
        ('compress_to = "1000s"', "1", "", Node(), 100.0, 10.0, 500.0),  # never stretched
        ("peak = 40.0", "1", "", Node(), 100.0, 40.0, 2000.0),
        ('peak = "1.5x"', "1", "", Node(capacity_images_per_s=8.0), 100.0, 12.0, 600.0),
        # 4 images a request: a quarter of the requests, as many images
        ("peak = 40.0", "4", "", Node(), 100.0, 40.0, 2000.0),
        # an event of people: 3 images each, 30 images/s at the peak; 8 of 100,000 GPUs' share
        ("", "1", EVENT, Node(), 100.0, 30.0, 1500.0),
        ('peak = "share"', "1", EVENT.replace("3", "300000"), Node(gpus=8), 100.0, 240.0, 12_000.0),
    ],
)
def test_peaks_compression_and_counts(
    load: str, images: str, more: str, node: Node,
    duration_s: float, peak: float, expected_images: float,
) -> None:  # fmt: skip
    plan, schedule = planned(scenario(load, images, more), node)
    assert plan.duration_s == pytest.approx(duration_s)
    assert plan.peak_images_per_s == pytest.approx(peak)
    assert plan.mean_images_per_s * plan.duration_s == pytest.approx(expected_images)
    per_request = int(images)
    slack = 6 * np.sqrt(expected_images / per_request) * per_request
    assert plan.images == pytest.approx(expected_images, abs=slack)
    assert plan.images == schedule["images"].sum()
    assert plan.requests == len(schedule)
    assert max(plan.curve_images_per_s) == pytest.approx(peak, rel=0.01)


@given(st.floats(0.5, 200), st.floats(1, 50), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_even_schedules_hold_exactly_the_integral(peak: float, kappa: float, seed: int) -> None:
    s = scenario(f'peak = {peak}\ncompression = {kappa}\narrivals = "even"', seed=seed)
    expected = peak * 100 / kappa / 2
    if expected < 0.5:
        with pytest.raises(ConfigurationError, match="the schedule is empty"):
            planned(s)
        return
    plan, schedule = planned(s)
    assert abs(plan.requests - expected) <= 0.5 + 1e-6
    assert np.all(np.diff(schedule["t_s"]) >= 0)
    assert schedule["t_s"][-1] <= plan.duration_s


def test_the_schedule_is_a_function_of_scenario_and_seed_in_any_process() -> None:
    code = (
        "from tests.loadtest.plan.test_plan import planned, scenario\n"
        "print(planned(scenario('peak = 40.0', seed=5))[0].schedule_sha256)"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert planned(scenario("peak = 40.0", seed=5))[0].schedule_sha256 == other.stdout.strip()
    assert planned(scenario("peak = 40.0", seed=6))[0].schedule_sha256 != other.stdout.strip()


def test_a_multiple_of_an_unknown_capacity_is_refused() -> None:
    s = scenario('peak = "1.5x"')
    assert needs_capacity(s)
    with pytest.raises(ConfigurationError, match="give --capacity"):
        planned(s)


def test_a_schedule_too_long_to_hold_is_refused_before_it_is_made() -> None:
    with pytest.raises(ConfigurationError, match=r"would hold 50,000,000 requests.*lower --peak"):
        planned(scenario("peak = 1e6"))


@pytest.mark.parametrize(
    ("load", "curve", "remedy"),
    [
        # 0.04 requests expected; ten need 250 times the rate. Nothing is compressed
        ("", "", "raise --peak (to 2.5 images/s), or give the curve a longer duration"),
        ("compression = 2", "", "or replay more time with a larger --compress-to or --real-time"),
        ('peak = "0.1x"', "", "raise the multiple in --peak, or give the curve"),
    ],
)
def test_an_empty_schedule_names_what_fills_it(load: str, curve: str, remedy: str) -> None:
    text = (
        'name = "t"\ntitle = "T"\n[curve]\nkind = "constant"\nrate_per_s = 0.01\n'
        f'duration = "4s"\n[load]\n{load}\n'
    )
    with pytest.raises(ConfigurationError, match="the schedule is empty") as caught:
        planned(parse_scenario(text), Node(capacity_images_per_s=0.1))
    assert remedy in str(caught.value)


@pytest.mark.parametrize("name", ["ghibli-hour", "crowd", "smoke"])
def test_plan_and_report_say_the_same_of_the_event(name: str) -> None:
    s = parse_scenario(scenario_text(name)[0])
    source = load_source(s, Path())
    event = demand(s, source)
    plan, _ = make_plan(s, source, Node(capacity_images_per_s=2.0))
    text = plan_text(s, source, plan, event, relative=False)
    if event is None:
        assert "event  " not in text
        return
    assert f"event     {formats.count(event.images)} images in " in text  # as `tables.replayed`
    assert f"{formats.images_per_s(event.peak_images_per_s)} at the peak" in text


def test_an_arrival_trace_is_thinned_to_the_peak(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    times = np.sort(rng.random(6000)) * 600  # 10/s for ten minutes
    (tmp_path / "t.csv").write_text("t_s\n" + "\n".join(f"{t:.6f}" for t in times))
    text = 'name = "t"\ntitle = "T"\n[curve]\nkind = "trace"\nfile = "t.csv"\n[load]\n'
    exact, schedule = planned(parse_scenario(text), folder=tmp_path)
    assert exact.requests == 6000
    assert schedule["t_s"] == pytest.approx(times - times[0], abs=1e-5)
    assert exact.arrivals == "trace"
    slow = parse_scenario(text + 'peak = "0.5x"\ncompress_to = "60s"')
    plan, _ = planned(slow, Node(capacity_images_per_s=10.0), tmp_path)
    # the busiest of 60 parts goes from its own 11 to 13 per s to 5 per s: about 4.2/s for 60 s
    assert plan.peak_images_per_s == 5.0
    assert plan.duration_s == pytest.approx(60.0, rel=0.01)
    assert plan.requests == pytest.approx(plan.mean_images_per_s * 60, abs=5 * np.sqrt(260))


def test_real_traces_scale_to_a_capacity(traces: Path) -> None:
    for name in ("azure_llm_2023_conv.csv", "wc98_1998-06-30_minute.csv"):
        text = f'name = "t"\ntitle = "T"\n[curve]\nkind = "trace"\nfile = "{name}"\n'
        s = parse_scenario(text + '[load]\npeak = "1x"\ncompress_to = "60s"')
        plan, schedule = planned(s, Node(capacity_images_per_s=20.0), traces)
        busiest = np.histogram(schedule["t_s"], bins=60, range=(0, 60))[0].max()
        assert 12 <= busiest <= 36  # 20/s within four standard deviations
        assert plan.peak_images_per_s == 20.0


def test_the_drawing_has_both_axes() -> None:
    lines = draw([0.0, 50.0, 100.0], [0.0, 1.0, 2.0], 100.0, "images/s")
    assert lines[0].strip() == "images/s"
    assert lines[1].lstrip().startswith("2 ┤")
    assert lines[5].lstrip().startswith("1 ┤")
    assert lines[-1].endswith("1.67 min")
    heights = [sum(row[9 + column] != " " for row in lines[1:9]) for column in range(60)]
    assert heights == sorted(heights)  # a ramp


def test_the_plan_says_what_will_be_sent_and_how_it_was_compressed() -> None:
    s = scenario('peak = 8.0\ncompress_to = "4s"', more=EVENT)
    plan, _ = planned(s)
    text = plan_text(s, load_source(s, Path()), plan, None, relative=False)
    for said in (
        "T\n", "peak      8 images/s (stated in images/s)", "1.67 min compressed 25 x",
        "autoscaling looks worse", f"{plan.requests:,} requests", "poisson, seed 1",
    ):  # fmt: skip
        assert said in text
    relative = plan_text(s, load_source(s, Path()), plan, None, relative=True)
    assert "to be measured before the load" in relative
    assert "requests," not in relative


@pytest.mark.parametrize(
    ("arrivals", "said"),
    [
        ("", "poisson"),
        ('arrivals = "smooth"', "smooth"),
        ('arrivals = "chat-like"', "chat-like: Hawkes, branching 0.85"),
        ('arrivals = { kind = "gamma", cv = 4 }', "Gamma renewal, gap CV 4"),
        (
            'arrivals = { kind = "hawkes", idc = 16, decay = "2s" }',
            "Hawkes, branching 0.75, decay 2 s",
        ),
        (
            'arrivals = { kind = "mmpp", ratio = 4, busy = "5s", quiet = "20s" }',
            "MMPP, 4 x the rate for 5 s after 20 s",
        ),
    ],
)
def test_every_process_is_planned_and_named(arrivals: str, said: str) -> None:
    plan, schedule = planned(scenario(f"peak = 40.0\n{arrivals}"))
    assert plan.arrivals.startswith(said)
    assert np.all(np.diff(schedule["t_s"]) >= 0)
    # 2,000 expected; the index of dispersion over the whole is below 45, so 6 deviations are 1,800
    assert 200 < plan.requests < 3800


PEOPLE = """[session]
requests = { "2" = 1 }
think = { kind = "fixed", value = 0 }
steps = { "30" = 1 }
"""


@pytest.mark.parametrize("arrivals", ['"even"', '"chat-like"', '{ kind = "gamma", cv = 4 }'])
def test_people_come_by_any_process(arrivals: str) -> None:
    load = f"peak = 40.0\narrivals = {arrivals}"
    alone, singles = planned(scenario(load))
    plan, schedule = planned(scenario("peak = 80.0" + load[11:], more=PEOPLE))
    assert plan.people == alone.requests  # 2 images a person: as many people at twice the peak
    assert plan.requests == 2 * alone.requests
    assert schedule["t_s"][::2] == pytest.approx(singles["t_s"])
    assert plan.arrivals == alone.arrivals
    assert set(schedule["steps"]) == {30}


def test_people_come_at_a_traces_instants_and_ask_as_their_session_says(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("t_s,images,steps,user\n0,4,9,a\n1,4,9,b\n4,4,9,a\n")
    text = 'name = "t"\ntitle = "T"\n[curve]\nkind = "trace"\nfile = "t.csv"\n'
    s = parse_scenario(text + PEOPLE)
    plan, schedule = planned(s, folder=tmp_path)
    assert schedule["t_s"].tolist() == [0, 0, 1, 1, 4, 4]
    assert set(schedule["images"]) == {1}
    assert set(schedule["steps"]) == {30}
    said = plan_text(s, load_source(s, tmp_path), plan, None, relative=False)
    assert "3 arrivals of people, what rows ask for left out, each a person with limits" in said
    assert plan.people == 3  # of two users
    assert "a mix of steps" in said
    assert "each row tells" not in said


def test_recorded_arrivals_are_not_drawn_again_nor_drawn_ones_replayed(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("t_s\n0\n1\n4\n")
    text = 'name = "t"\ntitle = "T"\n[curve]\nkind = "trace"\nfile = "t.csv"\n[load]\n'
    with pytest.raises(ConfigurationError, match="name the trace's rate_column"):
        planned(parse_scenario(text + 'arrivals = "poisson"'), folder=tmp_path)
    assert planned(parse_scenario(text + 'arrivals = "trace"'), folder=tmp_path)[0].requests == 3
    with pytest.raises(ConfigurationError, match=r'"trace" needs a trace of arrivals'):
        planned(scenario('arrivals = "trace"'))


def test_a_process_too_long_to_simulate_is_refused() -> None:
    s = scenario('arrivals = { kind = "hawkes", branching = 0.9999999, decay = "1h" }')
    with pytest.raises(ConfigurationError, match=r"load.arrivals: branching .*lower branching"):
        planned(s)


@pytest.mark.parametrize(("images_per_s", "bins"), [(0.5, 8), (10.0, 12), (100.0, 48)])
def test_the_drawn_curve_of_people_is_no_noise(images_per_s: float, bins: int) -> None:
    # 120 s at so many images/s, an image a person: a bin holds 100 of them where there are enough
    text = f"""
name = "people"
title = "People"
[curve]
kind = "constant"
rate_per_s = {images_per_s}
duration = "120s"
[load]
arrivals = "even"
[session]
requests = 1.0
"""
    scenario = parse_scenario(text)
    plan, schedule = make_plan(scenario, load_source(scenario, Path()), Node())
    assert len(plan.curve_t_s) == bins
    mean = sum(plan.curve_images_per_s) / bins
    assert mean == pytest.approx(schedule["images"].sum() / 120.0, rel=1e-3)
