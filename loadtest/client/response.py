"""What came back: is it what was asked for? Pure.

An answer is good only if it holds the asked number of images, each whole, of the asked size and in
the asked format: PNG, JPEG or WebP. Where no format was asked for, it is the one that the answer
itself tells (`output_format`, as OpenAI's do), and without that any of the three.

    every image    base64; header: format and size; the end chunk or marker; PNG: every chunk's
                   checksum; WebP: its container. About 0.2 ms for 100 KB
    a sample       its pixels, decoded in full, of one request in DECODE_EVERY at most, so that the
                   generator leaves the node its cores
"""

import base64
import binascii
import io
import re
import warnings
from typing import Literal, get_args

import msgspec
from PIL import Image, UnidentifiedImageError

from loadtest.client.server_errors import error_in

DECODE_EVERY = 10
MAX_PIXELS = 64_000_000  # headers that tell more are refused unread: a decompression bomb
Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow refuses beyond twice this, before any memory
# The largest body that n images can take: 16 bits of four channels a pixel, stored and in base64
# (8 x 4/3 bytes), and room for what a server adds to an image and to an answer.
MAX_PIXEL_BYTES = 11
MAX_EXTRA_BYTES = 1 << 20
END_MARKS = {"png": b"IEND\xaeB`\x82", "jpeg": b"\xff\xd9"}

Format = Literal["png", "jpeg", "webp"]
FORMATS: tuple[Format, ...] = get_args(Format)

_UNPADDED = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_SPACE = re.compile(r"\s")
_URL_BASE64 = re.compile(r"[A-Za-z0-9_-]+={0,2}")  # one way to match each letter: linear

# Every codec now: imported later, by several threads of a gevent process at once, they can wait for
# each other's import lock for ever.
Image.init()


class _Item(msgspec.Struct):
    b64_json: str | None = None
    url: str | None = None


class _Answer(msgspec.Struct):
    data: list[_Item] | None = None
    output_format: object = None


class _Plain(msgspec.Struct):
    b64_json: bytes  # msgspec reads base64: four times as fast as by way of a str


class _PlainAnswer(msgspec.Struct):
    data: list[_Plain]
    output_format: object = None


_PLAIN = msgspec.json.Decoder(_PlainAnswer)
_ANSWER = msgspec.json.Decoder(_Answer)


def most_bytes(images: int, width: int, height: int, image_bytes: int = 0) -> int:
    """Bytes that the body of an answer can have.

    Args:
        images: Asked for.
        width: Pixels asked for.
        height: Pixels asked for.
        image_bytes: What a stub pads its files to.
    """
    an_image = max(MAX_PIXEL_BYTES * width * height, 2 * image_bytes) + MAX_EXTRA_BYTES
    return images * an_image + MAX_EXTRA_BYTES


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer's check found."""

    fault: str | None = None  # what is wrong, in a few words; None if nothing is
    decoded: bool = False  # the pixels of every image were decoded in full


def check(
    body: bytes | bytearray,
    images: int,
    width: int,
    height: int,
    output_format: str | None = None,
    *,
    decode: bool,
) -> Checked:
    """Hold the body of a 200 answer against what was asked for.

    Args:
        body: the response body, OpenAI Images JSON.
        images: how many were asked for.
        width: pixels asked for.
        height: pixels asked for.
        output_format: asked for; None: what the answer tells, if it does.
        decode: whether pixels are decoded, too.
    """
    try:
        answer = _PLAIN.decode(body)
        found, told = [item.b64_json for item in answer.data], answer.output_format
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        read = _images_in(body)
        if isinstance(read, str):
            return Checked(fault=read)
        found, told = read
    if len(found) != images:
        came = f"{len(found)} images came back where {images} were asked for"
        return Checked(fault=_with_words(came, body))
    due = output_format or _told_format(told)
    for data in found:
        fault = _image_fault(data, width, height, due, decode)
        if fault:
            return Checked(fault=fault)
    return Checked(decoded=decode)


def is_sampled(seq: int) -> bool:
    """Whether the pixels of what request `seq` brought are decoded: of one in DECODE_EVERY."""
    return seq % DECODE_EVERY == 0


def _images_in(body: bytes | bytearray) -> tuple[list[bytes], object] | str:
    """The images of an answer that is not plainly one, and the format it tells; or its fault."""
    try:
        answer = _ANSWER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        if body.lstrip()[:6] in (b"data: ", b"event:"):
            return "the answer is a stream of events, which nobody asked for"
        return _with_words("the answer is no OpenAI Images JSON", body)
    if answer.data is None:
        return _with_words("the answer has no data", body)
    found = []
    for item in answer.data:
        if item.b64_json is None:
            if item.url:
                return "an image came as a link, not as b64_json"
            return _with_words("an image is missing", body)
        try:
            found.append(base64.b64decode(item.b64_json, validate=True))
        except (binascii.Error, ValueError):
            return _not_base64(item.b64_json)
    return found, answer.output_format


def _with_words(fault: str, body: bytes | bytearray) -> str:
    """The fault, and what the server says of it in the same answer."""
    words = error_in(body)
    return fault if words is None else f"{fault}: {words}"


def _not_base64(text: str) -> str:
    """What is wrong with an image's base64 (RFC 4648, 4: no line breaks, + and /, padded)."""
    if text.startswith("data:"):
        return "an image is a data URI (data:...;base64,), where b64_json is bare base64"
    if _SPACE.search(text):
        return "an image's base64 is broken into lines"
    if _UNPADDED.fullmatch(text):
        return "an image's base64 is cut short, or lacks the = at its end"
    if _URL_BASE64.fullmatch(text):
        return "an image's base64 is the form for URLs, with - and _"
    return "an image is not base64"


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


def _told_format(told: object) -> str | None:
    """The format an answer says its images have; None if it does not, or in words of its own."""
    name = told.lower().replace("jpg", "jpeg") if isinstance(told, str) else None
    return name if name in FORMATS else None


def _image_fault(data: bytes, width: int, height: int, due: str | None, decode: bool) -> str | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            found = (image.format or "").lower()
            if due is not None and found != due:
                return f"an image is {found}, not {due}"
            if image.size != (width, height):
                return f"an image is {image.size[0]}x{image.size[1]}, not {width}x{height}"
            if END_MARKS.get(found, b"") not in data.rstrip(b"\0")[-64:]:  # little may follow it
                return "an image is cut short"
            if decode:
                image.load()
            else:
                image.verify()
    except Image.DecompressionBombError:
        return "an image is too large to check"
    except UnidentifiedImageError:
        return "an image is no PNG, JPEG or WebP"
    except Exception:  # noqa: BLE001 - on bytes made up to mislead it, a decoder raises anything
        return "an image does not decode"
    return None
