"""Thresholds that cannot say anything of a run, told before it is made. Pure."""

from collections.abc import Iterator

from loadtest.scenario.scenario import Scenario
from loadtest.units import format_duration
from profiles.requests.threshold import Threshold, answers_least, answers_needed, parse
from profiles.schema import LoadPlan

MORE_IS_BETTER = ("ok", "goodput", "completed")
EITHER = ("offered", "sent")  # a load that was asked for is neither good nor bad
WITHIN_TIMEOUT = ("latency", "first_byte", "queue", "service")  # of ok requests, so never beyond it


def cannot_fail(scenario: Scenario) -> list[str]:
    """The limits beyond the timeout, in words: whoever takes longer is no ok request any more.

    People are left out: their latency counts from the first attempt, through all that follow.
    """
    timeout_s = float(scenario.request.timeout)
    if scenario.session is not None:
        return []
    found = []
    for name, one in _thresholds(scenario):
        if one.metric in WITHIN_TIMEOUT and one.operator in ("<", "<=") and one.limit > timeout_s:
            plain = one.expression.strip()[-1].isdigit()
            hint = (
                f"a plain number is seconds: did you mean {one.limit:g}ms? Else " if plain else ""
            )
            found.append(
                f'thresholds.{name}: "{one.expression}" can never fail, because a request is given '
                f"up after {format_duration(timeout_s)}: {hint}lower the limit, or give a longer "
                "--timeout"
            )
    return found


def slo_beyond_timeout(scenario: Scenario) -> list[str]:
    """That goodput is all that comes back, in words, where the SLO is longer than the timeout."""
    slo_s, timeout_s = float(scenario.slo.latency), float(scenario.request.timeout)
    if slo_s <= timeout_s or scenario.session is not None:
        return []
    said = f"slo.latency is {format_duration(slo_s)}, and a request is given up after "
    return [f"{said}{format_duration(timeout_s)}: whatever comes back counts as goodput"]


def holds_when_worse(scenario: Scenario) -> list[str]:
    """The limits that hold when requests are slow or fail, in words: the wrong way round."""
    found = []
    for name, one in _thresholds(scenario):
        wrong = ("<", "<=") if one.metric in MORE_IS_BETTER else (">", ">=")
        if one.operator in wrong and one.metric not in EITHER:
            turned = one.operator.translate(str.maketrans("<>", "><"))
            worse = "less of it comes" if one.metric in MORE_IS_BETTER else "it gets worse"
            found.append(
                f'{name} "{one.expression.strip()}" holds when {worse}: did you mean {turned}?'
            )
    return found


def says_too_little(scenario: Scenario, plan: LoadPlan) -> list[str]:
    """What the planned load will be too small for, as `profiles.summary.validity` judges it."""
    found = []
    for name, one in _thresholds(scenario):
        if one.percent is None:
            continue
        told = f'{name} "{one.expression.strip()}"'
        if plan.requests < answers_least(one.percent):
            found.append(
                f"{told} takes {answers_least(one.percent):,} answers at least, and "
                f"{plan.requests:,} requests are planned: the run can fail, but not pass. Raise "
                "--peak, let it last longer, or hold a lower percentile"
            )
        elif plan.requests < answers_needed(one.percent):
            found.append(
                f"{told} is known from {answers_needed(one.percent):,} answers on, and "
                f"{plan.requests:,} requests are planned"
            )
    return found


def _thresholds(scenario: Scenario) -> Iterator[tuple[str, Threshold]]:
    for name, expressions in scenario.own_thresholds.items():
        for expression in expressions:
            yield name, parse(name, expression)
