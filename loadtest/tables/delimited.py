"""Rows of CSV text: separator, header, and the cells of the columns asked for.

The separator is the one that splits the first lines alike: comma, semicolon, tab or bar. A line
`sep=;` before the header, as spreadsheets write it, is obeyed.
"""

import csv
import io
import math
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from loadtest.errors import TraceError
from loadtest.tables.compression import bare_name, opened_text

CHUNK_ROWS = 8192
SEPARATORS = (",", ";", "\t", "|")
SNIFFED = 6  # lines
MAX_LINE = 1 << 17  # characters of a line that is looked at for its separator

# a client's rates as alibaba/ServeGen publishes them: no header, a row every ten minutes
SERVEGEN = ("t_s", "rps", "cv", "pattern", "shape", "scale")
PATTERNS = ("Gamma", "Weibull", "Exponential", "Poisson", "Pareto", "Lognormal", "None", "")


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What the beginning of a file tells of it."""

    names: tuple[str, ...]
    separator: str
    skipped: int  # lines that are not empty before the first row of data
    known_as: str | None = None


def layout(path: Path) -> Found:
    """Separator and header of the file.

    Raises:
        TraceError: empty, or numbers where the column names belong.
        OSError, UnicodeDecodeError, csv.Error: it cannot be read as text.
    """
    with opened_text(path) as text:
        lines = list(islice(_lines(text), SNIFFED))
    if not lines:
        raise TraceError(f"{path} is empty: a trace has a header row and at least two rows")
    _check_kind(path, lines[0])
    told = re.fullmatch(r"\s*sep=(.)\s*", lines[0], re.IGNORECASE)
    is_tabbed = PurePosixPath(bare_name(path)).suffix.lower() == ".tsv"
    separator = told[1] if told else _separator(lines, "\t" if is_tabbed else ",")
    lines = lines[1:] if told else lines
    header = next(csv.reader(lines, delimiter=separator), None)
    if header is None:
        raise TraceError(f"{path} is empty: a trace has a header row and at least two rows")
    skipped = 2 if told else 1
    if not _is_number(header[0]):
        names = tuple(name.strip() for name in header)
        return Found(names=names, separator=separator, skipped=skipped)
    is_servegen = len(header) == len(SERVEGEN) and header[3].strip() in PATTERNS
    if is_servegen and _is_number(header[1]):
        return Found(
            names=SERVEGEN,
            separator=separator,
            skipped=skipped - 1,
            known_as="a client of ServeGen: seconds and requests/s, every ten minutes",
        )
    raise TraceError(f"{path}: row 1 holds numbers where the column names belong (t_s, ...)")


def _check_kind(path: Path, line: str) -> None:
    """Refuse what is no table at all, by its first line.

    Raises:
        TraceError: a web page, a pointer in a file's place, or a remark before the header.
    """
    first = line.strip().lower()
    if first.startswith(("<!doctype", "<html", "<?xml")):
        raise TraceError(
            f"{path} is a web page, as of a download that failed: fetch the file again"
        )
    if first.startswith("version https://git-lfs"):
        raise TraceError(f"{path} is Git LFS's pointer to the file: fetch it with `git lfs pull`")
    if first.startswith("#"):
        raise TraceError(
            f"{path}: line 1 begins with #: leave remarks out, or the # where it is the header"
        )


def chunks(
    path: Path, names: Sequence[str], header: Sequence[str], separator: str, skipped: int
) -> Iterator[list[list[Any]]]:
    """The cells of the named columns, some thousand rows at a time; what a row lacks is None.

    Raises:
        TraceError: a row with more cells than the header has names.
        OSError, UnicodeDecodeError, csv.Error: it cannot be read as text.
    """
    places = [list(header).index(name) for name in names]
    row = 1 + skipped
    with opened_text(path, newline="") as text:
        # strict: a quote that never ends would hide the rest of the file in one cell
        rows = filter(None, csv.reader(text, delimiter=separator, strict=True))
        for _ in range(skipped):
            next(rows, None)
        while chunk := list(islice(rows, CHUNK_ROWS)):
            if max(map(len, chunk)) > len(header):
                _check_widths(path, row, chunk, len(header), separator)
            try:
                yield [[cells[place] for cells in chunk] for place in places]
            except IndexError:  # a short row: what it lacks is None
                yield [[cells[p] if p < len(cells) else None for cells in chunk] for p in places]
            row += len(chunk)


def _check_widths(path: Path, row: int, chunk: list[list[str]], width: int, separator: str) -> None:
    for at, cells in enumerate(chunk):
        if any(cell.strip() for cell in cells[width:]):
            raise TraceError(
                f"{path}: row {row + at} has {len(cells)} cells, and the header names {width}: a "
                f"{separator!r} within a number or word needs quotes"
            )


def _lines(text: io.TextIOWrapper) -> Iterator[str]:
    """The lines that are not empty, each cut at MAX_LINE."""
    while line := text.readline(MAX_LINE):
        if line.strip():
            yield line
        while line and not line.endswith("\n"):
            line = text.readline(MAX_LINE)


def _separator(lines: list[str], usual: str) -> str:
    """The character that splits the lines into as many cells each, and into the most."""
    best, most = usual, (False, 0)
    for separator in sorted(SEPARATORS, key=lambda each: each != usual):
        counts = [re.sub(r'"[^"]*"', "", line).count(separator) for line in lines]
        score = (counts[0] > 0 and len(set(counts)) == 1, counts[0])
        if score > most:
            best, most = separator, score
    return best


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False
