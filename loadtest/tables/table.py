"""Named columns of a table: streamed, so that a million rows take bounded memory.

CSV with commas, semicolons, tabs or bars, JSONL, a JSON list of objects, and Parquet, each packed
as `loadtest.tables.compression` reads it. Only the columns asked for are kept, as arrays: numbers
as float64, words as indices into the list of different words. A fault is named by its row and
column. Row 1 is the first line that is not empty: the header in CSV, the first object in JSONL.
"""

import contextlib
import csv
import functools
import math
import re
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from loadtest.errors import TraceError
from loadtest.tables import delimited, json_rows
from loadtest.tables.compression import ARCHIVES, bare_name, inner_name
from loadtest.tables.parquet import parquet_chunks, parquet_names

Array = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

DELIMITED = (".csv", ".tsv")
LINES = (".jsonl", ".ndjson")
LISTS = (".json",)
PARQUET = (".parquet", ".pq")
SUFFIXES = (*DELIMITED, *LINES, *LISTS, *PARQUET)
NUMBER = re.compile(r"\s*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*", re.ASCII)
NOTHING = frozenset({"", "null", "none", "nan", "na", "n/a"})  # as tools write an empty cell


class Table(msgspec.Struct, frozen=True):
    """The columns that were asked for, each as long as the file has rows of data."""

    rows: int
    numbers: dict[str, Array]
    words: dict[str, tuple[Codes, list[str]]]  # row -> index of its word; the words


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """How a file's columns are found."""

    form: str  # "CSV", "JSONL", "JSON" or "Parquet"
    names: tuple[str, ...]
    first_row: int  # the number of the first row of data
    separator: str = ","
    skipped: int = 0  # lines that are not empty before the first row of data
    known_as: str | None = None  # a published file without a header, by what its rows look like


def is_table(name: str) -> bool:
    """Whether a file of that name is read as a table: by its suffix, packed or not."""
    suffix = PurePosixPath(bare_name(Path(name))).suffix.lower()
    return suffix in SUFFIXES or suffix in ARCHIVES


def layout_of(path: Path) -> Layout:
    """The file's form and columns.

    Raises:
        TraceError: unreadable, empty, or numbers where the names belong.
    """
    try:
        stat = path.stat()
    except OSError as err:
        raise TraceError(f"cannot read {path}: {err.strerror}") from err
    return _layout(path, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=16)
def _layout(path: Path, _changed_ns: int, _bytes: int) -> Layout:
    with _foreign_errors(path):
        suffix = PurePosixPath(inner_name(path)).suffix.lower()
        if suffix in PARQUET:
            return Layout(form="Parquet", names=tuple(parquet_names(path)), first_row=1)
        if suffix in LISTS and json_rows.is_list(path):
            return Layout(form="JSON", names=tuple(json_rows.first_keys(path)), first_row=1)
        if suffix in (*LINES, *LISTS):
            return Layout(form="JSONL", names=tuple(json_rows.line_keys(path)), first_row=1)
        if suffix in DELIMITED:
            found = delimited.layout(path)
            return Layout(
                form="CSV",
                names=found.names,
                first_row=1 + found.skipped,
                separator=found.separator,
                skipped=found.skipped,
                known_as=found.known_as,
            )
    raise TraceError(f"{path}: a trace is in {', '.join(SUFFIXES)}, packed or not")


def first_row(path: Path) -> int:
    """The number of the first row of data.

    Raises:
        TraceError: as `layout_of`.
    """
    return layout_of(path).first_row


def column_names(path: Path) -> list[str]:
    """The names in a CSV file's header, or the keys of a JSONL file's first object.

    Raises:
        TraceError: as `layout_of`.
    """
    return list(layout_of(path).names)


def chunks(path: Path, names: Sequence[str]) -> Generator[list[list[Any]]]:
    """The named columns as they stand in the file, some thousand rows at a time.

    Raises:
        TraceError: unreadable, a row that is no JSON object or has more cells than the header, or
            a name that two columns have.
    """
    layout = layout_of(path)
    for name in names:
        if layout.names.count(name) > 1:
            raise TraceError(f"{path}: two columns are named {name!r}: rename one")
    with _foreign_errors(path):
        if layout.form == "CSV":
            yield from delimited.chunks(path, names, layout.names, layout.separator, layout.skipped)
        elif layout.form == "Parquet":
            yield from parquet_chunks(path, names)
        elif layout.form == "JSON":
            yield from json_rows.list_chunks(path, names)
        else:
            yield from json_rows.line_chunks(path, names)


def first_values(path: Path) -> dict[str, Any]:
    """What the first row of data holds, by column; empty where there is none.

    Raises:
        TraceError: as `chunks`.
    """
    names = list(dict.fromkeys(layout_of(path).names))
    doubled = layout_of(path).names
    names = [name for name in names if doubled.count(name) == 1]
    with contextlib.closing(chunks(path, names)) as rows:
        columns = next(rows, [])
    return {name: values[0] for name, values in zip(names, columns, strict=False) if values}


def read_columns(
    path: Path, numbers: Sequence[str], words: Sequence[str] = (), optional: Sequence[str] = ()
) -> Table:
    """The named columns of the file in `path`; of `optional` ones an empty cell is NaN.

    Raises:
        TraceError: unreadable, or a row whose value is missing, is no finite number of at least 0
            where one is expected, or is no JSON object.
    """
    names = [*numbers, *words]
    parts: list[list[npt.NDArray[Any]]] = [[np.zeros(0)] for _ in numbers]
    parts += [[np.zeros(0, np.int64)] for _ in words]
    known: dict[str, dict[str, int]] = {name: {} for name in words}
    rows = 0
    begin = first_row(path)
    for columns in chunks(path, names):
        row = begin + rows
        for at, (name, values) in enumerate(zip(names, columns, strict=True)):
            if at < len(numbers):
                parts[at].append(numbers_of(path, row, name, values, name in optional))
            else:
                parts[at].append(_codes(path, row, name, values, known[name]))
        rows += len(columns[0])
    whole = [np.concatenate(part) for part in parts]
    coded = zip(words, whole[len(numbers) :], strict=True)
    return Table(
        rows,
        dict(zip(numbers, whole[: len(numbers)], strict=True)),
        {name: (codes, list(known[name])) for name, codes in coded},
    )


def numbers_of(
    path: Path, row: int, name: str, values: list[Any], is_optional: bool = False
) -> Array:
    """The values as numbers of at least 0; `row` is the first's. An empty optional one is NaN.

    A semicolon's file has decimal commas. Underscores, other scripts' digits, true and false, and
    JSON's words are no numbers.

    Raises:
        TraceError: one that is no finite number of at least 0.
    """
    is_text = layout_of(path).form == "CSV"
    comma = is_text and layout_of(path).separator == ";"
    empty = None
    if is_optional:
        empty = np.array([_is_nothing(value) for value in values], dtype=bool)
        values = [0 if nothing else value for value, nothing in zip(values, empty, strict=True)]
    array = _plain(values, is_text)
    if array is None:
        array = np.array([_number(value, is_text, comma) for value in values], np.float64)
    bad = np.flatnonzero(~((array >= 0) & (array < math.inf)))
    if bad.size:
        at = int(bad[0])
        raise TraceError(
            f"{path}: row {row + at}, column {name!r}: {quoted(values[at])} is no number of at "
            f"least 0{_hint(values[at])}"
        )
    if empty is not None:
        array[empty] = math.nan
    return array


def _number(value: Any, is_text: bool, comma: bool) -> float:
    """A cell's number, NaN where it is none; `comma`: a comma is the decimal point."""
    if isinstance(value, str) and is_text:
        word = value.replace(",", ".") if comma else value
        return float(word) if NUMBER.fullmatch(word) else math.nan
    if isinstance(value, bool | str):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def quoted(value: Any) -> str:
    """A cell, for people."""
    text = "nothing" if value is None or value == "" else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _plain(values: list[Any], is_text: bool) -> Array | None:
    """At once where all are numbers, or all are a text's words that can be nothing but numbers."""
    kinds = set(map(type, values))
    if kinds <= {int, float}:
        try:
            return np.array(values, dtype=np.float64)
        except OverflowError:
            return None
    if kinds == {str} and is_text:
        joined = "".join(values)
        if joined.isascii() and "_" not in joined:
            with contextlib.suppress(ValueError):
                return np.fromiter(map(float, values), np.float64, len(values))
    return None


def _is_nothing(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().lower() in NOTHING
    return value is None or (isinstance(value, float) and math.isnan(value))


def _hint(value: Any) -> str:
    if not isinstance(value, str):
        return ""
    if re.fullmatch(r"[0-9]{1,3}([,' _][0-9]{3})+(\.[0-9]*)?", value.strip()):
        return "; write it without thousands separators"
    if re.fullmatch(r"[0-9]+,[0-9]+", value.strip()):
        return "; write it with a decimal point"
    return "; write it without quotes" if NUMBER.fullmatch(value) and float(value) >= 0 else ""


def _codes(path: Path, row: int, name: str, values: Sequence[Any], known: dict[str, int]) -> Codes:
    codes = np.empty(len(values), np.int64)
    for at, value in enumerate(values):
        code = known.get(value) if isinstance(value, str) else None
        if code is None:
            if value is None or value == "" or isinstance(value, dict | list):
                raise TraceError(
                    f"{path}: row {row + at}, column {name!r}: {quoted(value)} is no word"
                )
            code = known.setdefault(str(value), len(known))
        codes[at] = code
    return codes


@contextlib.contextmanager
def _foreign_errors(path: Path) -> Iterator[None]:
    """The system's errors as ours."""
    try:
        yield
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        if isinstance(err, OSError):
            reason = err.strerror or str(err)
        else:
            kind = "CSV" if _is_delimited(path) else "JSONL"
            reason = f"it is not {kind} text in UTF-8 ({err}); save it as UTF-8"
        raise TraceError(f"cannot read {path}: {reason}") from err


def _is_delimited(path: Path) -> bool:
    return PurePosixPath(bare_name(path)).suffix.lower() not in (*LINES, *LISTS)
