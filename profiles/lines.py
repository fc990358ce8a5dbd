"""JSON Lines: appended a whole line at a time, read as they grow, readable after kill -9."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Generic, TypeVar

import msgspec

FLUSH_AFTER_S = 0.5

T = TypeVar("T", bound=msgspec.Struct)


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
    whole line that does not decode is skipped and counted in `damaged`.
    """

    def __init__(self, folder: Path, pattern: str, kind: type[T]) -> None:
        self._folder = folder
        self._pattern = pattern
        self._decoder = msgspec.json.Decoder(kind)
        self._offsets: dict[Path, int] = {}
        self.damaged = 0

    def read(self) -> list[T]:
        """The values appended since the last read, file by file."""
        return list(self)

    def __iter__(self) -> Iterator[T]:
        for path in sorted(self._folder.glob(self._pattern)):
            yield from self._lines_of(path)

    def _lines_of(self, path: Path) -> Iterator[T]:
        offset = self._offsets.get(path, 0)
        with path.open("rb") as file:
            file.seek(offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                offset += len(line)
                self._offsets[path] = offset
                try:
                    yield self._decoder.decode(line)
                except msgspec.DecodeError:
                    self.damaged += 1
