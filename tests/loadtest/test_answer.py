import base64
import io
import json
import subprocess
import sys
import zlib

import pytest
from PIL import Image

from loadtest.answer import error_message, fault_in, parse_server_timing


def encoded(width: int, height: int, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.effect_noise((width, height), 50).convert("RGB").save(file, kind)
    return file.getvalue()


def body(*images: bytes | None) -> bytes:
    data = [{"b64_json": None if i is None else base64.b64encode(i).decode()} for i in images]
    return json.dumps({"created": 1, "data": data}).encode()


GOOD = encoded(64, 48)
LARGE = encoded(640, 480)
# pixels that do not inflate to the stated size, under a correct checksum: only decoding finds it
IDAT = zlib.compress(b"\0" * 10)
CHUNK = b"IDAT" + IDAT
HOLLOW = (
    LARGE[:33]
    + len(IDAT).to_bytes(4, "big")
    + CHUNK
    + zlib.crc32(CHUNK).to_bytes(4, "big")
    + LARGE[-12:]
)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("size", [(64, 48), (640, 480)])
def test_what_was_asked_for_is_good(kind: str, size: tuple[int, int]) -> None:
    assert (
        fault_in(body(encoded(*size, kind), encoded(*size, kind)), 2, *size, decode=False) is None
    )


@pytest.mark.parametrize(
    ("answer", "images", "said"),
    [
        (b"<html>", 1, "the answer is no OpenAI Images JSON"),
        (b"\xff\xfe", 1, "the answer is no OpenAI Images JSON"),
        (b"{}", 1, "the answer has no data"),
        (b'{"data": []}', 1, "0 images came back where 1 were asked for"),
        (body(GOOD), 2, "1 images came back where 2 were asked for"),
        (body(GOOD, GOOD), 1, "2 images came back where 1 were asked for"),
        (b'{"data": [{"url": "http://x/1.png"}]}', 1, "an image came as a link, not as b64_json"),
        (body(None), 1, "an image is missing"),
        (b'{"data": [{"b64_json": "*"}]}', 1, "an image is not base64"),
        (b'{"data": [{"b64_json": 7}]}', 1, "the answer is no OpenAI Images JSON"),
        (
            body(b"random bytes, as other tools count as a success"),
            1,
            "an image is in no known format",
        ),
        (body(encoded(64, 64)), 1, "an image is 64x64, not 64x48"),
        (body(GOOD[: len(GOOD) // 2]), 1, "an image does not decode"),
        (body(encoded(64, 48, "JPEG")[:-200]), 1, "an image is cut short"),
    ],
)
def test_what_was_not_asked_for_is_named(answer: bytes, images: int, said: str) -> None:
    assert fault_in(answer, images, 64, 48, decode=False) == said


def test_a_large_image_is_checksummed_always_and_decoded_where_asked() -> None:
    flipped = bytearray(LARGE)
    flipped[len(LARGE) // 2] ^= 0xFF
    assert fault_in(body(bytes(flipped)), 1, 640, 480, decode=False) == "an image does not decode"
    assert fault_in(body(LARGE[:-40]), 1, 640, 480, decode=False) is not None
    assert fault_in(body(HOLLOW), 1, 640, 480, decode=False) is None
    assert fault_in(body(HOLLOW), 1, 640, 480, decode=True) == "an image does not decode"


def test_base64_with_escaped_slashes_is_read() -> None:
    answer = body(GOOD).replace(b"/", b"\\/")
    assert b"\\/" in answer
    assert fault_in(answer, 1, 64, 48, decode=True) is None


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b'{"error": {"message": "queue\\nis full", "type": "x"}}', "queue is full"),
        (b'{"error": "plain"}', "plain"),
        (b'{"error": {}}', None),
        (b"busy", None),
        (b"[]", None),
    ],
)
def test_error_messages(answer: bytes, message: str | None) -> None:
    assert error_message(answer) == message


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
        "from loadtest.answer import fault_in\n"
        "before, body = set(sys.modules), sys.stdin.buffer.read()\n"
        "assert [fault_in(body, 1, 320, 320, decode=d) for d in (True, False)] == [None, None]\n"
        "print(sorted(set(sys.modules) - before))\n"
    )
    answer = body(encoded(320, 320, kind))
    done = subprocess.run([sys.executable, "-c", code], input=answer, capture_output=True)
    assert done.stdout.decode().strip() == "[]", done.stderr.decode()
