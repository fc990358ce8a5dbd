"""The model itself, against the stock pipeline. torch is imported inside: it takes seconds."""

import asyncio
import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from serve.settings import Settings
from serve.work import Encoding, Recipe, Row

torch = pytest.importorskip("torch")

# diffusers' Euler scheduler, under numpy 2
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)

RECIPE = Recipe(width=64, height=64, steps=3, guidance_scale=7.5)
# A batch sums its matrix products in another order than one image does: the last bit differs.
BATCH_TOLERANCE = 1


@pytest.fixture(scope="module")
def model() -> Any:
    from serve.pipeline import start

    return start(Settings(device="cpu", threads=1))


def row(seed: int, prompt: str = "a red fox", negative_prompt: str = "") -> Row:
    return Row(prompt=prompt, negative_prompt=negative_prompt, seed=seed)


def stock(model: Any, recipe: Recipe, asked: Row) -> Any:
    """The same image by diffusers' own call."""
    pipeline: Any = model._pipeline
    image = pipeline(
        prompt=asked.prompt,
        negative_prompt=asked.negative_prompt or None,
        width=recipe.width,
        height=recipe.height,
        num_inference_steps=recipe.steps,
        guidance_scale=recipe.guidance_scale,
        generator=torch.Generator().manual_seed(asked.seed),
    ).images[0]
    return np.asarray(image)


def difference(one: Any, other: Any) -> int:
    """Largest difference of two images' pixels, of 255."""
    return int(np.abs(one.astype(int) - other.astype(int)).max())


@pytest.mark.parametrize(
    ("recipe", "asked"),
    [
        (RECIPE, row(1)),
        (RECIPE, row(2, negative_prompt="dogs")),
        (Recipe(width=64, height=64, steps=2, guidance_scale=1.0), row(3)),  # no guidance
        (Recipe(width=96, height=72, steps=2, guidance_scale=3.0), row(4)),  # odd latents
    ],
)
def test_one_image_equals_the_stock_pipelines(model: Any, recipe: Recipe, asked: Row) -> None:
    generated = model.denoise(recipe, [asked])
    assert generated.images[0].shape == (recipe.height, recipe.width, 3)
    assert difference(generated.images[0], stock(model, recipe, asked)) == 0


def test_a_batch_equals_its_single_images(model: Any) -> None:
    asked = [row(i, f"fox {i}", "dogs" if i % 2 else "") for i in range(5)]
    together = model.denoise(RECIPE, asked).images
    for image, each in zip(together, asked, strict=True):
        assert difference(image, model.denoise(RECIPE, [each]).images[0]) <= BATCH_TOLERANCE


def test_images_differ_by_seed_and_prompt(model: Any) -> None:
    one, same, seed, prompt = model.denoise(
        RECIPE, [row(1), row(1), row(2), row(1, "quite another prompt")]
    ).images
    assert difference(one, same) <= BATCH_TOLERANCE
    assert difference(one, seed) > 50
    assert difference(one, prompt) > BATCH_TOLERANCE


def test_images_of_random_weights_are_no_constant(model: Any) -> None:
    (image,) = model.denoise(RECIPE, [row(1)]).images
    assert 20 < image.std() < 110  # neither flat nor saturated


def test_generate_and_encode_off_the_loop(model: Any) -> None:
    async def make() -> tuple[Any, bytes]:
        generated = await model.generate(RECIPE, [row(1)])
        return generated, await model.encode(generated.images[0], RECIPE, Encoding())

    generated, file = asyncio.run(make())
    assert (np.asarray(Image.open(io.BytesIO(base64.b64decode(file)))) == generated.images[0]).all()
    assert min(generated.text_s, generated.denoise_s, generated.decode_s) > 0


def test_sdxl_zeroes_absent_negative_prompts_row_by_row() -> None:
    """Rows with and without a negative prompt in one batch, as when alone."""
    from serve.pipeline import start

    model = start(Settings(model="tiny-sdxl", device="cpu", threads=1))
    asked = [row(1), row(2, negative_prompt="dogs")]
    together = model.denoise(RECIPE, asked).images
    for image, each in zip(together, asked, strict=True):
        assert difference(image, stock(model, RECIPE, each)) <= BATCH_TOLERANCE


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
@pytest.mark.parametrize("model_name", ["sd15", "sdxl"])
def test_real_architectures_stay_finite_on_a_gpu(model_name: Any) -> None:
    from serve.pipeline import start

    model = start(Settings(model=model_name, device="cuda", max_batch=2))
    side = Settings(model=model_name).defaults.side
    recipe = Recipe(width=side, height=side, steps=20, guidance_scale=7.5)
    images = model.denoise(recipe, [row(1), row(2)]).images
    assert all(20 < image.std() < 110 for image in images)
    assert str(model.gpu_uuid).startswith("GPU-")
