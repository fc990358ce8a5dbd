"""UNets whose deep features are reused, and guidance that ends early. torch comes inside."""

# mypy: disallow-untyped-calls=False
# diffusers ships no types.

from typing import Any
from unittest import mock

import pytest

from serve.catalog import MODEL_DEFAULTS
from serve.shortcuts import Shortcuts
from tests.serve.diffusing import (
    EXACT,
    Arrival,
    Together,
    error,
    quiet,
    recipe,
    row,
    stock,
    twin,
)

torch = pytest.importorskip("torch")
pytestmark = quiet

UNETS = ["tiny", "tiny-sdxl"]


def call(model: str, seed: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What a UNet is called with: two rows of noise."""
    unet = twin(model).unet
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Any:
        return torch.randn(*shape, generator=generator)

    added = {"text_embeds": drawn(2, 32), "time_ids": drawn(2, 6)}
    return (drawn(2, 4, 8, 8), torch.tensor([500.0, 20.0])), {
        "encoder_hidden_states": drawn(2, 77, unet.config.cross_attention_dim),
        "added_cond_kwargs": added if model == "tiny-sdxl" else None,
    }


@pytest.mark.parametrize("model", UNETS)
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.usefixtures("inference")
def test_whole_and_shallow_are_the_unet_itself(model: str, layers: int) -> None:
    from serve.models.deep_features import ShallowUNet, WholeUNet

    unet = twin(model).unet
    args, kwargs = call(model, 1)
    expected = unet(*args, **kwargs).sample
    output, deep = WholeUNet(unet, layers)(*args, **kwargs)
    assert (output == expected).all()
    assert (ShallowUNet(unet, layers)(deep, *args, **kwargs) == expected).all()
    # Of other latents the same layers make something else, and not what the whole UNet makes.
    args, kwargs = call(model, 2)
    other = ShallowUNet(unet, layers)(deep, *args, **kwargs)
    assert error(other, expected) > 0.01
    assert error(other, unet(*args, **kwargs).sample) > 0.01
    assert len(unet.up_blocks) == len(unet.down_blocks) == 2  # it is as it was
    assert len(unet.up_blocks[-1].resnets) == MODEL_DEFAULTS[model].unet_layers


@pytest.mark.parametrize("layers", [0, 3])
def test_no_more_layers_than_the_block_has(layers: int) -> None:
    from serve.models.deep_features import ShallowUNet, WholeUNet

    for kind in (WholeUNet, ShallowUNet):
        with pytest.raises(ValueError, match=f"cache_layers: {layers}; .* has 1 to 2"):
            kind(twin("tiny").unet, layers)


@pytest.mark.parametrize("model", ["tiny-sd35", "tiny-flux"])
def test_a_transformer_has_no_levels(model: str) -> None:
    from serve.models.networks import network_of

    with pytest.raises(NotImplementedError):
        network_of(twin(model)).denoise_by_depth(1)


@pytest.mark.parametrize("model", UNETS)
def test_fewer_flops(model: str) -> None:
    from serve.models.flops import count

    plain, one, two = (count(twin(model), 64, 64, layers) for layers in (None, 1, 2))
    assert plain.shallow_flop is None
    assert one.row_flop == two.row_flop == plain.row_flop
    assert one.shallow_flop is not None
    assert two.shallow_flop is not None
    assert 0 < one.shallow_flop < two.shallow_flop < plain.row_flop


def crowd(model: str) -> list[Arrival]:
    """With guidance and without, of other lengths, joining at odd ticks and at even ones."""
    return [
        (i, recipe(model, steps=4 + i, guidance_scale=scale), row(i))
        for i, scale in enumerate((4.5, 1.0, 3.0))
    ]


@pytest.mark.parametrize("model", UNETS)
@pytest.mark.parametrize(
    "shortcuts", [Shortcuts(cache_steps=2), Shortcuts(cache_steps=3, guidance_until=0.5)]
)
def test_an_image_with_shortcuts_is_its_own_whatever_shares_its_batch(
    model: str, shortcuts: Shortcuts
) -> None:
    together = Together(twin(model), slots=3, shortcuts=shortcuts, layers=2).run(crowd(model))
    full = Together(twin(model), slots=3).run(crowd(model))
    for i, arrival in enumerate(crowd(model)):
        alone = Together(twin(model), slots=3, shortcuts=shortcuts, layers=2).run([arrival])[0]
        assert error(together[i], alone) <= EXACT
        assert error(together[i], full[i]) > EXACT  # something was left out


@pytest.mark.parametrize("layers", [1, 2])
def test_reuse_in_the_stock_pipelines_own_loop(layers: int) -> None:
    """The same layers called by diffusers' loop: whole, shallow, shallow, whole, shallow."""
    from serve.models.deep_features import ShallowUNet, WholeUNet

    pipeline, how = twin("tiny"), recipe("tiny", steps=5)
    whole, shallow = WholeUNet(pipeline.unet, layers), ShallowUNet(pipeline.unet, layers)
    kept: list[Any] = []

    def forward(*args: Any, return_dict: bool = True, **kwargs: Any) -> Any:
        kwargs = {name: kwargs[name] for name in ("encoder_hidden_states", "added_cond_kwargs")}
        if forward.calls % 3 == 0:  # type: ignore[attr-defined]
            output, deep = whole(*args, **kwargs)
            kept[:] = [deep]
        else:
            output = shallow(kept[0], *args, **kwargs)
        forward.calls += 1  # type: ignore[attr-defined]
        return (output,)

    forward.calls = 0  # type: ignore[attr-defined]
    with mock.patch.object(pipeline.unet, "forward", forward):
        expected = stock(pipeline, how, row(1))
    assert forward.calls == 5  # type: ignore[attr-defined]
    made = Together(pipeline, shortcuts=Shortcuts(cache_steps=3), layers=layers)
    assert error(made.run([(0, how, row(1))])[0], expected) <= EXACT


def test_guidance_that_ends_early_in_the_stock_pipelines_own_loop() -> None:
    """As diffusers' documentation turns guidance off by a callback: dynamic classifier-free."""
    from serve.diffusion.solver import variant

    pipeline = twin("tiny")
    how = recipe("tiny", steps=6, guidance_scale=7.5)

    def ends(pipe: Any, step: int, t: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        if step == 3:  # after the fourth step: 0.67 of six
            tensors["prompt_embeds"] = tensors["prompt_embeds"].chunk(2)[-1]
            pipe._guidance_scale = 0.0
        return tensors

    own = pipeline.scheduler
    pipeline.scheduler = variant(own, how.scheduler)
    try:
        expected = pipeline(
            prompt="a red fox",
            negative_prompt="dogs",
            width=how.width,
            height=how.height,
            num_inference_steps=how.steps,
            guidance_scale=how.guidance_scale,
            generator=torch.Generator().manual_seed(1),
            output_type="latent",
            callback_on_step_end=ends,
            callback_on_step_end_tensor_inputs=["prompt_embeds"],
        ).images[0]
    finally:
        pipeline.scheduler = own
    asked = row(1, negative_prompt="dogs")
    made = Together(pipeline, shortcuts=Shortcuts(guidance_until=0.67)).run([(0, how, asked)])[0]
    assert error(made, expected) <= EXACT
    full = Together(pipeline).run([(0, how, asked)])[0]
    assert error(full, expected) > 10 * EXACT
