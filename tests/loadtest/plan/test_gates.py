"""Thresholds that say nothing are asked back, or warned of, before the load."""

import pytest

from loadtest.errors import ScenarioError
from loadtest.plan.gates import cannot_fail, holds_when_worse, says_too_little, slo_beyond_timeout
from loadtest.plan.source import load_source
from loadtest.plan.text import plan_text
from loadtest.scenario.scenario import parse_scenario
from profiles.schema import LoadPlan
from tests.profiles.synthetic import plan

SCENARIO = """
name = "s"
title = "S"
[curve]
kind = "constant"
rate_per_s = 1.0
duration = "1min"
[request]
timeout = "20s"
[thresholds]
"""
PEOPLE = '[session]\nrequests = 0.5\nthink = "1s"\n'


@pytest.mark.parametrize(
    ("thresholds", "said"),
    [
        ('latency = ["p(95) < 500"]', ["after 20 s", "did you mean 500ms?", "--timeout"]),
        ('latency = ["p(95) < 21s"]', ["can never fail", "lower the limit"]),
        ('first_byte = ["max <= 1min"]', ["thresholds.first_byte"]),
        ('"latency{steps:30}" = ["avg < 30s"]', ["latency{steps:30}"]),
        ('latency = ["p(95) < 20s"]', None),
        ('latency = ["max > 30s"]', None),  # can never hold, but fails
        ('lateness = ["max < 30s"]', None),  # ends with no timeout
        ('goodput = ["value > 500"]', None),
    ],
)
def test_a_limit_beyond_the_timeout(thresholds: str, said: list[str] | None) -> None:
    found = cannot_fail(parse_scenario(SCENARIO + thresholds))
    assert (found == []) is (said is None)
    for words in said or []:
        assert words in found[0]


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ('latency = "p(95) < 1s"', ['$.thresholds.latency', 'such as latency = ["p(95) < 1s"]']),
        ('"ok{steps:30}" = "rate > 5%"', ['ok{steps:30} = ["rate > 5%"]']),
        ("failed = 5", ["$.thresholds.failed", "a list of conditions"]),
        ("failed = [5]", ["$.thresholds.failed"]),
        ('latency = ["p(0.95) < 1s"]', ["$.thresholds.latency:", 'did you mean "p(95)"']),
    ],
)  # fmt: skip
def test_a_threshold_of_another_form_names_key_and_form(form: str, said: list[str]) -> None:
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(SCENARIO + form)
    for words in said:
        assert words in str(caught.value)
    assert str(caught.value).count("thresholds") == 1


@pytest.mark.parametrize(
    ("thresholds", "said"),
    [
        ('failed = ["rate < 1"]', 'did you mean "rate < 1%"'),  # else 99% may fail
        ('timeout = ["rate <1"]', 'did you mean "rate < 1%"'),
        ('failed = ["rate < 150%"]', "a rate is a share"),
        ('goodput = ["count >= 0"]', "can never fail"),
        ('"latency{class:nobody}" = ["p(95) < 1s"]', "class is paying or free"),
    ],
)
def test_a_gate_that_cannot_fail_is_asked_back(thresholds: str, said: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(SCENARIO + thresholds)
    assert said in str(caught.value)
    assert "thresholds: thresholds" not in str(caught.value)
    assert "}: thresholds:" not in str(caught.value)


@pytest.mark.parametrize(
    ("thresholds", "said"),
    [
        (
            'latency = ["p(95) > 1s"]',
            'latency "p(95) > 1s" holds when it gets worse: did you mean <',
        ),
        ('failed = ["rate >= 1%"]', "did you mean <="),
        ('ok = ["rate < 99%"]', "holds when less of it comes: did you mean >?"),
        ('goodput = ["value > 5"]', None),
        ('latency = ["p(95) < 1s"]', None),
        ('sent = ["value < 9"]', None),  # a load that was asked for is neither good nor bad
    ],
)
def test_a_gate_the_wrong_way_round_is_warned_of(thresholds: str, said: str | None) -> None:
    found = holds_when_worse(parse_scenario(SCENARIO + thresholds))
    assert (found == []) is (said is None)
    assert said is None or said in found[0]


@pytest.mark.parametrize(("slo", "said"), [("30s", True), ("20s", False), ("1s", False)])
def test_an_slo_beyond_the_timeout_is_warned_of(slo: str, said: bool) -> None:
    scenario = parse_scenario(f'{SCENARIO}[slo]\nlatency = "{slo}"')
    assert bool(slo_beyond_timeout(scenario)) is said


@pytest.mark.parametrize(
    ("planned", "expression", "said"),
    [
        (plan(1, 10.0), "p(95) < 1s", "takes 20 answers at least, and 1 requests are planned"),
        (plan(50, 10.0), "p(99) < 1s", "takes 100 answers at least"),
        (plan(50, 10.0), "p(95) < 1s", "is known from 59 answers on"),
        (plan(59, 10.0), "p(95) < 1s", None),
        (plan(1, 10.0), "max < 1s", None),
    ],
)
def test_a_load_too_small_for_a_percentile(
    planned: LoadPlan, expression: str, said: str | None
) -> None:
    scenario = parse_scenario(f'{SCENARIO}latency = ["{expression}"]')
    found = says_too_little(scenario, planned)
    assert (found == []) is (said is None)
    assert said is None or said in found[0]
    shown = plan_text(scenario, load_source(scenario, None), planned, None, relative=False)  # type: ignore[arg-type]
    assert ("warning   latency" in shown) is (said is not None)


@pytest.mark.parametrize("width", [40, 80])
def test_the_plan_fits_the_terminal(width: int) -> None:
    scenario = parse_scenario(f'{SCENARIO}latency = ["p(95) < 1s"]')
    source = load_source(scenario, None)  # type: ignore[arg-type]
    text = plan_text(scenario, source, plan(60, 60.0), None, relative=False, width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "█" in text
    assert "schedule" in text
