"""Thresholds in k6's grammar: `latency = ["p(95) < 10s", "max < 30s"]`. Pure.

    expression = aggregator operator number [unit]

    metric                                         aggregators                    number
    latency first_byte lateness queue service      p(N) avg min med max           10s 200ms 2min 10
    ok rejected failed timeout abandoned unsent    rate count                     1% 0.01; count: 5
    goodput offered sent completed                 value                          2.5 (images/s)
    goodput                                        count                          images in time

    metric{tag:value}                              the same, of these requests only

Tags are `class` (paying, free), `steps` (30) and `size` (512x512): `latency{class:paying}`. Rates
in images/s have none. Trends are of ok requests (lateness: of sent ones); a rate is a share of the
scheduled requests. A run is held to DEFAULTS too, so that one in which nothing came back cannot
pass: see `default_gate`.
The grammar is https://grafana.com/docs/k6/latest/using-k6/thresholds/, plus units.
"""

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches

import msgspec
import numpy as np

from profiles.schema import Outcome, ThresholdResult
from profiles.stats import arrays
from profiles.stats.arrays import Floats

CONFIDENCE = 0.95  # that a percentile is what it is called
TRENDS = ("latency", "first_byte", "lateness", "queue", "service")
COUNTS = tuple(outcome.value for outcome in Outcome)
RATES = ("goodput", "offered", "sent", "completed")
METRICS = (*TRENDS, *COUNTS, *RATES)

OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "===": operator.eq,
    "!=": operator.ne,
}

AGGREGATORS = (
    dict.fromkeys(TRENDS, ("p", "avg", "min", "med", "max"))
    | dict.fromkeys(COUNTS, ("rate", "count"))
    | dict.fromkeys(RATES, ("value",))
    | {"goodput": ("value", "count")}
)
DEFAULTS = {  # what every run is held to, unless its scenario says otherwise
    "failed": ("rate < 1%",),
    "rejected": ("rate < 1%",),
    "timeout": ("rate < 1%",),
    "goodput": ("count > 0",),  # not its rate: a load may be shorter than an answer takes
}
DEFAULT_KEY = "default"  # of a scenario's [thresholds]; false: DEFAULTS do not hold
UNITS: dict[str, dict[str, float]] = {  # the unit a limit is kept in -> what may be written
    "s": {"": 1.0, "s": 1.0, "ms": 1e-3, "min": 60.0},
    "share": {"": 1.0, "%": 1e-2},
    "count": {"": 1.0},
    "images/s": {"": 1.0, "images/s": 1.0},
}

TAGS = {  # how their values are written
    "class": (re.compile("paying|free"), "paying or free"),
    "steps": (re.compile("[1-9][0-9]*"), "a number such as 30"),
    "size": (re.compile("[1-9][0-9]*x[1-9][0-9]*"), "WIDTHxHEIGHT such as 512x512"),
}

_METRIC = re.compile(r"(?P<metric>[^{}]*)(?:\{(?P<tag>[^{}:]*):(?P<value>[^{}]*)\})?")
_EXPRESSION = re.compile(
    r"""\s* (?P<aggregator> [^\s()<>=!]+ ) \s* (?: \( \s* (?P<percent> [^()]*? ) \s* \) )?
        \s* (?P<operator> [<>=!]+ )
        \s* (?P<number> [+-]? (?: \d+\.?\d* | \.\d+ ) (?: [eE] [+-]? \d+ )? )
        \s* (?P<unit> \S* ) \s*""",
    re.VERBOSE,
)


class ThresholdError(ValueError):
    """A threshold that cannot be read; the text names the metric, the fault and what is valid."""


class Threshold(msgspec.Struct, frozen=True, kw_only=True):
    """A limit on one aggregate of one metric."""

    metric: str
    tag: str | None = None  # "class:paying": of these requests only
    expression: str  # as written
    aggregator: str  # "p" for p(N)
    percent: float | None = None  # N of p(N)
    operator: str
    limit: float  # in `unit`
    unit: str  # "s" | "share" | "count" | "images/s"


class Measurements(msgspec.Struct, frozen=True, kw_only=True):
    """What a run measured, ready to be held against thresholds."""

    trends: dict[str, Floats]  # seconds, NaN where unknown
    outcomes: dict[str, int]  # requests
    scheduled: int  # requests
    images_per_s: dict[str, float | None] = {}
    images_in_time: int | None = None  # ok and within the SLO, whenever they came
    tagged: dict[str, "Measurements"] = {}  # by tag, "class:paying"


def parse(name: str, expression: str) -> Threshold:
    """Read one expression about one metric, `latency` or `latency{class:paying}`.

    Raises:
        ThresholdError: no such metric, tag, aggregator, operator or unit, or not the grammar.
    """
    metric, tag = _tagged(name)
    if metric not in METRICS:
        raise ThresholdError(
            f'thresholds: no metric "{metric}"{_nearest(metric, METRICS)}; '
            f"valid: {', '.join(METRICS)}"
        )
    if tag is not None and metric in RATES:
        raise ThresholdError(f"thresholds: {metric} has no tags; write {metric} alone")
    at = f'thresholds.{name}: "{expression}"'
    match = _EXPRESSION.fullmatch(expression)
    if match is None:
        raise ThresholdError(
            f'{at} is not `aggregator operator number`; write for example "{example(metric)}"'
        )
    aggregator, percent = _aggregator(at, metric, match["aggregator"], match["percent"])
    if match["operator"] not in OPERATORS:
        raise ThresholdError(
            f'{at}: no operator "{match["operator"]}"; valid: {" ".join(OPERATORS)}'
        )
    kind = _unit_kind(metric, aggregator)
    if match["unit"] not in UNITS[kind]:
        valid = ", ".join(unit or "none" for unit in UNITS[kind])
        raise ThresholdError(
            f'{at}: {aggregator} of {metric} has no unit "{match["unit"]}"; valid: {valid}'
        )
    limit = float(match["number"]) * UNITS[kind][match["unit"]]
    if not np.isfinite(limit):
        raise ThresholdError(f"{at}: the limit is not a finite number")
    _check_can_fail(at, kind, match["operator"], limit)
    if kind == "share" and not 0.0 <= limit <= 1.0:
        raise ThresholdError(
            f"{at}: a rate is a share between 0 and 1 (or 0% and 100%); "
            "for a number of requests write count"
        )
    return Threshold(
        metric=metric,
        tag=tag,
        expression=expression,
        aggregator=aggregator,
        percent=percent,
        operator=match["operator"],
        limit=limit,
        unit=kind,
    )


def _check_can_fail(at: str, kind: str, compare: str, limit: float) -> None:
    """Refuse a limit that every measurement keeps, or none can."""
    top = 1.0 if kind == "share" else np.inf
    if limit < 0.0:
        raise ThresholdError(f"{at}: nothing measured is below 0; give a limit above 0")
    if kind == "share" and limit == 1.0 and compare == "<" and not at.rstrip('"').endswith("%"):
        raise ThresholdError(f'{at}: 1 is all of them: did you mean "rate < 1%"?')
    if (compare, limit) in ((">=", 0.0), ("<=", top)):
        raise ThresholdError(f"{at} can never fail; give a limit that can be missed")
    if (compare, limit) in (("<", 0.0), (">", top)):
        remedy = "give a limit above 0" if limit == 0.0 else "give one below 100%"
        why = ": no request takes 0 s or less" if kind == "s" else ""
        raise ThresholdError(f"{at} can never hold{why}; {remedy}")


def parse_all(thresholds: Mapping[str, Sequence[str]]) -> list[Threshold]:
    """Read a scenario's thresholds, in their order.

    Raises:
        ThresholdError: see `parse`.
    """
    return [parse(metric, text) for metric, texts in thresholds.items() for text in texts]


def default_gate(own: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """The DEFAULTS that hold beside a scenario's own thresholds: of the metrics it does not name.

    One with a tag is of some requests only, so it replaces nothing.
    """
    return {metric: texts for metric, texts in DEFAULTS.items() if metric not in own}


def readable(thresholds: Mapping[str, Sequence[str]]) -> tuple[list[Threshold], list[str]]:
    """Those expressions that can be read, in their order, and why the others cannot."""
    found, faults = [], []
    for metric, texts in thresholds.items():
        for text in texts:
            try:
                found.append(parse(metric, text))
            except ThresholdError as err:
                faults.append(str(err))
    return found, faults


def answers_least(percent: float) -> int:
    """How many answers a percentile is a figure of its own from: n with n (1 - p) >= 1.

    Of fewer, none is expected beyond it: it lies between the two largest. p(95): 20, p(99): 100. Up
    to p(50) it is no tail, and one does.
    """
    return math.ceil(100.0 / (100.0 - percent) - 1e-9) if 50.0 < percent < 100.0 else 1


def answers_needed(percent: float) -> int:
    """How many answers a percentile is to be relied on from: n with 1 - p^n >= CONFIDENCE.

    Of n answers that come by chance, the largest lies beyond the p-quantile with a probability of
    1 - p^n (S. S. Wilks, Ann. Math. Stat. 12, 1941), whatever their distribution; fewer could all
    lie below it. p(95): 59, p(99): 299. MLPerf's LoadGen stops a test early by the same bound, at a
    confidence of 0.99 (inference rules, "early stopping").
    """
    share = percent / 100.0
    return math.ceil(math.log(1.0 - CONFIDENCE) / math.log(share)) if 0.5 < share < 1.0 else 1


def too_few(
    thresholds: Sequence[Threshold], measured: Measurements, least: Callable[[float], int]
) -> list[str]:
    """The percentiles of fewer answers than `least` gives, in words."""
    found = []
    for one in thresholds:
        of = measured if one.tag is None else measured.tagged.get(one.tag)
        if one.percent is None or of is None:
            continue
        known = int((~np.isnan(of.trends[one.metric])).sum())
        if known < least(one.percent):
            told = f"{named(one)} p({one.percent:g})"
            found.append(f"{told} has {known:,} answers of {least(one.percent):,}")
    return found


def spell(threshold: Threshold) -> str:
    """The expression in plain SI; parsing it gives the same threshold back."""
    aggregator = threshold.aggregator
    if threshold.percent is not None:
        aggregator = f"p({threshold.percent!r})"
    unit = "s" if threshold.unit == "s" else ""
    return f"{aggregator} {threshold.operator} {threshold.limit!r}{unit}"


def named(threshold: Threshold) -> str:
    """The metric with its tag, as written."""
    return threshold.metric + (f"{{{threshold.tag}}}" if threshold.tag else "")


def evaluate(
    thresholds: Sequence[Threshold], measured: Measurements, *, default: bool = False
) -> list[ThresholdResult]:
    """Hold each threshold against what was measured; unknown never passes.

    `default` marks the results as those of thresholds that the scenario did not set.
    """
    results = []
    for threshold in thresholds:
        of = measured if threshold.tag is None else measured.tagged.get(threshold.tag)
        actual = None if of is None else _actual(threshold, of)
        compare = OPERATORS[threshold.operator]
        results.append(
            ThresholdResult(
                metric=named(threshold),
                expression=threshold.expression,
                actual=actual,
                unit=threshold.unit,
                limit=threshold.limit,
                passed=actual is not None and compare(actual, threshold.limit),
                default=default,
            )
        )
    return results


def _tagged(name: str) -> tuple[str, str | None]:
    """`latency{class:paying}` as its metric and its tag."""
    match = _METRIC.fullmatch(name)
    if match is None:
        raise ThresholdError(
            f'thresholds: "{name}" is no metric, nor one with a tag: "latency{{class:paying}}"'
        )
    tag, value = match["tag"], match["value"]
    if tag is None:
        return name, None
    if tag not in TAGS:
        raise ThresholdError(
            f'thresholds: "{name}": no tag "{tag}"{_nearest(tag, tuple(TAGS))}; '
            f"valid: {', '.join(TAGS)}"
        )
    pattern, valid = TAGS[tag]
    if not pattern.fullmatch(value):
        raise ThresholdError(f'thresholds: "{name}": {tag} is {valid}')
    return match["metric"], f"{tag}:{value}"


def _actual(threshold: Threshold, measured: Measurements) -> float | None:
    metric = threshold.metric
    if metric in TRENDS:
        return _trend(threshold, measured.trends[metric])
    # "sent" is a rate in images/s; no outcome has that name, so the tables do not overlap.
    if metric in RATES:
        if threshold.aggregator == "count":
            return measured.images_in_time
        return measured.images_per_s[metric]
    count = measured.outcomes[metric]
    if threshold.aggregator == "count":
        return float(count)
    return count / measured.scheduled if measured.scheduled else None


def _trend(threshold: Threshold, values: Floats) -> float | None:
    match threshold.aggregator:
        case "avg":
            return arrays.mean(values)
        case "min":
            return arrays.smallest(values)
        case "max":
            return arrays.largest(values)
        case "med":
            return arrays.quantile(values, 0.5)
    assert threshold.percent is not None
    return arrays.quantile(values, threshold.percent / 100.0)


def _aggregator(at: str, metric: str, word: str, percent: str | None) -> tuple[str, float | None]:
    valid = AGGREGATORS[metric]
    shown = ", ".join("p(N)" if name == "p" else name for name in valid)
    if word not in valid:
        digits = re.fullmatch(r"p(\d+(?:\.\d+)?)", word)
        if digits and "p" in valid:
            hint = f' (did you mean "p({digits[1]})"?)'
        else:
            hint = _nearest(word, valid)
        raise ThresholdError(f'{at}: {metric} has no aggregator "{word}"{hint}; valid: {shown}')
    if word != "p":
        if percent is not None:
            raise ThresholdError(f"{at}: {word} takes no argument; only p(N) does")
        return word, None
    try:
        number = float(percent if percent is not None else "")
    except ValueError:
        number = np.nan
    if not 0.0 <= number <= 100.0:
        raise ThresholdError(f"{at}: p needs a percentile between 0 and 100, such as p(95)")
    if 0.0 < number < 1.0:
        raise ThresholdError(
            f'{at}: p takes percents, not shares: did you mean "p({100.0 * number:g})"?'
        )
    return "p", number


def _unit_kind(metric: str, aggregator: str) -> str:
    if metric in TRENDS:
        return "s"
    if aggregator == "count":
        return "count"
    return "images/s" if metric in RATES else "share"


def example(metric: str) -> str:
    """An expression that such a metric may have."""
    if metric in TRENDS:
        return "p(95) < 10s"
    return "value > 2" if metric in RATES else "rate < 1%"


def _nearest(word: str, valid: Sequence[str]) -> str:
    near = get_close_matches(word, valid, n=1, cutoff=0.5)
    return f' (did you mean "{near[0]}"?)' if near else ""
