from pathlib import Path

import pytest

from loadtest.errors import ScenarioError
from loadtest.plan.source import load_source
from loadtest.scenario.scenario import (
    Scenario,
    builtin_names,
    image_weights,
    parse_scenario,
    parse_size,
    scenario_text,
    with_overrides,
)
from loadtest.traffic.curve import FlashCrowd, peak_rate, total
from loadtest.traffic.processes import Hawkes
from loadtest.units import Duration as D

GOOD = """
name = "test"
title = "A test"
[curve]
kind = "flash"
base_per_s = 1.0
magnitude = 4
begin = "1 min"
rise = 30
hold = "30s"
half_life = "1min"
duration = "5min"
[load]
peak = "1.5x"
compress_to = "30s"
[request]
images = {"1" = 3.0, "4" = 1.0}
size = "64x32"
[slo]
latency = "8s"
[thresholds]
latency = ["p(95) < 8s"]
"""


FLASH = """kind = "flash"
base_per_s = 1
magnitude = {magnitude}
begin = 0
rise = 1
hold = 1
half_life = {half_life}
duration = 9"""
BINS = 'kind = "bins"\nedges_s = {edges}\nrates_per_s = {rates}'


def test_a_scenario_is_read_whole() -> None:
    scenario = parse_scenario(GOOD)
    assert isinstance(scenario.curve, FlashCrowd)
    assert scenario.curve.duration_s == 300.0
    assert (scenario.load.peak, scenario.load.compress_to) == ("1.5x", 30.0)
    assert image_weights(scenario.request) == {1: 3.0, 4: 1.0}
    assert scenario.slo.latency == 8.0
    assert scenario.seed == 1


@pytest.mark.parametrize(
    ("find", "put", "said"),
    [
        ('title = "A test"', 'titel = "x"', "unknown key 'titel' at $ (did you mean \"title\"?)"),
        (
            "magnitude",
            "magnitud",
            "unknown key 'magnitud' at $.curve (did you mean \"magnitude\"?)",
        ),
        ("peak =", "peek =", "unknown key 'peek' at $.load (did you mean \"peak\"?)"),
        ('"flash"', '"flush"', "Invalid value 'flush' at `$.curve.kind` (did you mean \"flash\"?)"),
        ('"flash"', '"zzz"', "(valid: bass, bins, constant, flash, ramp, steps, trace, waves)"),
        (
            '["p(95) < 8s"]',
            '"p(95) < 8s"',
            '$.thresholds.latency: expected a list of conditions, such as latency = ["p(95) < 8s"]',
        ),
        ("base_per_s = 1.0", "base_per_s = -1.0", "Expected `float` > 0.0 at `$.curve.base_per_s`"),
        ("base_per_s = 1.0", 'base_per_s = "1"', "Expected `float`, got `str`"),
        ('"1 min"', '"a while"', "expected a duration such as"),
        ('duration = "5min"', "duration = 0", "$.curve: it lasts 0 s"),
        ('"1.5x"', '"fast"', "$.load.peak: expected images/s such as 2.5"),
        ('"1.5x"', "-2.0", "$.load.peak: expected a rate above 0"),
        ('"1.5x"', '"share"', '"share" needs the demand of an [event] table'),
        (
            "[slo]",
            "[slo]\nlatancy = 1",
            "unknown key 'latancy' at $.slo (did you mean \"latency\"?)",
        ),
        ('"8s"\n[thr', '"0s"\n[thr', "$.slo.latency: expected a duration above 0"),
        ('"4" = 1.0', '"11" = 1.0', "'11' is no number of images from 1 to 10"),
        ("3.0", "0", None),
        ('{"1" = 3.0, "4" = 1.0}', '{"1" = 0}', "the weights sum to 0"),
        ('"64x32"', '"64"', 'expected "WIDTHxHEIGHT"'),
        ("p(95) < 8s", "p(95) < many", "$.thresholds.latency"),
        ('latency = ["p', 'latensy = ["p', "$.thresholds.latensy"),
        ('latency = ["p', '"latency{steps:30}" = ["p', None),
        ('latency = ["p', '"latency{steps:x}" = ["p', "steps is a number such as 30"),
        ('latency = ["p', '"latency{class:free}" = ["p', "nobody is free; give it a share in"),
        ('compress_to = "30s"', 'compress_to = "30s"\ncompression = 3', "not both"),
        ('compress_to = "30s"', "compression = 0.5", "Expected `float` >= 1.0"),
        ('name = "test"', 'name = "../x"', "$.name"),
        ("[load]", "[load", "the scenario is not TOML"),
    ],
)
def test_faults_are_named_with_their_path(find: str, put: str, said: str | None) -> None:
    assert find in GOOD
    text = GOOD.replace(find, put)
    if said is None:
        parse_scenario(text)
        return
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_key_deep_in_a_wave_is_found() -> None:
    text = """
name = "w"
title = "w"
[curve]
kind = "waves"
[[curve.waves]]
[curve.waves.curve]
kind = "bass"
adopters = 10
p = 0.1
q = 0.2
per = "1h"
duration = "1h"
adoptors = 3
"""
    with pytest.raises(
        ScenarioError, match=r"unknown key 'adoptors' at .*\(did you mean \"adopters"
    ):
        parse_scenario(text)


def test_the_command_line_overrules_and_is_checked() -> None:
    scenario = parse_scenario(GOOD)
    changed = with_overrides(
        scenario,
        {"load": {"peak": 3.0, "compress_to": None, "compression": 10.0}, "request": {"steps": 7}},
    )
    assert (changed.load.peak, changed.load.compression, changed.load.compress_to) == (
        3.0,
        10.0,
        None,
    )
    assert changed.request.steps == 7
    assert changed.request.size == "64x32"
    with pytest.raises(ScenarioError, match=r"command line: .*steps"):
        with_overrides(scenario, {"request": {"steps": 0}})


def test_an_unknown_name_proposes_the_nearest() -> None:
    with pytest.raises(
        ScenarioError, match=r'no scenario \'gibli-hour\' \(did you mean "ghibli-hour"'
    ):
        scenario_text("gibli-hour")
    with pytest.raises(ScenarioError, match="No such file"):
        scenario_text("missing.toml")
    with pytest.raises(ScenarioError, match="the scenario's name is empty"):
        scenario_text("")
    with pytest.raises(ScenarioError, match="save the sheet as CSV"):
        scenario_text("traffic.xlsx")
    with pytest.raises(ScenarioError, match="is no file: a trace is read more than once"):
        scenario_text("/dev/null")
    with pytest.raises(ScenarioError, match="the scenario is nested too deeply"):
        parse_scenario("x = " + "[" * 20_000 + "]" * 20_000)


@pytest.mark.parametrize("name", builtin_names())
def test_every_built_in_scenario_is_valid_and_says_what_it_stands_on(name: str) -> None:
    text, _ = scenario_text(name)
    scenario = parse_scenario(text)
    assert scenario.name == name
    assert text.startswith("#")
    assert load_source(scenario, Path()).peak_images_per_s > 0


def builtin(name: str) -> Scenario:
    return parse_scenario(scenario_text(name)[0])


@pytest.mark.parametrize(
    ("name", "people", "images", "peak_images_per_s"),
    [
        # one million people in the hour, three images each; 3 x 4.9 x 92.7/s at the peak
        ("ghibli-hour", 1.0e6, 3.0e6, 1362.0),
        # 130 million people, 700 million images in nine days, 3.1 x the mean of 900/s at the peak
        ("ghibli-week", 130e6, 700e6, 2800.0),
        ("launch-2022", 1.0e6, 1.0e6, 2.78),
    ],
)
def test_event_curves_meet_the_published_totals(
    name: str, people: float, images: float, peak_images_per_s: float
) -> None:
    scenario = builtin(name)
    source = load_source(scenario, Path())
    assert not isinstance(scenario.curve, str)
    assert source.images == pytest.approx(images, rel=0.02)
    assert source.peak_images_per_s == pytest.approx(peak_images_per_s, rel=0.02)
    assert scenario.event is not None
    assert source.images / scenario.event.images_per_person == pytest.approx(people, rel=0.02)


def test_the_stress_preset_rises_tenfold_in_ten_minutes() -> None:
    curve = builtin("flash-crowd").curve
    assert isinstance(curve, FlashCrowd)
    assert (peak_rate(curve) / curve.base_per_s, curve.rise) == (10.0, 600.0)
    assert total(curve) > 0


def test_sizes() -> None:
    for told in ("1024x768", "1024X768", "1024 x 768", "1024×768", "1024*768"):
        assert parse_size(told) == (1024, 768)
    for bad in ("0x5", "5", "5x", "axb", "5x5x5", "999999x1"):
        with pytest.raises(ScenarioError):
            parse_size(bad)


@pytest.mark.parametrize(
    ("arrivals", "said"),
    [
        ('"chat-lik"', "$.load.arrivals: no process 'chat-lik' (did you mean \"chat-like\"?)"),
        ('{ kind = "gamma", cv = 0 }', "cv: expected a gap CV from 0.001 to 100"),
        ('{ kind = "gamma", cv = 1e-200 }', "cv: expected a gap CV from 0.001"),
        ('{ kind = "gamma", cv = nan }', "cv: expected a gap CV from 0.001"),
        ('{ kind = "gamma" }', "missing required field `cv` at `$.load.arrivals`"),
        ('{ kind = "gama", cv = 2 }', "Invalid value 'gama' at `$.load.arrivals.kind`"),
        ('{ kind = "hawkes", branching = 1 }', "branching: expected at least 0 and below 1, got 1"),
        ('{ kind = "hawkes", branching = -0.1 }', "branching: expected at least 0 and below 1"),
        ('{ kind = "hawkes", branchings = 0.5 }', '(did you mean "branching"?)'),
        ('{ kind = "hawkes", idc = 0.5 }', "idc: expected an index of dispersion of at least 1"),
        ('{ kind = "hawkes", idc = 1e34 }', "at most 1e+12, got 1e+34"),
        ('{ kind = "hawkes" }', "give either branching or idc"),
        ('{ kind = "hawkes", idc = 4, branching = 0.5 }', "give either branching or idc"),
        ('{ kind = "hawkes", idc = 4, decay = 0 }', "decay: expected a duration above 0"),
        ('{ kind = "mmpp", ratio = 0.5, busy = 1, quiet = 1 }', "ratio: expected the busy rate"),
        (
            '{ kind = "mmpp", ratio = 2, busy = 0, quiet = 1 }',
            "busy: expected a mean spell above 0",
        ),
        ('{ kind = "mmpp", ratio = 2, busy = 1 }', "missing required field `quiet`"),
    ],
)
def test_impossible_processes_are_refused(arrivals: str, said: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(GOOD.replace("[load]", f"[load]\narrivals = {arrivals}"))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("curve", "said"),
    [
        ('kind = "constant"\nrate_per_s = inf\nduration = 9', "`$.curve.rate_per_s`"),
        (FLASH.format(magnitude=4, half_life=0), "half_life: expected a duration above 0"),
        (FLASH.format(magnitude="inf", half_life=1), "`$.curve.magnitude`"),
        (
            'kind = "bass"\nadopters = 9\np = 0.1\nq = 0.1\nper = 0\nduration = 9',
            "per: expected a duration above 0",
        ),
        (BINS.format(edges=[0, 1], rates=[1, 2, 3]), "3 rates_per_s need one edge more, got 2"),
        (BINS.format(edges=[], rates=[]), "`array` of length >= 2 at `$.curve.edges_s`"),
        (BINS.format(edges=[0, 2, 1], rates=[1, 2]), "edges_s: expected seconds that rise from 0"),
        (BINS.format(edges=[5, 10], rates=[1]), "edges_s: expected seconds that rise from 0"),
        (BINS.format(edges="[0, nan, 2]", rates=[1, 2]), "edges_s: expected seconds that rise"),
        (BINS.format(edges=[0, 1, 2], rates=[1, -2]), "rates_per_s: expected rates from 0"),
        (BINS.format(edges=[0, 1], rates="[nan]"), "rates_per_s: expected rates from 0"),
    ],
)
def test_impossible_curves_are_refused(curve: str, said: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(f'name = "x"\ntitle = "X"\n[curve]\n{curve}\n')
    assert said in str(caught.value)
    assert "$.curve" in str(caught.value)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ('images = { "1" = inf }', "$.request.images"),
        ('images = { "²" = 1 }', "'²' is no number of images from 1 to 10"),
        ('prompts = ["a fox", " "]', "$.request.prompts: a prompt is empty"),
    ],
)
def test_impossible_requests_are_refused(request_: str, said: str) -> None:
    text = 'name = "x"\ntitle = "X"\n[curve]\nkind = "constant"\nrate_per_s = 1\nduration = 9\n'
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(f"{text}[request]\n{request_}\n")
    assert said in str(caught.value)


def test_a_table_of_arrivals_survives_the_command_lines_changes() -> None:
    text = GOOD.replace("[load]", '[load]\narrivals = { kind = "hawkes", idc = 4, decay = "2s" }')
    scenario = with_overrides(parse_scenario(text), {"load": {"peak": 3.0}})
    assert scenario.load.arrivals == Hawkes(idc=4.0, decay=D(2))
    words = with_overrides(scenario, {"load": {"arrivals": "agent-like"}})
    assert words.load.arrivals == "agent-like"


def test_a_change_of_one_key_keeps_the_rest_of_its_table() -> None:
    scenario = parse_scenario(scenario_text("melting")[0])
    changed = with_overrides(scenario, {"session": {"retry": {"policy": "backoff"}}})
    assert scenario.session is not None
    assert changed.session is not None
    assert changed.session.retry.policy == "backoff"
    assert changed.session.retry.most_attempts == scenario.session.retry.most_attempts == 8
    assert changed.session.patience == scenario.session.patience
    assert changed.server == scenario.server
