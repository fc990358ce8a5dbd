import base64
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from serve.engine.request import Encoding, OutputFormat
from serve.image_files import BASE64_BYTES, encode, to_base64
from serve.stub.model import prepared_base64

FORMATS: list[OutputFormat] = ["png", "jpeg", "webp"]


def gradient(width: int, height: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    ramp = np.linspace(0, 255, width * height * 3).reshape(height, width, 3)
    return ramp.astype(np.uint8)


def test_png_keeps_every_pixel() -> None:
    pixels = gradient(24, 16)
    file = encode(pixels, Encoding())
    assert (np.asarray(Image.open(io.BytesIO(file))) == pixels).all()


@pytest.mark.parametrize("output_format", FORMATS)
def test_files_are_of_the_asked_format_and_size(output_format: OutputFormat) -> None:
    file = encode(gradient(72, 64), Encoding(output_format=output_format))
    image = Image.open(io.BytesIO(file))
    image.load()
    assert (image.format, image.size) == (output_format.upper(), (72, 64))


@pytest.mark.parametrize("output_format", ["jpeg", "webp"])
def test_lower_quality_is_smaller(output_format: OutputFormat) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    high, low = (encode(noise, Encoding(output_format=output_format, quality=q)) for q in (90, 10))
    assert len(low) < len(high)


@pytest.mark.parametrize("output_format", FORMATS)
def test_the_stubs_padded_file_decodes(output_format: OutputFormat) -> None:
    import base64

    encoding = Encoding(output_format=output_format)
    file = base64.b64decode(prepared_base64(128, 64, encoding, 50_000), validate=True)
    assert len(file) == 50_000
    image = Image.open(io.BytesIO(file))
    image.load()
    assert (image.format, image.size) == (output_format.upper(), (128, 64))


@given(st.binary(max_size=300) | st.integers(0, 5).map(lambda n: bytes([n]) * (n * 49_151)))
def test_base64_in_parts_is_base64(file: bytes) -> None:
    """GPU finding 13: parts, so that a large file holds Python's lock for no step's length."""
    assert to_base64(file) == base64.b64encode(file)
    assert BASE64_BYTES % 3 == 0
