"""A file's bytes, whatever it is packed in: gzip, bzip2, xz, Zstandard, or alone in a tar or zip.

What a file is packed in is told by its first bytes, so a gzip'd file named `.csv` is unpacked, too.
Everything is streamed: memory does not grow with what is unpacked.
"""

import bz2
import contextlib
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from loadtest.errors import TraceError

PACKED = (".gz", ".bz2", ".xz", ".zst")
TARS = (".tar", ".tgz")
ARCHIVES = (*TARS, ".zip")
READ_BYTES = 4096  # of Zstandard at once: a block of 4 bytes can hold 128 KiB
DAMAGED = (
    EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, tarfile.TarError, zipfile.BadZipFile,
)  # fmt: skip


def bare_name(path: Path) -> str:
    """The file's name without what packs it: "a.csv" of "a.csv.gz", "a.tar" of "a.tar.xz"."""
    name = path.name
    while PurePosixPath(name).suffix.lower() in PACKED:
        name = PurePosixPath(name).stem
    return name


def inner_name(path: Path) -> str:
    """The name that tells what the bytes of `opened` are: in an archive, of the file within.

    Raises:
        TraceError: an archive that cannot be read, or does not hold exactly one file.
    """
    name = bare_name(path)
    if PurePosixPath(name).suffix.lower() not in ARCHIVES:
        return name
    with _unpacking(path) as (file, _):
        return _only_member(path, file)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The unpacked bytes, as a stream.

    Raises:
        TraceError: damaged or cut short, packed in what cannot be unpacked here, or an archive
            that does not hold exactly one file.
        OSError: the file cannot be read.
    """
    suffix = PurePosixPath(bare_name(path)).suffix.lower()
    member = inner_name(path) if suffix in ARCHIVES else ""
    with _unpacking(path) as (file, stack):
        if suffix in TARS:
            with tarfile.open(fileobj=file, mode="r|") as archive:
                for each in archive:
                    inner = archive.extractfile(each) if each.name == member else None
                    if inner is not None:
                        yield io.BufferedReader(_Within(inner))
                        return
        elif suffix == ".zip":
            yield stack.enter_context(zipfile.ZipFile(file)).open(member)
        else:
            yield file


@contextlib.contextmanager
def opened_text(path: Path, newline: str | None = None) -> Iterator[io.TextIOWrapper]:
    """The unpacked text, in UTF-8 with or without a byte order mark; `newline` as of `open`.

    Raises:
        TraceError, OSError: as `opened`.
        UnicodeDecodeError: it is in another encoding.
    """
    with opened(path) as raw:
        text = io.TextIOWrapper(raw, encoding="utf-8-sig", newline=newline)
        try:
            yield text
        finally:
            text.detach()


@contextlib.contextmanager
def _unpacking(path: Path) -> Iterator[tuple[IO[bytes], contextlib.ExitStack]]:
    """The bytes without their outer packing; a damaged one is said as such while it is read."""
    damaged: list[type[Exception]] = [*DAMAGED]
    try:
        with contextlib.ExitStack() as stack:
            raw = stack.enter_context(path.open("rb"))
            first = raw.peek(6)[:6]
            file: Any = raw
            if first.startswith(b"\x1f\x8b"):
                file = gzip.GzipFile(fileobj=raw)
            elif first.startswith(b"BZh"):
                file = bz2.BZ2File(raw)
            elif first.startswith(b"\xfd7zXZ\x00"):
                file = lzma.LZMAFile(raw)  # noqa: SIM115 (the raw file is closed)
            elif first.startswith(b"\x28\xb5\x2f\xfd"):
                zstandard = _zstandard(path)
                damaged.append(zstandard.ZstdError)
                file = io.BufferedReader(_Zstandard(raw, zstandard))
            yield file, stack
    except tuple(damaged) as err:
        raise TraceError(f"{path} cannot be unpacked, it is damaged or cut short: {err}") from err


def _only_member(path: Path, file: IO[bytes]) -> str:
    if PurePosixPath(bare_name(path)).suffix.lower() == ".zip":
        names = [each.filename for each in zipfile.ZipFile(file).infolist() if not each.is_dir()]
    else:
        with tarfile.open(fileobj=file, mode="r|") as archive:
            names = [each.name for each in archive if each.isfile()]
    names = [name for name in names if not PurePosixPath(name).name.startswith(".")]
    if len(names) != 1:
        told = ", ".join(map(ascii, names[:5])) or "none"
        raise TraceError(
            f"{path} holds {len(names)} files ({told}): unpack it and name one of them"
        )
    return names[0]


def _zstandard(path: Path) -> Any:
    try:
        import zstandard
    except ImportError as err:
        raise TraceError(
            f"{path} is packed with Zstandard, and its reader is not installed: "
            "pip install zstandard, or unpack it with unzstd"
        ) from err
    return zstandard


class _Within(io.RawIOBase):
    """A file within a tar that is read as a stream, as one that only goes forward."""

    def __init__(self, inner: IO[bytes]) -> None:
        self._inner = inner

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        some = self._inner.read(len(buffer))
        buffer[: len(some)] = some
        return len(some)


class _Zstandard(io.RawIOBase):
    """Frames one after another; one that is cut short is an EOFError, as in gzip's reader."""

    def __init__(self, raw: IO[bytes], zstandard: Any) -> None:
        self._raw, self._zstandard = raw, zstandard
        self._frame: Any = None
        self._rest, self._ready = b"", b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            chunk = self._rest or self._raw.read(READ_BYTES)
            self._rest = b""
            if not chunk:
                if self._frame is not None:
                    raise EOFError("the last frame does not end")
                return 0
            if self._frame is None:
                self._frame = self._zstandard.ZstdDecompressor().decompressobj()
            self._ready = self._frame.decompress(chunk)
            if self._frame.eof:
                self._rest, self._frame = self._frame.unused_data, None
        count = min(len(buffer), len(self._ready))
        buffer[:count], self._ready = self._ready[:count], self._ready[count:]
        return count
