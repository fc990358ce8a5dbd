"""Pixels to PNG, JPEG or WebP, and files to base64."""

import base64
import io
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serve.engine.request import Encoding

Pixels: TypeAlias = NDArray[np.uint8]

# zlib level 6 takes 142-274 ms for a 1024 px image of noise, level 1 about a third of it.
PNG_COMPRESS_LEVEL = 1
LOSSY_QUALITY = 90
# base64 holds Python's lock for 1.3 ms a MB, and the thread that launches steps waits for it. Whole
# triples of bytes, so that the parts join.
BASE64_BYTES = 48 * 1024


def encode(pixels: Pixels, encoding: Encoding) -> bytes:
    """The file of an image.

    Args:
        pixels: uint8 of shape (height, width, 3), RGB.
        encoding: Format and quality.
    """
    file = io.BytesIO()
    image = Image.fromarray(pixels)
    quality = encoding.quality or LOSSY_QUALITY
    match encoding.output_format:
        case "png":
            image.save(file, "PNG", compress_level=PNG_COMPRESS_LEVEL)
        case "jpeg":
            image.save(file, "JPEG", quality=quality)
        case "webp":
            image.save(file, "WEBP", quality=quality, method=0)
    return file.getvalue()


def to_base64(file: bytes) -> bytes:
    """The file in base64, made in parts between which other threads run."""
    view = memoryview(file)
    return b"".join(
        base64.b64encode(view[i : i + BASE64_BYTES]) for i in range(0, len(view), BASE64_BYTES)
    )
