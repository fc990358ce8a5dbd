"""What a row begins with. torch comes inside."""

from typing import Any

import pytest

from tests.serve.diffusing import TWINS, error, quiet, recipe, row, twin

torch = pytest.importorskip("torch")
pytestmark = quiet


def preparation(model: str) -> Any:
    from serve.diffusion.preparation import Preparation
    from serve.models.networks import network_of

    return Preparation(network_of(twin(model)))


SHAPES = {  # of a latent, and of a conditioning, at 96 x 64 pixels
    "tiny": ((4, 8, 12), [(77, 32)]),
    "tiny-sdxl": ((4, 8, 12), [(77, 64), (32,), (6,)]),
    "tiny-sd35": ((16, 8, 12), [(77 + 256, 64), (64,)]),
    "tiny-flux": ((4 * 6, 64), [(256, 32), (32,)]),  # patches of 2 x 2 of 16 channels
}


@pytest.mark.parametrize("model", TWINS)
def test_shapes(model: str) -> None:
    how = recipe(model, width=96, height=64, guidance_scale=3.0)
    (prepared,) = preparation(model).prepare([(how, row(1))])
    start = prepared.state
    assert (tuple(start.latent.shape), [tuple(each.shape) for each in start.told]) == SHAPES[model]
    assert [each.shape for each in start.untold] == [each.shape for each in start.told]
    assert start.latent.dtype == torch.float32
    assert len(start.table) == how.steps
    assert start.guidance_scale == 3.0
    assert prepared.text_s > 0
    assert prepared.truncated is None


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_without_guidance_no_second_text(scale: float) -> None:
    how = recipe("tiny", guidance_scale=scale)
    ready = preparation("tiny")
    (prepared,) = ready.prepare([(how, row(1, "a fox", "dogs " * 30))])
    assert prepared.state.untold is None
    assert prepared.truncated is None  # what is not used is not cut
    assert ready._texts.embedded == 1


def test_noise_is_drawn_by_the_seed_at_the_samplers_scale() -> None:
    ready = preparation("tiny")
    asked = [(name, seed) for name in ("ddim", "euler") for seed in (1, 2)]
    one, two, scaled, _ = (
        each.state
        for each in ready.prepare([(recipe("tiny", scheduler=n), row(seed)) for n, seed in asked])
    )
    expected = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))[0]
    assert torch.equal(one.latent, expected)
    assert error(two.latent, one.latent) > 0.1
    assert error(scaled.latent, expected * scaled.table.noise_scale) < 1e-6
    assert scaled.table.noise_scale > 5


def test_tables_are_made_once_a_sampler_steps_and_size() -> None:
    ready = preparation("tiny")
    rows = [recipe("tiny"), recipe("tiny"), recipe("tiny", steps=4), recipe("tiny", width=96)]
    tables = [each.state.table for each in ready.prepare([(how, row(1)) for how in rows])]
    assert tables[0] is tables[1]
    assert len({id(table) for table in tables}) == 3


def test_sdxl_is_told_the_size() -> None:
    """Original, top left of the crop, target: height before width, as diffusers has them."""
    how = recipe("tiny-sdxl", width=96, height=64, guidance_scale=3.0)
    (prepared,) = preparation("tiny-sdxl").prepare([(how, row(1))])
    for told in (prepared.state.told, prepared.state.untold):
        assert told[2].tolist() == [64, 96, 0, 0, 64, 96]


def test_what_is_cut_is_told() -> None:
    how = recipe("tiny", guidance_scale=3.0)
    asked = row(1, "x" * 98, "y" * 99)
    (prepared,) = preparation("tiny").prepare([(how, asked)])
    assert prepared.truncated == "prompt: 77 of 100 tokens; negative_prompt: 77 of 101 tokens"


def test_a_row_that_cannot_begin_fails_alone() -> None:
    """Its sampler has not so many steps; the others begin."""
    from serve.diffusion.solver import SolverError

    rows = [recipe("tiny"), recipe("tiny", steps=1001), recipe("tiny")]
    one, failed, other = preparation("tiny").prepare([(how, row(1)) for how in rows])
    assert isinstance(failed, SolverError)
    assert "1001 steps" in str(failed)
    assert torch.equal(one.state.latent, other.state.latent)
