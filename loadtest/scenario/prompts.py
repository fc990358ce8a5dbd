"""What is asked for: the words of every request, a function of seed and index.

A server with a cache of text embeddings answers a repeated prompt faster, and a long prompt costs
more than a short one. So a mix says how long prompts are and which share of the requests repeat an
earlier one. Nothing is kept from request to request: chance comes from hashing (seed, stream,
index), so any process makes any request's prompt by itself.
"""

import math
from pathlib import Path, PurePosixPath
from statistics import NormalDist
from typing import Annotated

import msgspec

from loadtest.errors import ScenarioError, TraceError
from loadtest.tables.compression import bare_name, opened
from loadtest.tables.table import column_names, is_table, read_columns
from loadtest.units import nearest

MAX_CHARS = 32_000
MAX_TEXTS = 100_000
MAX_TEXT_BYTES = 16_000_000  # of a file; every generator process holds them
Z_90 = NormalDist().inv_cdf(0.9)

TEXTS = (
    "a family at the seaside, hand-drawn animation, soft watercolour background",
    "my dog waiting at a small railway station in summer rain, hand-drawn animation",
    "two friends on bicycles above a green valley, hand-drawn animation, evening light",
    "an old town street with a bakery at dawn, hand-drawn animation, warm colours",
)
FILLERS = (
    "soft light", "warm colours", "a quiet street", "distant hills", "tall grass", "paper lanterns",
    "morning fog", "a red umbrella", "an open window", "summer clouds", "falling leaves",
    "wooden boats", "a stone bridge", "wild flowers", "long shadows", "a small garden",
)  # fmt: skip
MAX_FILLERS = 64  # drawn for one prompt; longer ones say them again

REPEAT, EARLIER, LENGTH, FILL, NEGATIVE, WHICH = range(6)  # streams of chance


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A TOML table whose keys are all known."""


class Lengths(_Table, frozen=True, kw_only=True):
    """Lognormal lengths in characters, by their median and 90th percentile; cut at `most`."""

    median: Annotated[float, msgspec.Meta(ge=1)]
    p90: float
    most: Annotated[int, msgspec.Meta(ge=1, le=MAX_CHARS)] = 1000

    def __post_init__(self) -> None:
        if not self.median <= self.p90 < math.inf:
            raise ValueError(f"p90: expected at least the median, {self.median:g}")

    def at(self, u: float) -> int:
        """Characters at the quantile u: median·(p90/median)^(z(u)/z(0.9)), z the normal's."""
        ratio = self.p90 / self.median
        exponent = NormalDist().inv_cdf(min(max(u, 1e-12), 1 - 1e-12)) / Z_90
        return int(min(max(self.median * ratio**exponent, 1.0), self.most))


class PromptMix(_Table, frozen=True, kw_only=True):
    """The prompts of a scenario.

    `texts`, or a `file` with one a line (or .csv and .jsonl with `column`), take turns. With
    `repeats`, that share of the requests ask again for what one of the earlier requests, any of
    them, asked for; all others for something new, numbered where the texts run out. So some prompts
    grow popular by themselves (Simon, Biometrika 42, 1955). `chars` cuts a text or goes on with it
    until it is as long. A `negative` one goes along with `negative_share` of the requests.
    """

    texts: tuple[str, ...] = ()
    file: str | None = None  # relative to the scenario
    column: str = "prompt"
    chars: Annotated[int, msgspec.Meta(ge=1, le=MAX_CHARS)] | Lengths | None = None
    repeats: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    negative: tuple[str, ...] = ()
    negative_share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0

    def __post_init__(self) -> None:
        if self.texts and self.file is not None:
            raise ValueError("give texts or file, not both")
        if not all(text.strip() for text in (*self.texts, *self.negative)):
            raise ValueError("texts and negative: a prompt is empty")

    @property
    def words(self) -> str:
        """For people."""
        source = "built-in texts" if self.file is None else self.file
        said = [f"{len(self.texts)} texts" if self.texts else source]
        if self.repeats is not None:
            said.append(f"{100 * self.repeats:.3g}% repeat an earlier one")
        if isinstance(self.chars, Lengths):
            said.append(f"{self.chars.median:g} characters (median), p90 {self.chars.p90:g}")
        elif self.chars is not None:
            said.append(f"{self.chars} characters")
        if self.negative:
            said.append(f"{100 * self.negative_share:.3g}% with a negative prompt")
        return ", ".join(said)


def load_texts(prompts: tuple[str, ...] | PromptMix, folder: Path) -> list[str]:
    """The texts to choose from; a file's path is relative to `folder`.

    Raises:
        ScenarioError: the file cannot be read, holds no prompt, an empty one, or too many.
    """
    if not isinstance(prompts, PromptMix):
        return list(prompts)
    if prompts.file is None:
        return list(prompts.texts or TEXTS)
    path = folder / prompts.file
    at = "scenario: $.request.prompts.file:"
    try:
        if path.stat().st_size > MAX_TEXT_BYTES:
            raise ScenarioError(f"{at} {path} is larger than {MAX_TEXT_BYTES / 1e6:.0f} MB; cut it")
        texts = _texts_of(path, prompts.column)
    except (TraceError, OSError) as err:
        reason = f"cannot read {path}: {err.strerror}" if isinstance(err, OSError) else err
        raise ScenarioError(f"{at} {reason}") from err
    if not 0 < len(texts) <= MAX_TEXTS:
        raise ScenarioError(f"{at} {path} holds {len(texts):,} prompts; 1 to {MAX_TEXTS:,} can be")
    return texts


def _texts_of(path: Path, column: str) -> list[str]:
    """The prompts of a file: lines of text, a JSON list of them, or a table's column."""
    suffix = PurePosixPath(bare_name(path)).suffix.lower()
    if suffix != ".json" and is_table(path.name):
        return _column(path, column)
    text = _text(path)
    listed = _json_list(text)
    if listed is not None and suffix == ".json":
        return listed
    if suffix == ".json":
        return _column(path, column)
    if listed is not None:
        raise TraceError(f"{path} holds a JSON list, and not a prompt a line: name it .json")
    return [line.strip() for line in text.splitlines() if line.strip()]


def _text(path: Path) -> str:
    """The file as text.

    Raises:
        TraceError: too long, or not UTF-8; names the line, and what to do.
    """
    with opened(path) as file:
        raw = file.read(MAX_TEXT_BYTES + 1)
    if len(raw) > MAX_TEXT_BYTES:
        raise TraceError(f"{path} is larger than {MAX_TEXT_BYTES / 1e6:.0f} MB; cut it")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        line = raw.count(b"\n", 0, err.start) + 1
        from_what = "UTF-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "LATIN1"
        raise TraceError(
            f"{path}, line {line}, is not UTF-8 (byte {raw[err.start]:#04x}): save it as UTF-8, "
            f"for instance with iconv -f {from_what} -t UTF-8"
        ) from err


def _json_list(text: str) -> list[str] | None:
    """The texts of a JSON list, None where it is none.

    Raises:
        TraceError: a list with an empty text.
    """
    if not text.lstrip().startswith("["):
        return None
    try:
        texts = msgspec.json.decode(text, type=list[str])
    except (msgspec.DecodeError, RecursionError):
        return None
    if not all(each.strip() for each in texts):
        raise TraceError("its list holds an empty prompt")
    return [each.strip() for each in texts]


def _column(path: Path, name: str) -> list[str]:
    header = column_names(path)
    if name not in header:
        raise TraceError(f"{path} has no column {name!r}{nearest(name, header)}")
    codes, words = read_columns(path, [], [name]).words[name]
    return [words[code] for code in codes.tolist()]


def prompt_at(
    texts: list[str], mix: PromptMix, seed: int, seq: int, chars: int | None = None
) -> str:
    """The prompt of request `seq`; `chars` long where that is given, as by a trace."""
    number = seq if mix.repeats is None else first_asked(mix.repeats, seed, seq)
    text, round_ = texts[number % len(texts)], number // len(texts)
    if mix.repeats is not None and round_:
        text = f"no. {round_ + 1}, {text}"  # in front, so that no cut makes it an earlier one
    if chars is None and mix.chars is not None:
        length = mix.chars
        chars = length if isinstance(length, int) else length.at(chance(seed, LENGTH, number))
    if chars is None:
        return text
    cut = (text + _filling(chars - len(text), seed, number))[:chars]
    return cut.rstrip().ljust(chars, ".")  # a cut may end in a space


def _filling(chars: int, seed: int, number: int) -> str:
    """At least `chars` more characters for a prompt."""
    if chars <= 0:
        return ""
    draws = (chance(seed, FILL, number, k) for k in range(min(chars // 8 + 1, MAX_FILLERS)))
    some = "".join(f", {FILLERS[int(u * len(FILLERS))]}" for u in draws)
    return some * (chars // len(some) + 1)


def negative_at(mix: PromptMix, seed: int, seq: int) -> str | None:
    """The negative prompt of request `seq`."""
    if not mix.negative or chance(seed, NEGATIVE, seq) >= mix.negative_share:
        return None
    return mix.negative[int(chance(seed, WHICH, seq) * len(mix.negative))]


def first_asked(repeats: float, seed: int, seq: int) -> int:
    """The request that first asked for what request `seq` asks for: itself where it is new."""
    while seq > 0 and chance(seed, REPEAT, seq) < repeats:
        seq = int(chance(seed, EARLIER, seq) * seq)
    return seq


def chance(seed: int, *path: int) -> float:
    """A number in [0, 1) that looks random and is the same everywhere.

    splitmix64 (Steele, Lea and Flood, OOPSLA 2014), once a number of the path.
    """
    mask = 2**64 - 1
    state = seed
    for number in path:
        state = (state + (number + 1) * 0x9E3779B97F4A7C15) & mask
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
        state ^= state >> 31
    return (state >> 11) * 2.0**-53
