"""Images in slots, whatever joins and leaves, against the stock pipelines. torch comes inside."""

# mypy: disallow-untyped-calls=False
# diffusers ships no types.

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.catalog import MODEL_DEFAULTS
from serve.engine.request import Recipe, Size, Tick
from tests.serve.diffusing import (
    EXACT,
    TWINS,
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

SIZES = [(64, 64), (96, 64)]


def check(model: str, arrivals: list[Arrival], *, slots: int) -> float:
    """Denoise them together, and each alone by the stock pipeline; the worst error."""
    pipeline = twin(model)
    latents = Together(pipeline, slots=slots).run(arrivals)
    assert set(latents) == set(range(len(arrivals)))
    worst = 0.0
    for i, (_, how, asked) in enumerate(arrivals):
        off = error(latents[i], stock(pipeline, how, asked))
        assert off <= EXACT, f"{how} {asked}"
        worst = max(worst, off)
    return worst


@st.composite
def crowds(draw: st.DrawFn, model: str) -> list[Arrival]:
    """Some rows with all that may differ between the rows of a batch."""
    arrivals = []
    for _ in range(draw(st.integers(2, 5))):
        width, height = draw(st.sampled_from(SIZES))
        how = recipe(
            model,
            width=width,
            height=height,
            steps=draw(st.integers(1, 6)),
            guidance_scale=draw(st.sampled_from([0.0, 1.0, 1.5, 4.5, 9.0])),
            scheduler=draw(st.sampled_from(MODEL_DEFAULTS[model].schedulers)),
        )
        asked = row(
            draw(st.integers(0, 2**63 - 1)),
            draw(st.sampled_from(["", "a red fox", "two horses on a beach " * 20])),
            draw(st.sampled_from(["", "dogs"])),
        )
        arrivals.append((draw(st.integers(0, 6)), how, asked))
    return arrivals


@pytest.mark.parametrize("model", TWINS)
@settings(max_examples=4, deadline=None)
@given(data=st.data())
def test_an_image_is_the_stock_pipelines_whatever_shares_its_batch(
    model: str, data: st.DataObject
) -> None:
    check(model, data.draw(crowds(model)), slots=3)


@pytest.mark.parametrize("model", TWINS)
def test_every_scheduler_offered_beside_every_other(model: str) -> None:
    """With guidance and without, at steps of their own, joining one after the other."""
    arrivals = [
        (i, recipe(model, steps=4 + i % 3, scheduler=name, guidance_scale=scale), row(i))
        for i, (name, scale) in enumerate(
            (name, scale) for name in MODEL_DEFAULTS[model].schedulers for scale in (4.5, 1.0)
        )
    ]
    worst = check(model, arrivals, slots=8)
    print(f"{model}: worst relative error {worst:.1e}")


def test_twenty_steps_stay_exact() -> None:
    """Errors do not add up: the model's default number of steps."""
    arrivals = [
        (0, recipe("tiny", steps=20, scheduler=name), row(1))
        for name in MODEL_DEFAULTS["tiny"].schedulers
    ]
    check("tiny", arrivals, slots=3)


@pytest.mark.parametrize("model", ["tiny-sd35", "tiny-flux"])
def test_a_shift_by_size_is_the_pipelines_own(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dynamic shifting, as the schedulers of SD 3.5 and FLUX.1-dev may be configured."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, base_shift=0.3)
    monkeypatch.setattr(twin(model), "scheduler", scheduler)
    arrivals = [(0, recipe(model, width=width, height=height), row(1)) for width, height in SIZES]
    check(model, arrivals, slots=2)


@pytest.mark.parametrize("model", TWINS)
def test_guidance_takes_a_second_row_and_its_absence_none(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = Together(twin(model))
    rows = spy_rows(together, monkeypatch)
    plain, guided = (recipe(model, steps=2, guidance_scale=scale) for scale in (1.0, 3.0))
    together.run([(0, plain, row(1)), (0, guided, row(2)), (1, guided, row(3)), (3, plain, row(4))])
    assert rows == [3, 5, 2, 1, 1]  # 1 + 2, + 2, the first two gone, ...


def spy_rows(together: Together, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of every call of the denoiser from now on."""
    rows: list[int] = []
    network: Any = together.stepper._network
    denoise = network.denoise

    def spied(width: int, height: int, compiled: Any = None) -> Any:
        call = denoise(width, height, compiled)

        def counted(x: Any, t: Any, told: Any) -> Any:
            assert len(x) == len(t) == len(told[0])
            rows.append(len(x))
            return call(x, t, told)

        return counted

    monkeypatch.setattr(network, "denoise", spied)
    return rows


@pytest.mark.parametrize("poison", [float("nan"), 1e30])
@pytest.mark.usefixtures("inference")
def test_a_slot_used_again_remembers_nothing(poison: float) -> None:
    """Neither DPM++'s clean latent of the step before, nor the guidance of who was there."""
    how = recipe("tiny", scheduler="dpm++2m", guidance_scale=1.0)
    together = Together(twin("tiny"), slots=1)
    slots = kept(together, how)
    for arena in (slots._latents, slots._clean, *slots._told):
        arena[: len(arena) // 2] = poison  # the scratch slot is the other half
    latents = together.run([(0, how, row(1))])
    assert error(latents[0], stock(twin("tiny"), how, row(1))) <= EXACT


def kept(together: Together, how: Recipe) -> Any:
    """The slots of a recipe's size, made to stay."""
    (example,) = together.preparation.prepare([(how, row(0))])
    together.stepper.keep(how.size, example.state)  # type: ignore[union-attr]
    return together.stepper._slots[how.size]


@pytest.mark.usefixtures("inference")
def test_latents_given_out_are_copies() -> None:
    """What a later image does in the slot does not reach them."""
    how = recipe("tiny", steps=2)
    together = Together(twin("tiny"), slots=1)
    slots = kept(together, how)
    (start,) = together.preparation.prepare([(how, row(1))])
    tick = Tick(
        size=how.size,
        joins={0: start.state},  # type: ignore[union-attr]
        active={0: 0},
        previews=[0],
        finishes=[0],
    )
    ticked = together.stepper.tick(tick)
    latent, preview = ticked.latents[0][0], ticked.previews[0][0]
    before = latent.clone(), preview.clone()
    slots._latents.fill_(7.0)
    slots._clean.fill_(7.0)
    assert torch.equal(latent, before[0])
    assert torch.equal(preview, before[1])


@pytest.mark.parametrize("model", TWINS)
def test_a_preview_is_the_clean_latent_and_the_last_is_the_image(model: str) -> None:
    """Every sampler here ends at the clean latent of its last step, but for DDIM's last alpha."""
    scheduler = "euler" if "euler" in MODEL_DEFAULTS[model].schedulers else "flow-euler"
    together = Together(twin(model))
    latents = together.run([(0, recipe(model, steps=4, scheduler=scheduler), row(1))])
    assert len(together.clean[0]) == 4
    assert error(together.clean[0][-1], latents[0]) < 1e-5
    assert error(together.clean[0][0], latents[0]) > 0.01


def test_slots_go_with_their_last_image_unless_kept() -> None:
    how = recipe("tiny", steps=1)
    other = recipe("tiny", steps=1, width=96)
    together = Together(twin("tiny"))
    kept(together, how)
    together.run([(0, how, row(1)), (0, other, row(2))])
    assert set(together.stepper._slots) == {Size(width=64, height=64)}


def test_a_cpus_ticks_are_measured() -> None:
    how = recipe("tiny", steps=1)
    together = Together(twin("tiny"))
    (start,) = together.preparation.prepare([(how, row(1))])
    ticked = together.stepper.tick(
        Tick(size=how.size, joins={0: start.state}, active={0: 0}, step_flop=5.0)  # type: ignore[union-attr]
    )
    (measured,) = ticked.measured
    assert measured.step_flop == 5.0
    assert measured.seconds > 0
    assert together.stepper.catch_up() == []
