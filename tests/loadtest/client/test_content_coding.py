"""Packed bodies: unpacked, bounded, or named."""

import gzip
import importlib
import zlib
from functools import partial

import brotli
import pytest

from loadtest.client.content_coding import MAX_MEMBERS, CodingError, unpack

BODY = b'{"data": []}' * 100
PLAIN = zlib.compressobj(wbits=-15)
RAW = PLAIN.compress(BODY) + PLAIN.flush()
gzipped = partial(gzip.compress, mtime=0)  # the clock is in it, and the name of a test must not be
PACKED = [
    ("gzip", gzipped(BODY)),
    ("X-GZIP", gzipped(BODY)),
    ("gzip", gzipped(BODY[:40]) + gzipped(BODY[40:])),  # RFC 1952: members
    ("deflate", zlib.compress(BODY)),
    ("deflate", RAW),
    ("br", brotli.compress(BODY)),
    ("br, gzip", gzipped(brotli.compress(BODY))),  # the last was put on last
    ("identity, gzip", gzipped(BODY)),
]


@pytest.mark.parametrize(("coding", "packed"), PACKED)
def test_what_was_packed_is_unpacked(coding: str, packed: bytes) -> None:
    assert unpack(packed, coding, 10_000) == BODY
    with pytest.raises(CodingError, match=r"unpacks \(.*\) to more than the 100 bytes"):
        unpack(packed, coding, 100)
    with pytest.raises(CodingError, match="cut short"):
        unpack(packed[:-12], coding, 10_000)


@pytest.mark.parametrize("coding", ["", "identity", " , "])
def test_what_was_not_packed_is_as_it_was(coding: str) -> None:
    assert unpack(BODY, coding, 1) == BODY


@pytest.mark.parametrize(
    ("coding", "packed", "said"),
    [
        ("gzip", BODY, "says packed, and it is not"),
        ("deflate", BODY, "says packed, and it is not"),
        ("compress", BODY, "Content-Encoding is compress, which is unknown"),
        ("gzip, gzip, gzip, gzip", BODY, "packed 4 times"),
        ("gzip", gzipped(b"") * (MAX_MEMBERS + 1), "more than 64 parts"),
    ],
)
def test_what_cannot_be_unpacked_is_named(coding: str, packed: bytes, said: str) -> None:
    with pytest.raises(CodingError, match=said):
        unpack(packed, coding, 10_000)


@pytest.mark.parametrize("coding", ["gzip", "br", "gzip, gzip"])
def test_a_bomb_costs_what_it_may(coding: str) -> None:
    # 64 MB of zeros in 64 KB or less: given up at the bound, not after it
    bomb = bytes(64_000_000)
    packed = brotli.compress(bomb, quality=1) if coding == "br" else gzip.compress(bomb, 1)
    packed = gzip.compress(packed) if coding == "gzip, gzip" else packed
    with pytest.raises(CodingError, match="more than the 1,000,000 bytes"):
        unpack(packed, coding, 1_000_000)


def test_what_needs_a_library_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(CodingError, match="Content-Encoding is zstd: pip install zstandard"):
        unpack(b"\x28\xb5\x2f\xfd", "zstd", 10)
    with pytest.raises(CodingError, match="Content-Encoding is br: pip install brotli"):
        unpack(b"x", "br", 10)
