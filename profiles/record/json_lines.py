"""JSON Lines: appended a whole line at a time, read as they grow, readable after kill -9.

Whatever a disk, a crash or a stranger made of a line costs that line: `decoded` is how every reader
of records turns bytes into a value.
"""

import errno
import math
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Generic, TypeVar

import msgspec

FLUSH_AFTER_S = 0.5

MAX_INT = 2**53  # beyond it a float64 column no longer tells integers apart
_MANY_DIGITS = re.compile(rb"[0-9]{17}|[0-9][eE]")

T = TypeVar("T", bound=msgspec.Struct)
V = TypeVar("V")


class DamagedError(ValueError):
    """Bytes that are no such value; the text says why."""


def decoded(decoder: msgspec.json.Decoder[V], data: bytes) -> V:
    """The value that the bytes hold as JSON.

    Raises:
        DamagedError: they are no JSON or no UTF-8, are nested too deeply, or hold another value
            than the decoder's, or a number that no reading can be.
    """
    try:
        value = decoder.decode(data)
    except RecursionError as err:
        raise DamagedError("it is nested too deeply") from err
    except (msgspec.DecodeError, ValueError) as err:  # ValueError: no UTF-8
        raise DamagedError(str(err)) from err
    if _MANY_DIGITS.search(data) and isinstance(value, msgspec.Struct):  # few lines have any
        _check_numbers(value)
    return value


def _check_numbers(value: msgspec.Struct) -> None:
    for name in value.__struct_fields__:
        number = getattr(value, name)
        if isinstance(number, int | float) and (
            not math.isfinite(number) if isinstance(number, float) else abs(number) > MAX_INT
        ):
            raise DamagedError(f"{name} is no number that can be")


def open_regular(path: Path) -> BinaryIO:
    """A file opened for reading: what is no file (a pipe, a folder) is an error, never waited for.

    Raises:
        OSError: it cannot be read.
    """
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return os.fdopen(number, "rb")


def append(path: Path, value: msgspec.Struct) -> None:
    """Append one value; safe from several processes (one O_APPEND write)."""
    with path.open("ab", buffering=0) as file:
        file.write(msgspec.json.encode(value) + b"\n")


class LineWriter:
    """Appends values to a JSON Lines file: whole lines, on disk at most half a second later.

    The caller must call `add` or `flush` at least that often for the promise to hold; `clock`
    gives seconds and is monotonic.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._file: BinaryIO = path.open("ab", buffering=0)
        self._clock = clock
        self._encoder = msgspec.json.Encoder()
        self._lines: list[bytes] = []
        self._flushed_s = clock()

    def add(self, value: msgspec.Struct) -> None:
        """Queue one line, and write the queued ones if the last write is long enough ago."""
        self._lines.append(self._encoder.encode(value))
        if self._clock() - self._flushed_s >= FLUSH_AFTER_S:
            self.flush()

    def flush(self) -> None:
        """Write what is queued."""
        if self._lines:
            data = b"\n".join(self._lines) + b"\n"
            self._lines.clear()
            self._write(data)
        self._flushed_s = self._clock()

    def append(self, lines: bytes) -> None:
        """Write whole lines that are encoded already."""
        self.flush()
        self._write(lines)

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:  # a raw write may take only a part
            left = left[self._file.write(left) :]

    def close(self) -> None:
        """Flush and close."""
        self.flush()
        self._file.close()


class Tail(Generic[T]):
    """Reads the lines of all files that match a pattern, and only new ones at every later read.

    A last line without its newline (a process killed while writing) is left for the next read; a
    whole line that does not decode is skipped and counted in `damaged`, and so is what is no file
    (a folder, a dangling link or a pipe in its place).
    """

    def __init__(self, folder: Path, pattern: str, kind: type[T]) -> None:
        self._folder = folder
        self._pattern = pattern
        self._decoder = msgspec.json.Decoder(kind)
        self._offsets: dict[Path, int] = {}
        self._unreadable: set[Path] = set()
        self.damaged = 0

    def read(self) -> list[T]:
        """The values appended since the last read, file by file."""
        return list(self)

    def __iter__(self) -> Iterator[T]:
        for path in sorted(self._folder.glob(self._pattern)):
            yield from self._lines_of(path)

    def _lines_of(self, path: Path) -> Iterator[T]:
        offset = self._offsets.get(path, 0)
        try:
            opened = open_regular(path)
        except OSError:
            self.damaged += path not in self._unreadable
            self._unreadable.add(path)
            return
        with opened as file:
            file.seek(offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                offset += len(line)
                self._offsets[path] = offset
                try:
                    yield decoded(self._decoder, line)
                except DamagedError:
                    self.damaged += 1
