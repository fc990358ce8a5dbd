"""What the words of `viralload find` ask for, and what it found before."""

import argparse
import re
from pathlib import Path

import msgspec

from loadtest.errors import ConfigurationError
from loadtest.scenario import scenario as scenarios
from loadtest.scenario.scenario import Scenario
from loadtest.units import parse_duration
from profiles.record.columns import request_columns
from profiles.record.folder import RunError, RunFolder
from profiles.report.text.search import interval
from profiles.requests.request_mix import Mix, mix_of
from profiles.requests.threshold import Threshold, ThresholdError, parse, spell

MIN_PRECISION, MAX_PRECISION = 0.001, 0.5


class SearchGoal(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asks of a search."""

    slo: str
    limit_s: float
    allowed: float
    precision: float
    time_s: float


def scenario_of(options: argparse.Namespace) -> tuple[Scenario, str, Path]:
    """The scenario whose requests are sent; its people and its curve will be left out."""
    text, folder = scenarios.scenario_text(options.scenario)
    scenario = scenarios.parse_scenario(text)
    request = {key: getattr(options, key) for key in ("size", "steps", "timeout")}
    asked = {key: value for key, value in request.items() if value is not None}
    scenario = scenarios.with_overrides(scenario, {"request": asked})
    seed = scenario.seed if options.seed is None else options.seed
    return msgspec.structs.replace(scenario, seed=seed), text, folder


def goal_of(options: argparse.Namespace, scenario: Scenario) -> SearchGoal:
    """The search asked for.

    Raises:
        ConfigurationError: no SLO to search for, or a word that cannot be read.
    """
    slo = _slo(options.slo, scenario)
    share = 0.5 if slo.aggregator == "med" else (slo.percent or 0.0) / 100.0
    try:
        time_s = float(parse_duration(options.time))
    except ValueError as err:
        raise ConfigurationError(f"--time: {err}") from err
    return SearchGoal(
        slo=slo.expression.strip(),
        limit_s=slo.limit,
        allowed=1.0 - share,
        precision=_precision(options.precision),
        time_s=time_s,
    )


def capacity_of(word: str | None) -> tuple[float | None, str]:
    """Images/s that `--capacity` names, and where they come from.

    Raises:
        ConfigurationError: neither a rate nor the folder of a search that found one.
    """
    if word is None:
        return None, "given"
    try:
        rate = float(word)
    except ValueError:
        return _found(Path(word))
    if not 0 < rate < float("inf"):
        raise ConfigurationError(f"--capacity: expected images/s above 0, got {word}")
    return rate, "given"


def mix_asked(word: str | None) -> Mix | None:
    """What the search that `--capacity` names asked for; None: a rate, or nothing was answered."""
    if word is None or not Path(word).is_dir():
        return None
    return mix_of(request_columns(RunFolder(Path(word)).requests()))


def _found(path: Path) -> tuple[float, str]:
    try:
        result = RunFolder.open(path).find()
    except RunError as err:
        raise ConfigurationError(
            f"--capacity: {err}. Give images/s, or the folder of a `viralload find`"
        ) from err
    if result.low_images_per_s is None or result.images_per_s is None or not result.valid:
        raise ConfigurationError(f"--capacity: the search in {path} found no capacity")
    if result.high_images_per_s is None:
        return result.images_per_s, f"found: at least so much at {result.slo}"
    return result.images_per_s, f"found: {interval(result)} at {result.slo}"


def _slo(word: str | None, scenario: Scenario) -> Threshold:
    own = [text for text in scenario.own_thresholds.get("latency", ()) if text.startswith("p(")]
    text = word or next(iter(own), f"p(95) < {float(scenario.slo.latency):g}s")
    try:
        slo = parse("latency", text)
    except ThresholdError as err:
        raise ConfigurationError(f"--slo: {str(err).removeprefix('thresholds.latency: ')}") from err
    is_share = slo.aggregator == "med" or 0 < (slo.percent or 0) < 100
    if slo.aggregator not in ("p", "med") or slo.operator not in ("<", "<=") or not is_share:
        raise ConfigurationError(
            f'--slo: "{spell(slo)}" says nothing of a share of the requests; write "p(95) < 2s"'
        )
    if slo.limit <= 0:
        raise ConfigurationError(f'--slo: "{text}": no request takes 0 s or less')
    return slo


def _precision(word: str) -> float:
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*(%?)\s*", word)
    value = float(match[1]) * (0.01 if match[2] else 1.0) if match else 0.0
    if not MIN_PRECISION <= value <= MAX_PRECISION:
        raise ConfigurationError(
            f'--precision: expected a share such as 3% or 0.03, from 0.1% to 50%, got "{word}"'
        )
    return value
