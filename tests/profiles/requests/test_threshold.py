"""Thresholds: the grammar, its errors, and what is held against what."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.requests import threshold
from profiles.requests.threshold import (
    Measurements,
    Threshold,
    ThresholdError,
    answers_least,
    evaluate,
    parse,
    spell,
)

LATENCY = np.array([1.0, 2.0, 3.0, 4.0, np.nan])


def measured(**changes: object) -> Measurements:
    values: dict[str, object] = {
        "trends": dict.fromkeys(threshold.TRENDS, LATENCY),
        "outcomes": dict.fromkeys(threshold.COUNTS, 0) | {"ok": 150, "rejected": 50},
        "scheduled": 200,
        "images_per_s": {"goodput": 2.5, "offered": 4.0, "sent": 4.0, "completed": None},
    }
    return Measurements(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("metric", "expression", "limit", "unit"),
    [
        ("latency", "p(95) < 10s", 10.0, "s"),
        ("latency", "p(99.9)<=200ms", 0.2, "s"),
        ("latency", "  max  <  2min ", 120.0, "s"),
        ("lateness", "med < 0.02", 0.02, "s"),  # a plain number is in seconds
        ("queue", "avg < 1e1", 10.0, "s"),
        ("rejected", "rate < 1%", 0.01, "share"),
        ("ok", "rate >= .99", 0.99, "share"),
        ("failed", "count == 0", 0.0, "count"),
        ("goodput", "value > 2", 2.0, "images/s"),
        ("completed", "value > 2.5 images/s", 2.5, "images/s"),
    ],
)
def test_parse(metric: str, expression: str, limit: float, unit: str) -> None:
    parsed = parse(metric, expression)
    assert parsed.limit == pytest.approx(limit)
    assert parsed.unit == unit
    assert parsed.expression == expression


@pytest.mark.parametrize(
    ("metric", "expression", "words"),
    [
        ("latancy", "p(95) < 1s", ['no metric "latancy"', 'did you mean "latency"', "goodput"]),
        ("latency", "p95 < 10s", ["thresholds.latency", '"p95"', 'did you mean "p(95)"']),
        ("latency", "avrg < 10s", ['did you mean "avg"', "p(N), avg, min, med, max"]),
        ("latency", "p(95) 10s", ["aggregator operator number", "p(95) < 10s"]),
        ("latency", "", ["aggregator operator number"]),
        ("latency", "p(95) < 10h", ['no unit "h"', "none, s, ms, min"]),
        ("latency", "p(95) < 1%", ['no unit "%"']),
        ("latency", "p(101) < 1s", ["between 0 and 100"]),
        ("latency", "p(nan) < 1s", ["between 0 and 100"]),
        ("latency", "p < 1s", ["between 0 and 100"]),
        ("latency", "max(3) < 1s", ["max takes no argument"]),
        ("latency", "max <> 1s", ['no operator "<>"', "<= "]),
        ("latency", "max < 1e999", ["not a finite number"]),
        ("rejected", "rate < 5", ["share between 0 and 1", "count"]),
        ("rejected", "value < 5", ['no aggregator "value"', "rate, count"]),
        ("failed", "count < 1%", ['no unit "%"', "valid: none"]),
        ("goodput", "rate > 2", ['no aggregator "rate"', "valid: value"]),
        ("goodput", "nonsense", ["value > 2"]),
        ("latency{klass:free}", "max < 1s", ['no tag "klass"', 'did you mean "class"', "size"]),
        ("latency{class:rich}", "max < 1s", ["class is paying or free"]),
        ("latency{steps:many}", "max < 1s", ["steps is a number such as 30"]),
        ("latency{size:512}", "max < 1s", ["size is WIDTHxHEIGHT such as 512x512"]),
        ("latency{class}", "max < 1s", ['"latency{class:paying}"']),
        ("latancy{class:free}", "max < 1s", ['did you mean "latency"']),
        ("goodput{class:free}", "value > 1", ["goodput has no tags"]),
        ("latency{class:free}", "p95 < 1s", ["thresholds.latency{class:free}", '"p(95)"']),
        # gates that cannot fail, or cannot hold
        ("latency", "p(0.95) < 5ms", ['did you mean "p(95)"']),
        ("queue", "p(0.5) < 1s", ['did you mean "p(50)"']),
        ("latency{steps:30}", "p(.999) < 1s", ['did you mean "p(99.9)"']),
        ("latency", "max < -1s", ["below 0", "above 0"]),
        ("latency", "p(95) < 0s", ["can never hold", "above 0"]),
        ("failed", "count < 0", ["can never hold"]),
        ("failed", "count >= 0", ["can never fail"]),
        ("rejected", "rate <= 100%", ["can never fail"]),
        ("ok", "rate > 1", ["can never hold", "below 100%"]),
        ("goodput", "value >= 0", ["can never fail"]),
    ],
)
def test_errors_name_the_metric_the_fault_and_the_remedy(
    metric: str, expression: str, words: list[str]
) -> None:
    with pytest.raises(ThresholdError) as caught:
        parse(metric, expression)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("metric", "expression", "actual", "passed"),
    [
        ("latency", "p(50) < 2.5", 2.5, False),  # 1 2 3 4: h = 1.5 -> 2.5
        ("latency", "p(50) <= 2.5", 2.5, True),
        ("latency", "med == 2.5", 2.5, True),
        ("latency", "p(95) < 4s", 3.85, True),  # h = 2.85: 3 + 0.85
        ("latency", "avg != 2.5", 2.5, False),
        ("latency", "max < 4s", 4.0, False),
        ("latency", "min > 999ms", 1.0, True),
        ("rejected", "rate < 25%", 0.25, False),  # 50 of 200
        ("rejected", "rate <= 25%", 0.25, True),
        ("ok", "count >= 150", 150.0, True),
        ("timeout", "count === 0", 0.0, True),
        ("goodput", "value > 2", 2.5, True),
        ("completed", "value > 0", None, False),  # unknown never passes
        ("completed", "value != 5", None, False),
    ],
)
def test_evaluate(metric: str, expression: str, actual: float | None, passed: bool) -> None:
    [result] = evaluate([parse(metric, expression)], measured())
    assert result.actual == pytest.approx(actual)
    assert result.passed is passed
    assert (result.metric, result.expression) == (metric, expression)


@pytest.mark.parametrize(
    ("metric", "expression"), [("latency", "p(95) < 10s"), ("rejected", "rate < 1%")]
)
def test_nothing_measured_never_passes(metric: str, expression: str) -> None:
    nothing = measured(trends=dict.fromkeys(threshold.TRENDS, np.array([])), scheduled=0)
    [result] = evaluate([parse(metric, expression)], nothing)
    assert result.actual is None
    assert not result.passed


@st.composite
def thresholds(draw: st.DrawFn) -> Threshold:
    metric = draw(st.sampled_from(threshold.METRICS))
    aggregator = draw(st.sampled_from(threshold.AGGREGATORS[metric]))
    share = aggregator == "rate"
    limit = draw(  # one that can be kept, and missed
        st.floats(
            0.0, 1.0 if share else 1e6, allow_subnormal=False, exclude_min=True, exclude_max=True
        )
    )
    percent = draw(st.floats(1.0, 100.0)) if aggregator == "p" else None
    written = aggregator if percent is None else f"p({percent!r})"
    return parse(metric, f"{written} {draw(st.sampled_from(list(threshold.OPERATORS)))} {limit!r}")


@given(thresholds())
def test_spelling_and_parsing_again_changes_nothing(one: Threshold) -> None:
    again = parse(one.metric, spell(one))
    assert (again.metric, again.aggregator, again.percent) == (
        one.metric,
        one.aggregator,
        one.percent,
    )
    assert (again.operator, again.limit, again.unit) == (one.operator, one.limit, one.unit)


@pytest.mark.parametrize(
    ("percent", "least", "needed"),
    [
        (95.0, 20, 59),  # 1 / 0.05; 0.95^58 = 0.0510, 0.95^59 = 0.0485
        (99.0, 100, 299),  # ln 0.05 / ln 0.99 = 298.07
        (99.9, 1000, 2995),
        (90.0, 10, 29),
        (50.0, 1, 1),  # no tail
        (5.0, 1, 1),
        (100.0, 1, 1),  # the largest there was
    ],
)
def test_a_percentile_needs_so_many_answers(percent: float, least: int, needed: int) -> None:
    assert (answers_least(percent), threshold.answers_needed(percent)) == (least, needed)


@pytest.mark.parametrize(
    ("expression", "known", "said"),
    [
        ("p(95) < 9s", 19, ["latency p(95) has 19 answers of 20"]),
        ("p(95) < 9s", 20, []),
        ("p(99) < 9s", 59, ["latency p(99) has 59 answers of 100"]),
        ("max < 9s", 1, []),
        ("p(50) < 9s", 1, []),
    ],
)
def test_too_few_answers_are_counted(expression: str, known: int, said: list[str]) -> None:
    latency = np.concatenate([np.ones(known), np.full(500, np.nan)])  # of requests without answers
    of = measured(trends=dict.fromkeys(threshold.TRENDS, latency))
    assert threshold.too_few([parse("latency", expression)], of, answers_least) == said


def test_what_cannot_be_read_costs_itself_alone() -> None:
    found, faults = threshold.readable({"latency": ["p(95) < 3", "nonsense"], "moon": ["max < 1"]})
    assert [one.expression for one in found] == ["p(95) < 3"]
    assert ["nonsense" in faults[0], "moon" in faults[1]] == [True, True]


def test_parse_all_keeps_the_order() -> None:
    written = {"rejected": ["rate < 1%"], "latency": ["max < 9", "p(95) < 3"]}
    parsed = threshold.parse_all(written)
    assert [one.expression for one in parsed] == ["rate < 1%", "max < 9", "p(95) < 3"]
