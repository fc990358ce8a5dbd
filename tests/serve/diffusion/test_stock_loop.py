"""Whole batches by the stock loop, against the pipelines' own calls. torch comes inside."""

from typing import Any

import pytest

from serve.catalog import MODEL_DEFAULTS
from serve.engine.request import Recipe, Row
from tests.serve.diffusing import PIXEL_LEVELS, TWINS, levels, quiet, recipe, row, stock, twin

torch = pytest.importorskip("torch")
pytestmark = quiet


def generate(model: str, how: Recipe, rows: list[Row]) -> Any:
    from serve.diffusion.decoder import Decoder
    from serve.diffusion.stock_loop import StockLoop
    from serve.models.networks import network_of

    network = network_of(twin(model))
    return StockLoop(network, Decoder(network)).generate(how, rows)


@pytest.mark.parametrize("model", TWINS)
@pytest.mark.parametrize(
    ("changes", "asked"),
    [
        ({}, row(1)),
        ({"guidance_scale": 4.5}, row(2, negative_prompt="dogs")),
        ({"guidance_scale": 1.0}, row(3)),  # no guidance
        ({"width": 96, "height": 80, "guidance_scale": 3.0}, row(4)),
    ],
)
def test_one_image_equals_the_stock_pipelines(
    model: str, changes: dict[str, Any], asked: Row
) -> None:
    how = recipe(model, steps=2, **changes)
    (image,) = generate(model, how, [asked]).images
    assert image.shape == (how.height, how.width, 3)
    assert levels(image, stock(twin(model), how, asked, output_type="pil")) == 0


@pytest.mark.parametrize("model", ["tiny", "tiny-sdxl"])
def test_every_scheduler_offered(model: str) -> None:
    for name in MODEL_DEFAULTS[model].schedulers:
        how = recipe(model, steps=2, scheduler=name)
        (image,) = generate(model, how, [row(1)]).images
        assert levels(image, stock(twin(model), how, row(1), output_type="pil")) == 0


@pytest.mark.parametrize("model", TWINS)
def test_a_batch_equals_its_single_images(model: str) -> None:
    """SDXL zeroes absent negative prompts row by row."""
    how = recipe(model, steps=2, guidance_scale=4.5)
    rows = [row(i, f"fox {i}", "dogs" if i % 2 else "") for i in range(3)]
    together = generate(model, how, rows).images
    for image, each in zip(together, rows, strict=True):
        assert levels(image, stock(twin(model), how, each, output_type="pil")) <= PIXEL_LEVELS


def test_images_differ_by_seed_and_prompt() -> None:
    how = recipe("tiny")
    one, same, seed, prompt = generate(
        "tiny", how, [row(1), row(1), row(2), row(1, "quite another prompt")]
    ).images
    assert levels(one, same) <= PIXEL_LEVELS
    assert levels(one, seed) > 50
    assert levels(one, prompt) > PIXEL_LEVELS


def test_images_of_random_weights_are_no_constant() -> None:
    (image,) = generate("tiny", recipe("tiny"), [row(1)]).images
    assert 20 < image.std() < 110  # neither flat nor saturated


def test_stages_are_timed_and_the_scheduler_stays() -> None:
    own = twin("tiny").scheduler
    generated = generate("tiny", recipe("tiny", scheduler="euler"), [row(1)])
    assert min(generated.text_s, generated.denoise_s, generated.decode_s) > 0
    assert twin("tiny").scheduler is own
