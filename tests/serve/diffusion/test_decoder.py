"""Latents to pixels, against the stock pipelines. torch comes inside."""

from typing import Any

import pytest

from serve.engine.request import Size
from tests.serve.diffusing import PIXEL_LEVELS, TWINS, levels, quiet, recipe, row, stock, twin

torch = pytest.importorskip("torch")
pytestmark = quiet


def decoder(model: str) -> Any:
    from serve.diffusion.decoder import Decoder
    from serve.models.networks import network_of

    return Decoder(network_of(twin(model)))


def pixels(decoded: Any) -> list[Any]:
    """The images; on a CPU their latents were there before."""
    assert all(each.ready_s is None for each in decoded)
    return [each.image for each in decoded]


@pytest.mark.parametrize(
    ("width", "height", "images"),
    [
        (64, 64, 8),
        (512, 512, 8),  # 256 channels of 512 x 512: 2^26 elements an image
        (1024, 512, 4),
        (1024, 1024, 2),  # 2^28 each; eight would be 2^31
        (2048, 2048, 1),  # 2^30: one alone is above the cap, and decoded all the same
    ],
)
def test_the_largest_tensor_stays_within_what_32_bits_index(
    width: int, height: int, images: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GPU finding 10: 8 images of 1024 px made tensors of exactly 2^31 elements."""
    made = decoder("tiny")
    real = type(made._vae.config)({**made._vae.config, "block_out_channels": (128, 256, 512, 512)})
    monkeypatch.setattr(made._vae, "_internal_dict", real)
    size = Size(width=width, height=height)
    assert made.batch(size) == images
    assert images == 1 or images * 256 * width * height <= 2**29


@pytest.mark.parametrize("model", TWINS)
@pytest.mark.parametrize(("width", "height"), [(64, 64), (96, 64), (64, 80)])
def test_pixels_are_the_stock_pipelines(model: str, width: int, height: int) -> None:
    """FLUX's latents come in packed patches, the others' as the VAE takes them."""
    how = recipe(model, width=width, height=height, steps=1)
    latent = stock(twin(model), how, row(1))
    (made,) = pixels(decoder(model).decode(how.size, [(latent, None)]))
    expected = stock(twin(model), how, row(1), output_type="pil")
    assert made.shape == (height, width, 3)
    assert made.dtype.name == "uint8"
    assert levels(made, expected) == 0
    assert made.std() > 20  # no flat image, which all would equal


def test_a_vae_with_statistics_a_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    """As some SDXL variants have it (Playground 2.5)."""
    pipeline = twin("tiny-sdxl")
    told = {"latents_mean": [0.5, -0.3, 0.1, 0.2], "latents_std": [2.0, 1.0, 0.5, 3.0]}
    config = type(pipeline.vae.config)({**pipeline.vae.config, **told})
    monkeypatch.setattr(pipeline.vae, "_internal_dict", config)
    how = recipe("tiny-sdxl", steps=1)
    expected = stock(pipeline, how, row(1), output_type="pil")
    latent = stock(pipeline, how, row(1))
    (made,) = pixels(decoder("tiny-sdxl").decode(how.size, [(latent, None)]))
    assert levels(made, expected) == 0


@pytest.mark.parametrize(
    ("images", "batches"), [(0, []), (1, [1]), (8, [8]), (9, [8, 1]), (20, [8, 8, 4])]
)
def test_batches_are_capped(
    images: int, batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = twin("tiny")
    decode = pipeline.vae.decode
    calls: list[int] = []

    def spied(z: Any, **kwargs: Any) -> Any:
        calls.append(len(z))
        return decode(z, **kwargs)

    monkeypatch.setattr(pipeline.vae, "decode", spied)
    generator = torch.Generator().manual_seed(0)
    latents = [(torch.randn(4, 8, 8, generator=generator), None) for _ in range(images)]
    size = Size(width=64, height=64)
    made = pixels(decoder("tiny").decode(size, latents))
    assert calls == batches
    assert len(made) == images
    for latent, image in zip(latents, made, strict=True):  # each in its place
        (alone,) = pixels(decoder("tiny").decode(size, [latent]))
        assert levels(image, alone) <= PIXEL_LEVELS
