import base64
import io
import json
import struct
import subprocess
import sys
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from loadtest.client.response import Checked, check, most_bytes, parse_server_timing
from loadtest.client.server_errors import MAX_CHARS, error_message


def fault_in(answer: bytes, *due: int, decode: bool = False) -> str | None:
    return check(answer, *due, decode=decode).fault  # type: ignore[arg-type]


def encoded(width: int, height: int, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.effect_noise((width, height), 50).convert("RGB").save(file, kind)
    return file.getvalue()


def body(*images: bytes | None, **more: object) -> bytes:
    data = [{"b64_json": None if i is None else base64.b64encode(i).decode()} for i in images]
    return json.dumps({"created": 1, "data": data, **more}).encode()


def chunk(name: bytes, data: bytes) -> bytes:
    """A PNG chunk with its right checksum."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def header(width: int, height: int) -> bytes:
    """A PNG that says so of itself and holds next to nothing."""
    shape = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * 10))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", shape) + pixels + chunk(b"IEND", b"")


GOOD = encoded(64, 48)
LARGE = encoded(640, 480)
# too few pixels for the stated size, under correct checksums: only decoding finds it
HOLLOW = header(640, 480)
BOMB_TEXT = LARGE[:33] + chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(9_000_000))) + LARGE[33:]
# an extended WebP whose canvas is 16,000 pixels square: a gigabyte, were it made
WEBP_BOMB = b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + (15_999).to_bytes(3, "little") * 2


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("size", [(64, 48), (640, 480)])
def test_what_was_asked_for_is_good(kind: str, size: tuple[int, int]) -> None:
    assert (
        fault_in(body(encoded(*size, kind), encoded(*size, kind)), 2, *size, decode=False) is None
    )


@pytest.mark.parametrize(
    ("answer", "images", "said"),
    [
        (b"<html>", 1, "the answer is no OpenAI Images JSON: a web page"),
        (b"data: {}\n\n", 1, "the answer is a stream of events, which nobody asked for"),
        (
            b'{"data": [], "error": {"message": "worker 3 ran out of memory"}}',
            1,
            "0 images came back where 1 were asked for: worker 3 ran out of memory",
        ),
        (b'{"data": [{"b64_json": null, "error": "nsfw"}]}', 1, "an image is missing: nsfw"),
        (b'{"detail": "no worker"}', 1, "the answer has no data: no worker"),
        (b"\xff\xfe", 1, "the answer is no OpenAI Images JSON"),
        (b"{}", 1, "the answer has no data"),
        (b'{"data": []}', 1, "0 images came back where 1 were asked for"),
        (body(GOOD), 2, "1 images came back where 2 were asked for"),
        (body(GOOD, GOOD), 1, "2 images came back where 1 were asked for"),
        (b'{"data": [{"url": "http://x/1.png"}]}', 1, "an image came as a link, not as b64_json"),
        (body(None), 1, "an image is missing"),
        (b'{"data": [{"b64_json": "*"}]}', 1, "an image is not base64"),
        (
            b'{"data": [{"b64_json": "data:image/png;base64,AAAA"}]}',
            1,
            "an image is a data URI (data:...;base64,), where b64_json is bare base64",
        ),
        (b'{"data": [{"b64_json": "AA\\nAA"}]}', 1, "an image's base64 is broken into lines"),
        (b'{"data": [{"b64_json": "AA\\r\\nAA"}]}', 1, "an image's base64 is broken into lines"),
        (
            b'{"data": [{"b64_json": "-_-_"}]}',
            1,
            "an image's base64 is the form for URLs, with - and _",
        ),
        (
            b'{"data": [{"b64_json": "AAAAA"}]}',
            1,
            "an image's base64 is cut short, or lacks the = at its end",
        ),
        (b'{"data": [{"b64_json": 7}]}', 1, "the answer is no OpenAI Images JSON"),
        (
            body(b"random bytes, as other tools count as a success"),
            1,
            "an image is no PNG, JPEG or WebP",
        ),
        (body(encoded(64, 48, "GIF")), 1, "an image is no PNG, JPEG or WebP"),
        (body(b""), 1, "an image is no PNG, JPEG or WebP"),
        (b'{"data": [], "x": ' + b"[" * 100_000, 1, "the answer is no OpenAI Images JSON"),
        (b'{"error": {"message": "busy"}}', 1, "the answer has no data: busy"),
        (b'{"data": [null]}', 1, "the answer is no OpenAI Images JSON"),
        (body(header(60_000, 60_000)), 1, "an image is too large to check"),
        (body(WEBP_BOMB), 1, "an image is too large to check"),
        (body(encoded(64, 64)), 1, "an image is 64x64, not 64x48"),
        (body(GOOD[: len(GOOD) // 2]), 1, "an image is cut short"),
        (body(encoded(64, 48, "JPEG")[:-200]), 1, "an image is cut short"),
        (body(GOOD[:-4]), 1, "an image is cut short"),
    ],
)
def test_what_was_not_asked_for_is_named(answer: bytes, images: int, said: str) -> None:
    assert check(answer, images, 64, 48, decode=False) == Checked(fault=said, decoded=False)


@pytest.mark.parametrize(
    ("asked", "told", "came", "said"),
    [
        ("png", None, "PNG", None),
        ("jpeg", None, "JPEG", None),
        ("webp", None, "WEBP", None),
        ("jpeg", None, "PNG", "an image is png, not jpeg"),
        ("png", None, "WEBP", "an image is webp, not png"),
        ("webp", "jpeg", "JPEG", "an image is jpeg, not webp"),  # what was asked for comes first
        (None, "jpeg", "PNG", "an image is png, not jpeg"),  # it is not what it says
        (None, "JPG", "JPEG", None),
        (None, "PNG", "PNG", None),
        (None, None, "WEBP", None),
        (None, "picture", "PNG", None),  # words of its own say nothing
        (None, 7, "PNG", None),
    ],
)
@pytest.mark.parametrize("size", [(64, 48), (640, 480)])
def test_the_format_is_the_one_asked_for_or_told(
    size: tuple[int, int], asked: str | None, told: object, came: str, said: str | None
) -> None:
    answer = body(encoded(*size, came), output_format=told)
    assert check(answer, 1, *size, asked, decode=False).fault == said


@pytest.mark.parametrize("decode", [True, False])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_an_image_cut_anywhere_is_found(kind: str, decode: bool) -> None:
    whole = encoded(320, 320, kind)
    assert fault_in(body(whole), 1, 320, 320, decode=decode) is None
    for end in [*range(0, len(whole), 499), *range(len(whole) - 40, len(whole))]:
        assert fault_in(body(whole[:end]), 1, 320, 320, decode=decode) is not None, end


@given(
    st.sampled_from(["PNG", "JPEG", "WEBP"]), st.integers(0, 400), st.binary(min_size=1, max_size=9)
)
def test_no_bytes_raise(kind: str, at: int, noise: bytes) -> None:
    whole = encoded(24, 16, kind)
    broken = whole[:at] + noise + whole[at + len(noise) :]
    for answer in (body(broken), broken, body(whole)[:at] + noise):
        assert isinstance(check(answer, 1, 24, 16, decode=True), Checked)


def test_padding_and_text_are_no_fault() -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", "a red fox, steps: 30")
    file = io.BytesIO()
    Image.new("RGB", (64, 48)).save(file, "PNG", pnginfo=text)
    assert fault_in(body(file.getvalue()), 1, 64, 48) is None
    for kind in ("PNG", "JPEG", "WEBP"):
        assert fault_in(body(encoded(64, 48, kind) + bytes(500)), 1, 64, 48) is None


def test_a_bomb_in_a_text_chunk_is_not_inflated() -> None:
    assert fault_in(body(BOMB_TEXT), 1, 640, 480, decode=True) == "an image does not decode"


def test_a_large_image_is_checksummed_always_and_decoded_where_asked() -> None:
    flipped = bytearray(LARGE)
    flipped[len(LARGE) // 2] ^= 0xFF
    assert fault_in(body(bytes(flipped)), 1, 640, 480) == "an image does not decode"
    assert fault_in(body(LARGE[:-40]), 1, 640, 480) is not None
    assert check(body(HOLLOW), 1, 640, 480, decode=False) == Checked(decoded=False)
    assert fault_in(body(HOLLOW), 1, 640, 480, decode=True) == "an image does not decode"
    assert check(body(LARGE), 1, 640, 480, decode=True) == Checked(decoded=True)


def test_base64_with_escaped_slashes_is_read() -> None:
    answer = body(GOOD).replace(b"/", b"\\/")
    assert b"\\/" in answer
    assert fault_in(answer, 1, 64, 48, decode=True) is None


@pytest.mark.parametrize(
    ("header", "durations"),
    [
        ("queue;dur=12.5, denoise;dur=1000", {"queue": 0.0125, "denoise": 1.0}),
        ('text;desc="CLIP";dur="3"', {"text": 0.003}),
        ("cache, queue;dur=oops", {}),
        ("", {}),
    ],
)
def test_server_timing_is_read_in_seconds(header: str, durations: dict[str, float]) -> None:
    assert parse_server_timing(header) == durations


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_checking_an_answer_imports_nothing(kind: str) -> None:
    # threads of a gevent process that import at once can hang; so all is imported before
    code = (
        "import sys\n"
        "from loadtest.client.response import check\n"
        "before, body = set(sys.modules), sys.stdin.buffer.read()\n"
        "assert not any(check(body, 1, 320, 320, decode=d).fault for d in (True, False))\n"
        "print(sorted(set(sys.modules) - before))\n"
    )
    answer = body(encoded(320, 320, kind))
    done = subprocess.run([sys.executable, "-c", code], input=answer, capture_output=True)
    assert done.stdout.decode().strip() == "[]", done.stderr.decode()


def test_an_error_as_deep_as_can_be_is_shown_as_it_begins() -> None:
    deep = b'{"x":' + b"[" * 200_000 + b"]" * 200_000 + b',"error":{"message":"no"}}'
    words = error_message(deep)
    assert words is not None
    assert words.startswith('{"x":[[[')
    assert len(words) <= MAX_CHARS


@pytest.mark.parametrize(
    ("asked", "most"),
    [
        # 11 bytes a pixel, and 1 MiB an image and an answer
        ((1, 1024, 1024), 11 * 2**20 + 2 * 2**20),
        ((4, 512, 512), 4 * (11 * 2**18 + 2**20) + 2**20),
        ((1, 64, 64, 16_000_000), 32_000_000 + 2 * 2**20),  # a stub's padding
    ],
)
def test_an_answer_has_a_largest_size(asked: tuple[int, ...], most: int) -> None:
    assert most_bytes(*asked) == most


@pytest.mark.timeout(60)
@pytest.mark.parametrize("word", ["-", "A", "=", "A-", "-=", " ", "data:", "\\u2028"])
def test_a_long_text_that_is_no_base64_is_told_at_once(word: str) -> None:
    """Looked at in as many ways as it has dashes, 200,000 of them took an hour."""
    text = word * 200_000 + "!"
    found = fault_in(f'{{"data": [{{"b64_json": "{text}"}}]}}'.encode(), 1, 64, 64)
    assert (found or "").startswith("an image")
