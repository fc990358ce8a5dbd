"""The values that travel through a replica, and what the engine asks of a model."""

from collections.abc import Sequence
from typing import Generic, Literal, Protocol, TypeVar

import msgspec

Image = TypeVar("Image")

OutputFormat = Literal["png", "jpeg", "webp"]


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """What images must share to be denoised in one loop.

    Attributes:
        width: Pixels.
        height: Pixels.
        steps: Denoising steps.
        guidance_scale: Strength of classifier-free guidance; off at 1 and below.
    """

    width: int
    height: int
    steps: int
    guidance_scale: float


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One image of a batch: what is its own."""

    prompt: str
    negative_prompt: str
    seed: int


class Encoding(msgspec.Struct, frozen=True, kw_only=True):
    """How pixels become a file: the format, and the quality (1-100) where it is lossy."""

    output_format: OutputFormat = "png"
    quality: int | None = None


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One checked request: a recipe, a row an image, and the file it wants."""

    recipe: Recipe
    rows: tuple[Row, ...]
    encoding: Encoding


class Generated(msgspec.Struct, Generic[Image], frozen=True, kw_only=True):
    """What a model made of one batch: an image a row, and the seconds each stage took."""

    images: Sequence[Image]
    text_s: float
    denoise_s: float
    decode_s: float


class Model(Protocol[Image]):
    """What the engine needs of a model; `Image` is the model's own business."""

    async def generate(self, recipe: Recipe, rows: Sequence[Row]) -> Generated[Image]:
        """Denoise one batch; the engine never calls it twice at once."""
        ...

    async def encode(self, image: Image, recipe: Recipe, encoding: Encoding) -> bytes:
        """An image's file in base64, as the response carries it; called beside `generate`."""
        ...
