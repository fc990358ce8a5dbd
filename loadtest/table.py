"""Named columns of a CSV or JSONL file: streamed, so that a million rows take bounded memory.

Only the columns asked for are kept, as arrays: numbers as float64, words as indices into the list
of different words. A fault is named by its row and column. Row 1 is the first line that is not
empty: the header in CSV, the first object in JSONL.
"""

import contextlib
import csv
import json
import math
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from loadtest.errors import TraceError

Array = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

CHUNK_ROWS = 5_000
CHUNK_BYTES = 1 << 20
JSONL_SUFFIXES = (".jsonl", ".ndjson")
SUFFIXES = (".csv", *JSONL_SUFFIXES)


class Table(msgspec.Struct, frozen=True):
    """The columns that were asked for, each as long as the file has rows of data."""

    rows: int
    numbers: dict[str, Array]
    words: dict[str, tuple[Codes, list[str]]]  # row -> index of its word; the words


def first_row(path: Path) -> int:
    """The number of the first row of data."""
    return 1 if path.suffix.lower() in JSONL_SUFFIXES else 2


def column_names(path: Path) -> list[str]:
    """The names in a CSV file's header, or the keys of a JSONL file's first object.

    Raises:
        TraceError: unreadable, empty, or numbers where the names belong.
    """
    with _foreign_errors(path):
        return _keys(path) if first_row(path) == 1 else _header(path)


def read_columns(path: Path, numbers: Sequence[str], words: Sequence[str] = ()) -> Table:
    """The named columns of the file in `path`.

    Raises:
        TraceError: unreadable, or a row whose value is missing, is no finite number of at least 0
            where one is expected, or is no JSON object.
    """
    names = [*numbers, *words]
    parts: list[list[npt.NDArray[Any]]] = [[np.zeros(0)] for _ in numbers]
    parts += [[np.zeros(0, np.int64)] for _ in words]
    known: dict[str, dict[str, int]] = {name: {} for name in words}
    rows = 0
    chunks = _json_chunks if first_row(path) == 1 else _csv_chunks
    with _foreign_errors(path):
        for columns in chunks(path, names):
            row = first_row(path) + rows
            for at, (name, values) in enumerate(zip(names, columns, strict=True)):
                if at < len(numbers):
                    parts[at].append(_numbers(path, row, name, values))
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


def _numbers(path: Path, row: int, name: str, values: list[Any]) -> Array:
    try:
        array = np.fromiter(map(float, values), np.float64, len(values))
    except (TypeError, ValueError):
        array = np.array([_number(value) for value in values])
    bad = np.flatnonzero(~((array >= 0) & (array < math.inf)))
    if bad.size:
        at = int(bad[0])
        raise TraceError(
            f"{path}: row {row + at}, column {name!r}: {_quoted(values[at])} is no number of at "
            "least 0"
        )
    return array


def _codes(path: Path, row: int, name: str, values: Sequence[Any], known: dict[str, int]) -> Codes:
    codes = np.empty(len(values), np.int64)
    for at, value in enumerate(values):
        code = known.get(value) if isinstance(value, str) else None
        if code is None:
            if value is None or value == "" or isinstance(value, dict | list):
                raise TraceError(
                    f"{path}: row {row + at}, column {name!r}: {_quoted(value)} is no word"
                )
            code = known.setdefault(str(value), len(known))
        codes[at] = code
    return codes


def _csv_chunks(path: Path, names: Sequence[str]) -> Iterator[list[list[Any]]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = filter(None, csv.reader(file))
        header = [name.strip() for name in next(rows)]
        places = [header.index(name) for name in names]
        while chunk := list(islice(rows, CHUNK_ROWS)):
            try:
                yield [[row[place] for row in chunk] for place in places]
            except IndexError:  # a short row: what it lacks is None
                yield [[row[p] if p < len(row) else None for row in chunk] for p in places]


def _json_chunks(path: Path, names: Sequence[str]) -> Iterator[list[list[Any]]]:
    fields = [f"field{index}" for index in range(len(names))]
    row_type = msgspec.defstruct(
        "Row",
        [(field, Any, None) for field in fields],
        rename=dict(zip(fields, names, strict=True)),
    )
    decoder = msgspec.json.Decoder(list[row_type])  # type: ignore[valid-type]
    row = 1
    with path.open("rb") as file:
        while lines := file.readlines(CHUNK_BYTES):
            full = [line for line in (line.strip(b"\xef\xbb\xbf \t\r\n") for line in lines) if line]
            try:
                chunk = decoder.decode(b"[" + b",".join(full) + b"]")
            except (msgspec.DecodeError, UnicodeDecodeError):
                chunk = None
            if chunk is None or len(chunk) != len(full):
                raise _bad_line(path, row, full, decoder, names)
            if chunk:
                yield [[getattr(each, field) for each in chunk] for field in fields]
            row += len(full)


def _bad_line(
    path: Path,
    row: int,
    lines: list[bytes],
    decoder: msgspec.json.Decoder[Any],
    names: Sequence[str],
) -> TraceError:
    """The error of the first of `lines` that is no JSON object; `row` is the first's number."""
    for at, line in enumerate(lines):
        try:
            if len(decoder.decode(b"[" + line + b"]")) == 1:
                continue
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
        return _line_fault(path, row + at, line, names)
    return TraceError(f"{path} holds lines that are no JSON objects")


def _line_fault(path: Path, row: int, line: bytes, names: Sequence[str]) -> TraceError:
    """The error of a line that is no JSON object: for a NaN or an infinity, as Python writes them.

    Of several the column among `names` is named, the first of all otherwise.
    """
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        told = None
    odd = {} if not isinstance(told, dict) else told
    odd = {k: v for k, v in odd.items() if isinstance(v, float) and not math.isfinite(v)}
    name = next((name for name in (*names, *odd) if name in odd), None)
    if name is None:
        fault = f"{path}: row {row} is no JSON object; a JSONL trace holds one a line"
    else:
        fault = f"{path}: row {row}, column {name!r}: {odd[name]!r} is no number of at least 0"
    return TraceError(fault)


def _header(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        header = next((row for row in csv.reader(file) if row), None)
    if header is None:
        raise TraceError(f"{path} is empty: a trace has a header row and at least two rows")
    if math.isfinite(_number(header[0])):
        raise TraceError(f"{path}: row 1 holds numbers where the column names belong (t_s, ...)")
    return [name.strip() for name in header]


def _keys(path: Path) -> list[str]:
    with path.open(encoding="utf-8-sig") as file:
        line = next((line for line in file if line.strip()), None)
    if line is None:
        raise TraceError(f"{path} is empty: a trace has at least two rows")
    try:
        names = list(msgspec.json.decode(line, type=dict[str, Any]))
    except msgspec.DecodeError as err:
        raise _line_fault(path, 1, line.encode(), ()) from err
    if not names:
        raise TraceError(f"{path}: row 1 is empty: a JSONL trace names its columns in every row")
    return names


@contextlib.contextmanager
def _foreign_errors(path: Path) -> Iterator[None]:
    """The system's errors as ours."""
    try:
        yield
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        kind = "JSONL" if first_row(path) == 1 else "CSV"
        reason = err.strerror if isinstance(err, OSError) else f"it is not {kind} text ({err})"
        raise TraceError(f"cannot read {path}: {reason}") from err


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _quoted(value: Any) -> str:
    return "nothing" if value is None or value == "" else repr(value)
