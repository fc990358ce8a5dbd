"""What the words of the command line change: of a scenario, and of the server that is started."""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from loadtest.errors import ConfigurationError
from loadtest.scenario import scenario as scenarios
from loadtest.scenario.scenario import Scenario, TraceFile
from loadtest.tables.table import is_table
from loadtest.traces.trace import KNOWN
from loadtest.units import parse_duration
from profiles.capacity.bill import bill_of
from profiles.capacity.prices import built_in, choose
from profiles.requests.threshold import DEFAULT_KEY


def scenario_of(options: argparse.Namespace) -> tuple[Scenario, str, Path]:
    """The scenario asked for, changed by the command line; its text; where its paths start."""
    name = options.scenario
    if "://" in name:
        raise ConfigurationError(
            f"{name!r} is an address: a server to load is named with --host URL, and a scenario or "
            "trace is a file: download it"
        )
    if is_table(name):
        text, folder = _trace_scenario(options), Path.cwd()
    else:
        text, folder = scenarios.scenario_text(name)
    scenario = scenarios.parse_scenario(text)
    load: dict[str, Any] = {}
    if options.peak is not None:
        load["peak"] = _peak(options.peak)
    if options.arrivals is not None:
        load["arrivals"] = options.arrivals
    if options.real_time:
        load |= {"compression": 1.0, "compress_to": None}
    elif options.compression is not None:
        load |= {"compression": options.compression, "compress_to": None}
    elif options.compress_to is not None:
        load |= {"compression": None, "compress_to": options.compress_to}
    request = {key: getattr(options, key) for key in ("size", "steps", "timeout")}
    asked = {key: value for key, value in request.items() if value is not None}
    changes: dict[str, dict[str, Any]] = {"load": load, "request": asked}
    changes["curve"] = _trace_options(options)
    if changes["curve"] and not isinstance(scenario.curve, TraceFile):
        word = "--" + next(iter(changes["curve"])).replace("_", "-")
        raise ConfigurationError(f"{word} says how to read a trace, and {name} has none")
    session: dict[str, Any] = {}
    if options.steps is not None and scenario.session is not None:
        session["steps"] = None  # one number for all, in place of a mix
    if options.retry is not None:
        if scenario.session is None:
            raise ConfigurationError("--retry: the scenario has no people; give it a [session]")
        session["retry"] = {"policy": options.retry}
    changes = {"session": session, **changes}
    scenario = scenarios.with_overrides(scenario, changes)
    if getattr(options, "no_default_thresholds", False):
        held = scenario.thresholds | {DEFAULT_KEY: False}
        scenario = msgspec.structs.replace(scenario, thresholds=held)
    if options.seed is not None:
        scenario = msgspec.structs.replace(scenario, seed=options.seed)
    return scenario, text, folder


def _trace_scenario(options: argparse.Namespace) -> str:
    """A scenario around a trace that was named on the command line."""
    path = Path(options.scenario)
    try:
        path.name.encode()
    except UnicodeEncodeError as err:  # bytes that are no UTF-8 reach us as lone surrogates
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise ConfigurationError(
            f"the file name {shown} is not UTF-8, so no run folder can tell it: rename the file"
        ) from err
    lines = [
        f"name = {_toml(scenarios.name_of(path.stem))}",
        f"title = {_toml(f'Recorded traffic: {path.name}')}",
        "[curve]",
        'kind = "trace"',
        f"file = {_toml(str(path))}",
    ]
    lines += [f"{key} = {_toml(value)}" for key, value in _trace_options(options).items()]
    lines += ["[load]"] + (['peak = "1x"'] if options.rate_scale is None else [])
    lines += ["[thresholds]", 'latency = ["p(95) < 10s"]',
              'rejected = ["rate < 1%"]', 'failed = ["rate < 1%"]']  # fmt: skip
    return "\n".join(lines) + "\n"


def _trace_options(options: argparse.Namespace) -> dict[str, Any]:
    """What the command line says of a trace, as its table of the scenario has it."""
    keys = [f"{kind}_column" for kind in KNOWN]
    keys += ["sort", "rows", "window", "time_scale", "rate_scale", "jitter"]
    return {key: getattr(options, key) for key in keys if getattr(options, key)}


def _toml(value: str | float | bool) -> str:
    return msgspec.json.encode(value).decode()  # JSON's strings and numbers are TOML, too


def _peak(text: str | None) -> float | str | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """Settings of the embedded server from --weights, --policy, --replicas and --set."""
    chosen = {key: _scalar(value) for key, value in pairs(options.set, "--set").items()}
    for name in ("weights", "policy", "replicas"):
        if getattr(options, name) is not None:
            chosen[name] = getattr(options, name)
    return chosen


def _scalar(text: str) -> Any:
    """A number, true, false or null as JSON has them, else the words themselves."""
    try:
        value = json.loads(text, parse_constant=str)  # NaN and infinities are words
    except ValueError:
        return text
    return text if isinstance(value, str | list | dict) else value


def fields_of(words: Sequence[str]) -> dict[str, Any]:
    """The fields of --body: JSON where the value is some, else the words themselves.

    Raises:
        ConfigurationError: a word without its key or equals sign, or JSON that no body can hold.
    """
    fields: dict[str, Any] = {}
    for key, text in pairs(words, "--body").items():
        try:
            fields[key] = json.loads(text, parse_constant=str)
            msgspec.json.encode(fields[key])
        except RecursionError as err:
            raise ConfigurationError(f"--body {key}: it is nested too deeply") from err
        except (msgspec.MsgspecError, UnicodeEncodeError, OverflowError, TypeError) as err:
            raise ConfigurationError(f"--body {key}: no body can hold it") from err
        except ValueError:
            fields[key] = text
    return fields


def pairs(words: Sequence[str], option: str) -> dict[str, str]:
    """`["a=1"]` as `{"a": "1"}`.

    Raises:
        ConfigurationError: a word without its key or equals sign.
    """
    pairs = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise ConfigurationError(f"{option}: expected KEY=VALUE, got {word!r}")
        pairs[key] = value
    return pairs


def gpu_price(stated: float | None) -> tuple[float, str]:
    """$ a GPU-hour and its basis: as stated, or what `viralload capacity` reckons with too."""
    if stated is not None:
        return stated, "stated with --gpu-price"
    bill = bill_of(choose(built_in()))
    return bill.usd_per_gpu_h, f"{bill.stand}: {bill.source}"


def seconds_of(text: str, option: str) -> float:
    """Seconds of an option's duration.

    Raises:
        ConfigurationError: It is none; the text names the option.
    """
    try:
        return float(parse_duration(text))
    except ValueError as err:
        raise ConfigurationError(f"{option}: {err}") from err
