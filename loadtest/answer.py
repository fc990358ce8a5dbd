"""What came back: is it what was asked for? Pure.

An answer is good only if it holds the asked number of images, each whole and of the asked size.
Every image's container is checked (signature, size, PNG checksums, JPEG end marker), which takes
about 0.2 ms for 100 KB; pixels are decoded of a sample only, so that the generator does not spend
the node's cores on decoding.
"""

import base64
import binascii
import io
import warnings

import msgspec
from PIL import Image, UnidentifiedImageError

DECODE_EVERY = 10
MAX_PIXELS = 64_000_000  # larger headers are refused unread: a decompression bomb

# Every codec now: imported later, by several threads of a gevent process at once, they can wait for
# each other's import lock for ever.
Image.init()


class _Item(msgspec.Struct):
    b64_json: str | None = None
    url: str | None = None


class _Answer(msgspec.Struct):
    data: list[_Item] | None = None


class _Decoded(msgspec.Struct):
    b64_json: bytes  # msgspec reads base64: four times as fast as by way of a str


class _DecodedAnswer(msgspec.Struct):
    data: list[_Decoded]


class _ErrorDetail(msgspec.Struct):
    message: str | None = None


class _ErrorBody(msgspec.Struct):
    error: _ErrorDetail | str | None = None


_DECODED = msgspec.json.Decoder(_DecodedAnswer)
_ANSWER = msgspec.json.Decoder(_Answer)
_ERROR = msgspec.json.Decoder(_ErrorBody)


def fault_in(
    body: bytes | bytearray, images: int, width: int, height: int, *, decode: bool
) -> str | None:
    """What is wrong with the body of a 200 answer, in a few words; None if nothing is.

    Args:
        body: the response body, OpenAI Images JSON.
        images: how many were asked for.
        width: pixels asked for.
        height: pixels asked for.
        decode: whether pixels are decoded, too.
    """
    try:
        found = [item.b64_json for item in _DECODED.decode(body).data]
    except (msgspec.DecodeError, UnicodeDecodeError):
        told = _images_in(body)
        if isinstance(told, str):
            return told
        found = told
    if len(found) != images:
        return f"{len(found)} images came back where {images} were asked for"
    for data in found:
        fault = _image_fault(data, width, height, decode)
        if fault:
            return fault
    return None


def is_sampled(seq: int) -> bool:
    """Whether the pixels of what request `seq` brought are decoded: of one in DECODE_EVERY."""
    return seq % DECODE_EVERY == 0


def _images_in(body: bytes | bytearray) -> list[bytes] | str:
    """The images of an answer that is not plainly one, or what is wrong with it."""
    try:
        items = _ANSWER.decode(body).data
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "the answer is no OpenAI Images JSON"
    if items is None:
        return "the answer has no data"
    found = []
    for item in items:
        if item.b64_json is None:
            return "an image came as a link, not as b64_json" if item.url else "an image is missing"
        try:
            found.append(base64.b64decode(item.b64_json, validate=True))
        except (binascii.Error, ValueError):
            return "an image is not base64"
    return found


def error_message(body: bytes | bytearray) -> str | None:
    """The message of an OpenAI error body, cut to one line; None if there is none."""
    try:
        error = _ERROR.decode(body).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    message = error.message if isinstance(error, _ErrorDetail) else error
    return " ".join(message.split())[:200] if message else None


def parse_server_timing(header: str) -> dict[str, float]:
    """Durations in seconds by name, of a Server-Timing header (W3C; it carries milliseconds)."""
    found: dict[str, float] = {}
    for metric in header.split(","):
        name, *params = (part.strip() for part in metric.split(";"))
        for param in params:
            key, _, value = param.partition("=")
            if key.strip().lower() == "dur":
                try:
                    found[name] = float(value.strip().strip('"')) / 1e3
                except ValueError:
                    continue
    return found


def _image_fault(data: bytes, width: int, height: int, decode: bool) -> str | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data))
            if image.size != (width, height):
                return f"an image is {image.size[0]}x{image.size[1]}, not {width}x{height}"
            if width * height > MAX_PIXELS:
                return "an image is too large to check"
            if image.format == "JPEG" and b"\xff\xd9" not in data[-64:]:
                return "an image is cut short"
            if decode:
                image.load()
            else:
                image.verify()
    except UnidentifiedImageError:
        return "an image is in no known format"
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return "an image does not decode"
    return None
