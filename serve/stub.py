"""A stand-in that computes nothing: it isolates the serving layer. Reports call it no model."""

import asyncio
import base64
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from serve.encode import encode
from serve.work import Encoding, Generated, Recipe, Row


class StubModel:
    """Takes `fixed_s + steps * step_s` for a batch of any size, then answers a prepared image."""

    def __init__(self, *, fixed_s: float, step_s: float, image_bytes: int) -> None:
        self._fixed_s = fixed_s
        self._step_s = step_s
        self._image_bytes = image_bytes

    async def generate(self, recipe: Recipe, rows: Sequence[Row]) -> Generated[None]:
        """Wait the stated time."""
        denoise_s = recipe.steps * self._step_s
        await asyncio.sleep(self._fixed_s + denoise_s)
        images = [None] * len(rows)
        return Generated(images=images, text_s=0.0, denoise_s=denoise_s, decode_s=self._fixed_s)

    async def encode(self, image: None, recipe: Recipe, encoding: Encoding) -> bytes:
        """The prepared file of that size and format, in base64."""
        return prepared_base64(recipe.width, recipe.height, encoding, self._image_bytes)


@lru_cache(maxsize=64)
def prepared_base64(width: int, height: int, encoding: Encoding, least_bytes: int) -> bytes:
    """A gradient of that size as a base64 file, padded with zeros behind the image's end.

    Decoders stop at the end that the format marks, so the file still decodes.
    """
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[..., 0] = np.linspace(0, 255, width, dtype=np.uint8)[None, :]
    pixels[..., 1] = np.linspace(0, 255, height, dtype=np.uint8)[:, None]
    return base64.b64encode(encode(pixels, encoding).ljust(least_bytes, b"\0"))
