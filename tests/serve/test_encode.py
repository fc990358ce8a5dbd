import io

import numpy as np
import pytest
from PIL import Image

from serve.encode import encode
from serve.stub import prepared_base64
from serve.work import Encoding, OutputFormat

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
