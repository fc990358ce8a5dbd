"""Bodies that a server packed, unpacked: `Content-Encoding` of RFC 9110, 8.4. Pure.

Nobody asks for it (`Accept-Encoding: identity`), and some servers and proxies pack all the same.
gzip and deflate are always understood, br and zstd where a library is there. What comes out has a
bound, so that a few bytes cannot become gigabytes.
"""

import importlib
import io
import math
import zlib
from collections.abc import Callable
from typing import Any

from loadtest.client.connection import quoted

MAX_CODINGS = 3  # one over the other
MAX_MEMBERS = 64  # of a gzip file, one after the other
GZIP, ZLIB, RAW = 31, 15, -15  # window bits, as zlib has them for the three forms

ZSTD_WINDOW_BYTES = 1 << 27


class CodingError(Exception):
    """A body that cannot be unpacked; in a few words."""


def unpack(body: bytes | bytearray, coding: str, most_bytes: float = math.inf) -> bytes | bytearray:
    """The body as it was before it was packed.

    Args:
        body: As it came.
        coding: The value of Content-Encoding; empty: not packed.
        most_bytes: That may come out.

    Raises:
        CodingError: It is packed wrongly, in a way that nothing here can undo, or is too long.
    """
    names = [name.strip().lower() for name in coding.split(",") if name.strip()]
    names = [name for name in names if name != "identity"]
    if not names or not body:
        return body
    if len(names) > MAX_CODINGS:
        raise CodingError(f"the answer is packed {len(names)} times (Content-Encoding)")
    most = int(min(most_bytes, 1 << 40))
    for name in reversed(names):  # the last was put on last
        undo = _UNDO.get(name)
        if undo is None:
            raise CodingError(f"the answer's Content-Encoding is {quoted(name)}, which is unknown")
        body = undo(bytes(body), most)
        if len(body) > most:
            raise CodingError(
                f"the answer unpacks ({name}) to more than the {most:,} bytes that what was asked "
                "for can take"
            )
    return body


def _gzip(data: bytes, most: int) -> bytes:
    out = bytearray()
    for _ in range(MAX_MEMBERS):
        left = _inflate(data, GZIP, most, out)
        if not left.startswith(b"\x1f\x8b") or len(out) > most:
            return bytes(out)
        data = left
    raise CodingError(f"the answer is a gzip of more than {MAX_MEMBERS} parts")


def _deflate(data: bytes, most: int) -> bytes:
    """RFC 9110 means zlib's form, which its head tells (RFC 1950, 2.2); some send the raw one."""
    has_head = len(data) > 1 and data[0] & 15 == 8 and (data[0] << 8 | data[1]) % 31 == 0
    out = bytearray()
    _inflate(data, ZLIB if has_head else RAW, most, out)
    return bytes(out)


def _inflate(data: bytes, window: int, most: int, out: bytearray) -> bytes:
    """Unpack one stream behind `out`, a byte more than `most` at most; what follows the stream."""
    stream = zlib.decompressobj(window)
    try:
        out += stream.decompress(data, max(most + 1 - len(out), 1))
    except zlib.error as err:
        raise CodingError("the answer's Content-Encoding says packed, and it is not") from err
    if not stream.eof and len(out) <= most:
        raise CodingError("the packed answer is cut short")
    return stream.unused_data


def _brotli(data: bytes, most: int) -> bytes:
    brotli = _library("br", "brotli", "brotli")
    stream, out = brotli.Decompressor(), bytearray()
    try:
        out += stream.process(data, output_buffer_limit=most + 1)
        while not stream.is_finished() and len(out) <= most:
            more = stream.process(b"", output_buffer_limit=most + 1 - len(out))
            if not more:
                raise CodingError("the packed answer is cut short")
            out += more
    except brotli.error as err:
        raise CodingError("the answer's Content-Encoding says packed, and it is not") from err
    return bytes(out)


def _zstd(data: bytes, most: int) -> bytes:
    zstandard = _library("zstd", "zstandard", "zstandard")
    unpacker = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES)
    try:
        with unpacker.stream_reader(io.BytesIO(data), read_across_frames=True) as stream:
            out: bytes = stream.read(most + 1)
    except zstandard.ZstdError as err:
        raise CodingError("the answer's Content-Encoding says packed, and it is not") from err
    return out


def _library(coding: str, module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as err:
        raise CodingError(
            f"the answer's Content-Encoding is {coding}: pip install {package} to have it unpacked"
        ) from err


_UNDO: dict[str, Callable[[bytes, int], bytes]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
