"""scenario.toml -> Scenario: how a crowd arrives, what it asks for, what it would accept."""

import re
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from loadtest.errors import ScenarioError
from loadtest.scenario import session as crowd
from loadtest.scenario.messages import explain
from loadtest.scenario.prompts import TEXTS, PromptMix
from loadtest.tables.compression import ARCHIVES
from loadtest.tables.table import SUFFIXES, is_table
from loadtest.traffic.arrivals import Process, Word
from loadtest.traffic.curve import MAX_RATE, Curve, NonNegative, Positive
from loadtest.traffic.trace_window import parse_stretch
from loadtest.units import Duration, nearest, parse_duration
from profiles.requests.threshold import DEFAULT_KEY, ThresholdError, default_gate, example
from profiles.requests.threshold import parse as parse_threshold

SHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A TOML table whose keys are all known."""


class TraceFile(_Table, tag="trace", tag_field="kind", frozen=True, kw_only=True):
    """Recorded traffic as the curve; see `loadtest.traces.trace` for what its columns mean."""

    file: str  # relative to the scenario
    time_column: str | None = None
    rate_column: str | None = None
    count_column: str | None = None
    steps_column: str | None = None
    images_column: str | None = None
    size_column: str | None = None
    prompt_chars_column: str | None = None
    user_column: str | None = None
    sort: bool = False  # rows that go back in time are sorted, not refused
    rows: Literal["arrivals", "bins"] | None = None  # what they are, where the columns do not tell
    window: str | None = None  # a stretch of it: "10min@peak", or "10min@02:30:00" from its begin
    time_scale: Positive | None = None  # seconds in one unit of the time column; None: found out
    rate_scale: Positive = 1.0  # so many times the recorded arrivals
    jitter: Duration = Duration(0.0)  # spreads stamps that come in batches: + uniform(0, jitter)


class Load(_Table, frozen=True, kw_only=True):
    """How the curve becomes this node's load.

    `peak` is the highest rate: a number (images/s), "1.5x" (of the capacity measured before the
    load), "share" (this node's share, by GPUs, of what the event asks of a block), or absent: the
    curve's own rate, in images/s. Time is compressed by `compression`, or so that the load lasts
    `compress_to`.

    `arrivals` says how they come around that rate: a word, or a table with a `kind`: "gamma",
    "hawkes" or "mmpp" (see `loadtest.traffic.processes`). "poisson" and "smooth" are the same;
    "chat-like" and "agent-like" are bursts as measured; "even" has no chance in it; "trace" replays
    recorded arrivals. Absent: "trace" for a trace of arrivals, else "poisson".
    """

    peak: float | str | None = None
    arrivals: Word | Process | None = None
    compression: Annotated[float, msgspec.Meta(ge=1, le=MAX_RATE)] | None = None
    compress_to: Duration | None = None
    drain: Duration | None = None  # wait for answers after the last arrival; default: the timeout


class Request(_Table, frozen=True, kw_only=True):
    """What is asked of the server."""

    prompts: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] | PromptMix = TEXTS
    negative_prompt: str | None = None
    images: int | dict[str, NonNegative] = 1  # a request; or a mix: {"1" = 0.6, "4" = 0.4}
    size: str | None = None  # "WxH"; default: what the server says its model makes
    steps: Annotated[int, msgspec.Meta(ge=1, le=1000)] | None = None
    guidance_scale: NonNegative | None = None
    output_format: Literal["png", "jpeg", "webp"] | None = None
    timeout: Duration = Duration(60.0)


class Slo(_Table, frozen=True, kw_only=True):
    """What a person would accept: an image within `latency` of wanting it."""

    latency: Duration = Duration(10.0)


class Validity(_Table, frozen=True, kw_only=True):
    """When the generator itself is not to be trusted: above any of these the run is INVALID.

    `loop_stall` is the longest its event loop may stand still; `loop_cpu` the share of a core that
    its sending thread may use for as long as `loop_cpu_for` without a break; `local_errors` how
    many requests may fail on its own machine, for want of open files, ports or buffers.
    """

    lateness_p99: Duration = Duration(0.1)
    loop_stall: Duration = Duration(1.0)
    loop_cpu: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.95
    loop_cpu_for: Duration = Duration(5.0)
    local_errors: Annotated[int, msgspec.Meta(ge=0)] = 0


class Event(_Table, frozen=True, kw_only=True):
    """The event behind a curve whose rate is people/s."""

    images_per_person: Positive = 1.0
    basis: str


class Scenario(_Table, frozen=True, kw_only=True):
    """A whole scenario, checked."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$")]
    title: str
    notes: tuple[str, ...] = ()
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 1
    curve: Curve | TraceFile
    load: Load = Load()
    request: Request = Request()
    slo: Slo = Slo()
    thresholds: dict[str, tuple[str, ...] | bool] = {}  # bool: DEFAULT_KEY alone
    validity: Validity = Validity()
    event: Event | None = None
    session: crowd.Session | None = None  # people; None: every request comes by itself
    server: dict[str, str | int | float | bool] = {}  # settings of the server a run starts

    @property
    def own_thresholds(self) -> dict[str, tuple[str, ...]]:
        """Those that the scenario sets, by metric."""
        return {m: each for m, each in self.thresholds.items() if not isinstance(each, bool)}

    @property
    def default_thresholds(self) -> dict[str, tuple[str, ...]]:
        """Those that hold beside its own; empty where `[thresholds] default = false`."""
        if self.thresholds.get(DEFAULT_KEY) is False:
            return {}
        return default_gate(self.own_thresholds)


def builtin_names() -> list[str]:
    """The scenarios that come with viralload."""
    folder = resources.files("loadtest") / "scenarios"
    return sorted(
        f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")
    )


def scenario_text(name_or_path: str) -> tuple[str, Path]:
    """The text of a built-in scenario or of a file, and the folder its paths are relative to.

    Raises:
        ScenarioError: neither a built-in name nor a readable file.
    """
    if name_or_path in builtin_names():
        file = resources.files("loadtest") / "scenarios" / f"{name_or_path}.toml"
        return file.read_text(encoding="utf-8"), Path.cwd()
    path = Path(name_or_path)
    if path.suffix.lower() != ".toml":
        raise ScenarioError(_no_scenario(path, name_or_path))
    try:
        return path.read_text(encoding="utf-8-sig"), path.parent
    except (OSError, UnicodeDecodeError) as err:
        reason = err.strerror if isinstance(err, OSError) else "it is not UTF-8 text: save it so"
        raise ScenarioError(f"cannot read the scenario {path}: {reason}") from err


def _no_scenario(path: Path, name: str) -> str:
    """Why a word is no scenario, with the way out."""
    if not name.strip():
        return f"the scenario's name is empty{nearest(name, builtin_names())}"
    if is_table(name):
        return f"{name!r} is a trace, and a scenario (.toml) or a built-in one is needed here"
    if path.is_dir():
        return f"{name!r} is a folder: name a scenario (.toml) or a trace in it"
    if path.suffix.lower() in SHEETS:
        return f"{name!r} is a spreadsheet's own file: save the sheet as CSV"
    if path.exists() and not path.is_file():
        return f"{name!r} is no file: a trace is read more than once, so write it to a file first"
    if path.is_file():
        return (
            f"{name!r} is neither a scenario (.toml) nor a trace ({', '.join(SUFFIXES)}, packed "
            f"with gzip, bzip2, xz or Zstandard, or alone in {', '.join(ARCHIVES)}): rename it if "
            "it is one"
        )
    return f"no scenario {name!r}{nearest(name, builtin_names())}"


def name_of(text: str) -> str:
    """`text` as a scenario's name: letters, digits, dots, dashes."""
    return re.sub(r"[^a-zA-Z0-9._-]+", "-", text).strip("-._")[:64] or "trace"


def parse_scenario(text: str) -> Scenario:
    """The scenario written in TOML.

    Raises:
        ScenarioError: not TOML, an unknown key (names its path and the nearest valid one), a value
            of the wrong kind or out of range, a threshold that cannot be read.
    """
    try:
        data = tomllib.loads(text.removeprefix("\ufeff"))
    except tomllib.TOMLDecodeError as err:
        raise ScenarioError(f"the scenario is not TOML: {err}") from err
    except RecursionError as err:
        raise ScenarioError("the scenario is nested too deeply: a table in it never ends") from err
    _check_thresholds(data.get("thresholds"))
    try:
        scenario = msgspec.convert(data, Scenario, dec_hook=_decode_duration)
    except msgspec.ValidationError as err:
        raise ScenarioError(f"scenario: {explain(str(err), data, Scenario)}") from err
    _check(scenario)
    return scenario


def with_overrides(scenario: Scenario, changes: dict[str, dict[str, Any]]) -> Scenario:
    """The scenario with values from the command line, `{"load": {"peak": 2.0}}`, put over its own.

    Raises:
        ScenarioError: a value of the wrong kind or out of range.
    """
    for table, values in changes.items():
        if values:
            raw = merged(msgspec.to_builtins(getattr(scenario, table), enc_hook=float), values)
            kind = type(getattr(scenario, table))
            try:
                value = msgspec.convert(raw, kind, dec_hook=_decode_duration)
            except msgspec.ValidationError as err:
                fault = explain(str(err), raw, Scenario).replace("$", f"$.{table}")
                raise ScenarioError(f"command line: {fault}") from err
            scenario = msgspec.structs.replace(scenario, **{table: value})
    _check(scenario)
    return scenario


def merged(own: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`own` with the changes put over it, table by table."""
    nested = {k: merged(own[k], v) for k, v in changes.items() if isinstance(v, dict) and k in own}
    return {**own, **changes, **nested}


def image_weights(request: Request) -> dict[int, float]:
    """Images a request -> weight, checked.

    Raises:
        ScenarioError: a key that is no count from 1 to 10, or weights that sum to 0.
    """
    weights: dict[int, float] = {}
    mix = {str(request.images): 1.0} if isinstance(request.images, int) else request.images
    for key, weight in mix.items():
        if not key.isdecimal() or not 1 <= int(key) <= 10:
            raise ScenarioError(
                f"scenario: $.request.images: {key!r} is no number of images from 1 to 10"
            )
        weights[int(key)] = weight
    if not sum(weights.values()) > 0:
        raise ScenarioError("scenario: $.request.images: the weights sum to 0")
    return weights


def parse_size(size: str) -> tuple[int, int]:
    """Width and height in pixels of "WxH".

    Raises:
        ScenarioError: not of that form.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,4})\s*[xX×*]\s*([1-9][0-9]{0,4})", size.strip())
    if not match:
        raise ScenarioError(f'size: expected "WIDTHxHEIGHT" such as "512x512", got {size!r}')
    return int(match[1]), int(match[2])


def capacity_multiple(peak: float | str | None) -> float | None:
    """1.5 for "1.5x", None for every other kind of peak."""
    match = re.fullmatch(r"([0-9]*\.?[0-9]+)x", peak) if isinstance(peak, str) else None
    return float(match[1]) if match else None


def _check(scenario: Scenario) -> None:
    load = scenario.load
    if isinstance(load.peak, str) and load.peak != "share" and not capacity_multiple(load.peak):
        raise ScenarioError(
            f'scenario: $.load.peak: expected images/s such as 2.5, "1.5x" of the measured '
            f'capacity, or "share" of a block\'s demand, got {load.peak!r}'
        )
    if isinstance(load.peak, float | int) and not 0 < load.peak < float("inf"):
        raise ScenarioError(f"scenario: $.load.peak: expected a rate above 0, got {load.peak!r}")
    if load.peak == "share" and scenario.event is None:
        raise ScenarioError('scenario: $.load.peak: "share" needs the demand of an [event] table')
    curve = scenario.curve
    if isinstance(curve, TraceFile) and curve.rate_scale != 1 and load.peak is not None:
        raise ScenarioError("scenario: $.curve.rate_scale: give it or load.peak, not both")
    if isinstance(curve, TraceFile) and curve.window is not None:
        try:
            parse_stretch(curve.window)
        except ValueError as err:
            raise ScenarioError(f"scenario: $.curve.window: {err}") from err
        if load.compress_to is not None:
            raise ScenarioError(
                "scenario: $.curve.window: it says how long the load lasts, and so does "
                "load.compress_to; give one of the two"
            )
    if load.compression is not None and load.compress_to is not None:
        raise ScenarioError("scenario: $.load: give compression or compress_to, not both")
    if load.compress_to is not None and load.compress_to <= 0:
        raise ScenarioError("scenario: $.load.compress_to: expected a duration above 0")
    if scenario.request.size is not None:
        parse_size(scenario.request.size)
    for name, duration in (
        ("request.timeout", scenario.request.timeout),
        ("slo.latency", scenario.slo.latency),
    ):
        if duration <= 0:
            raise ScenarioError(f"scenario: $.{name}: expected a duration above 0")
    image_weights(scenario.request)
    prompts = scenario.request.prompts
    if isinstance(prompts, tuple) and not all(prompt.strip() for prompt in prompts):
        raise ScenarioError("scenario: $.request.prompts: a prompt is empty")
    if scenario.session is not None:
        crowd.check(scenario.session)
        if scenario.session.steps is not None and scenario.request.steps is not None:
            raise ScenarioError(
                "scenario: $.request.steps: session.steps is a mix of them; give one of the two"
            )
    if not isinstance(scenario.curve, TraceFile) and scenario.curve.duration_s <= 0:
        raise ScenarioError("scenario: $.curve: it lasts 0 s; give it a duration above 0")
    for metric, expressions in scenario.own_thresholds.items():
        for expression in expressions:
            try:
                threshold = parse_threshold(metric, expression)
            except ThresholdError as err:
                said = str(err).removeprefix(f"thresholds.{metric}: ").removeprefix("thresholds: ")
                raise ScenarioError(f"scenario: $.thresholds.{metric}: {said}") from err
            _check_class(scenario, metric, threshold.tag)


def _check_thresholds(thresholds: object) -> None:
    """Each metric has a list of expressions; `default` alone is true or false."""
    for metric, texts in thresholds.items() if isinstance(thresholds, dict) else ():
        at = f"scenario: $.thresholds.{metric}"
        if metric == DEFAULT_KEY:
            if not isinstance(texts, bool):
                raise ScenarioError(f"{at}: expected true or false, got {texts!r}")
        elif not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            one = texts if isinstance(texts, str) else example(metric)
            raise ScenarioError(
                f'{at}: expected a list of conditions, such as {metric} = ["{one}"], got {texts!r}'
            )


def _check_class(scenario: Scenario, metric: str, tag: str | None) -> None:
    tag, _, name = (tag or "").partition(":")
    if tag == "class" and name not in (scenario.session.classes if scenario.session else {}):
        raise ScenarioError(
            f"scenario: $.thresholds.{metric}: nobody is {name}; give it a share in "
            f"[session.classes.{name}]"
        )


def _decode_duration(kind: type, value: object) -> object:
    if kind is Duration:
        return parse_duration(value)
    raise NotImplementedError(f"{kind} has no reading")
