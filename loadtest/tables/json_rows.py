"""Rows of JSON: an object a line, or a list of objects; of each the values of some keys."""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import msgspec

from loadtest.errors import TraceError
from loadtest.tables.compression import opened, opened_text

CHUNK_BYTES = 1 << 20
CHUNK_ROWS = 8192
MAX_LIST_BYTES = 1 << 28  # of a list, which is held as a whole
BLANK = b"\xef\xbb\xbf \t\r\n"


def is_list(path: Path) -> bool:
    """Whether the file's first character opens a list."""
    with opened(path) as file:
        while some := file.read(4096):
            if some.strip(BLANK):
                return some.lstrip(BLANK).startswith(b"[")
    return False


def line_keys(path: Path) -> list[str]:
    """The keys of the first object.

    Raises:
        TraceError: empty, or the first line is no JSON object.
    """
    with opened_text(path) as text:
        lines = (line for line in text if line.strip())
        line, is_alone = next(lines, None), next(lines, None) is None
    if line is None:
        raise TraceError(f"{path} is empty: a trace has at least two rows")
    try:
        names = list(msgspec.json.decode(line, type=dict[str, Any]))
    except (msgspec.DecodeError, RecursionError) as err:
        raise _line_fault(path, 1, line.encode(), ()) from err
    lists = _lists(line) if is_alone else []
    if lists:
        raise TraceError(
            f"{path} is one JSON object, whose {lists[0]!r} is a list: a trace is a list of "
            'objects, [{"t_s": 0.5}, ...], or an object a line'
        )
    if not names:
        raise TraceError(f"{path}: row 1 is empty: a JSONL trace names its columns in every row")
    return names


def _lists(line: str) -> list[str]:
    """The keys of an object that hold lists of rows or columns: of objects, or of numbers."""
    told = msgspec.json.decode(line, type=dict[str, Any])
    return [
        name
        for name, value in told.items()
        if isinstance(value, list) and len(value) > 1 and isinstance(value[0], dict | int | float)
    ]


def first_keys(path: Path) -> list[str]:
    """The keys of a list's first object.

    Raises:
        TraceError: no list of objects.
    """
    names = list(next(iter(_list(path)), {}))
    if not names:
        raise TraceError(f"{path}: its list holds no object with columns")
    return names


def list_chunks(path: Path, names: Sequence[str]) -> Iterator[list[list[Any]]]:
    """The values of the named keys, of a list of objects; what an object lacks is None.

    Raises:
        TraceError: no list of objects.
    """
    rows = _list(path)
    for begin in range(0, len(rows), CHUNK_ROWS):
        some = rows[begin : begin + CHUNK_ROWS]
        yield [[row.get(name) for row in some] for name in names]


def _list(path: Path) -> list[dict[str, Any]]:
    with opened(path) as file:
        text = file.read(MAX_LIST_BYTES + 1).lstrip(BLANK)
    if len(text) > MAX_LIST_BYTES:
        raise TraceError(f"{path} is longer than {MAX_LIST_BYTES:,} bytes: write an object a line")
    try:
        return msgspec.json.decode(text, type=list[dict[str, Any]])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise TraceError(f"{path} is no list of JSON objects: {err}") from err


def line_chunks(path: Path, names: Sequence[str]) -> Iterator[list[list[Any]]]:
    """The values of the named keys, of an object a line; what an object lacks is None.

    Raises:
        TraceError: a line that is no JSON object.
    """
    fields = [f"field{index}" for index in range(len(names))]
    row_type = msgspec.defstruct(
        "Row",
        [(field, Any, None) for field in fields],
        rename=dict(zip(fields, names, strict=True)),
    )
    decoder = msgspec.json.Decoder(list[row_type])  # type: ignore[valid-type]
    row = 1
    with opened(path) as file:
        while lines := _some_lines(file):
            full = [line for line in (line.strip(BLANK) for line in lines) if line]
            try:
                chunk = decoder.decode(b"[" + b",".join(full) + b"]")
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                chunk = None
            if chunk is None or len(chunk) != len(full):
                raise _bad_line(path, row, full, decoder, names)
            if chunk:
                yield [[getattr(each, field) for each in chunk] for field in fields]
            row += len(full)


def _some_lines(file: IO[bytes]) -> list[bytes]:
    return file.readlines(CHUNK_BYTES)


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
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
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
