"""Out of memory, injected: what fits is made, what does not fails alone. torch comes inside."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import pytest

from serve.engine.request import Encoding, Order, OutOfMemoryError, Recipe
from tests.serve.diffusing import (
    EXACT,
    PIXEL_LEVELS,
    TWINS,
    Together,
    error,
    levels,
    quiet,
    recipe,
    row,
    stock,
    twin,
)

torch = pytest.importorskip("torch")
pytestmark = quiet


@pytest.fixture
def given_back(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One entry a time that memory was given back."""
    times: list[str] = []
    monkeypatch.setattr(
        "serve.diffusion.out_of_memory.give_back", lambda: times.append("given back")
    )
    return times


@pytest.mark.parametrize(
    ("items", "most", "never", "calls"),
    [
        ([], 4, None, []),
        ([1, 2, 3], 4, None, [3]),
        ([1, 2, 3, 4, 5, 6, 7, 8], 4, None, [8, 4, 4]),
        ([1, 2, 3, 4, 5], 2, None, [5, 2, 3, 1, 2]),
        ([1, 2, 3], 1, None, [3, 1, 2, 1, 1]),
        ([1, 2, 3, 4], 4, 3, [4, 2, 2, 1, 1]),
        ([1, 2], 0, None, [2, 1, 1]),
    ],
)
def test_split_on_oom(
    given_back: list[str], items: list[int], most: int, never: int | None, calls: list[int]
) -> None:
    from serve.diffusion.out_of_memory import split_on_oom

    sizes = []
    raised = 0

    def run(some: Sequence[int]) -> list[int]:
        nonlocal raised
        sizes.append(len(some))
        if len(some) > most or never in some:
            raised += 1
            raise torch.OutOfMemoryError("injected")
        return [10 * each for each in some]

    made = split_on_oom(items, run)
    assert sizes == calls
    assert len(given_back) == raised
    for item, result in zip(items, made, strict=True):
        if item == never or most == 0:
            assert isinstance(result, OutOfMemoryError)
            assert "one image alone does not fit" in str(result)
        else:
            assert result == 10 * item


def test_other_errors_are_not_out_of_memory() -> None:
    from serve.diffusion.out_of_memory import split_on_oom

    with pytest.raises(ZeroDivisionError):
        split_on_oom([1, 2], lambda some: [1 // 0 for _ in some])


def test_the_failed_calls_tensors_are_gone_before_the_next_try() -> None:
    """The error's traceback would hold them: what is in the way would stay in the way."""
    import weakref

    from serve.diffusion.out_of_memory import split_on_oom

    held: list[Any] = []
    alive = []

    def run(some: Sequence[int]) -> list[int]:
        alive.append(sum(ref() is not None for ref in held))
        tensor = torch.zeros(3)
        held.append(weakref.ref(tensor))
        if len(some) > 1:
            raise torch.OutOfMemoryError("injected")
        return list(some)

    assert split_on_oom([1, 2, 3], run) == [1, 2, 3]
    assert set(alive) == {0}


class Small:
    """A module that has room for so many rows of its first argument, and none for a mark.

    Attributes:
        most: Rows.
        marked: A value in the first argument that never fits.
    """

    def __init__(self, most: int, marked: float | None = None) -> None:
        self.most, self.marked = most, marked
        self.raised = 0

    def __call__(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        first = next(each for each in (*args, *kwargs.values()) if torch.is_tensor(each))
        full = len(first) > self.most
        if full or (self.marked is not None and bool((first == self.marked).any())):
            self.raised += 1
            raise torch.OutOfMemoryError("injected")


def hooked(module: Any, small: Small) -> Any:
    return module.register_forward_pre_hook(small, with_kwargs=True)


@pytest.mark.parametrize("model", TWINS)
def test_a_step_too_large_is_taken_in_parts(model: str, given_back: list[str]) -> None:
    how = recipe(model, steps=3, guidance_scale=3.0)
    arrivals = [(i, how, row(i)) for i in range(4)]
    together = Together(twin(model))
    small = Small(most=3)  # of up to 8 rows
    hook = hooked(together.stepper._network.denoiser, small)
    try:
        latents = together.run(arrivals)
    finally:
        hook.remove()
    assert together.lost == {}
    assert small.raised == len(given_back) > 0
    for i, (_, _, asked) in enumerate(arrivals):
        assert error(latents[i], stock(twin(model), how, asked)) <= EXACT


@pytest.mark.parametrize("model", TWINS)
def test_who_does_not_fit_alone_is_lost_alone(model: str) -> None:
    """Its guidance is one row too many; the others' images are what they are without it."""
    plain = recipe(model, guidance_scale=1.0)
    guided = recipe(model, guidance_scale=3.0, steps=1)  # lost with the step that ends it
    arrivals = [(0, plain, row(1)), (0, guided, row(2)), (1, plain, row(3)), (6, plain, row(4))]
    together = Together(twin(model))
    hook = hooked(together.stepper._network.denoiser, Small(most=1))
    try:
        latents = together.run(arrivals)
    finally:
        hook.remove()
    assert isinstance(together.lost.pop(1), OutOfMemoryError)
    assert together.lost == {}
    for i in (0, 2, 3):  # the last one in a later tick
        assert error(latents[i], stock(twin(model), *arrivals[i][1:])) <= EXACT


def test_slots_that_do_not_fit_lose_their_images_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, given_back: list[str]
) -> None:
    small, large = (recipe("tiny", width=width) for width in (64, 128))
    together = Together(twin("tiny"))
    network: Any = together.stepper._network
    denoise = network.denoise

    def full(width: int, height: int, compiled: Any = None) -> Any:
        if width == 128:
            raise torch.OutOfMemoryError("injected")
        return denoise(width, height)

    monkeypatch.setattr(network, "denoise", full)
    arrivals = [(0, small, row(1)), (1, large, row(2)), (1, large, row(3)), (2, small, row(4))]
    latents = together.run(arrivals)
    assert set(together.lost) == {1, 2}
    assert all(isinstance(err, OutOfMemoryError) for err in together.lost.values())
    assert given_back
    for i in (0, 3):
        assert error(latents[i], stock(twin("tiny"), *arrivals[i][1:])) <= EXACT


def test_decoding_in_parts_and_without_whom_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    from serve.diffusion.decoder import Decoder
    from serve.models.networks import network_of

    pipeline = twin("tiny")
    generator = torch.Generator().manual_seed(0)
    latents = [(torch.randn(4, 8, 8, generator=generator), None) for _ in range(5)]
    decoder = Decoder(network_of(pipeline))
    size = recipe("tiny").size
    expected = decoder.decode(size, latents)
    latents[3][0][0, 0, 0] = 77.0 * pipeline.vae.config.scaling_factor  # the mark
    small = Small(most=2, marked=77.0)
    decode = pipeline.vae.decode

    def full(z: Any, **kwargs: Any) -> Any:
        small(None, (z.round(decimals=3),), {})
        return decode(z, **kwargs)

    monkeypatch.setattr(pipeline.vae, "decode", full)
    made = decoder.decode(size, latents)
    assert [isinstance(each, OutOfMemoryError) for each in made] == [False] * 3 + [True, False]
    for i in (0, 1, 2, 4):
        assert levels(made[i].image, expected[i].image) <= PIXEL_LEVELS  # type: ignore[union-attr]


@pytest.mark.usefixtures("inference")
def test_texts_in_parts_and_without_whom_does_not_fit() -> None:
    from serve.diffusion.text_embeddings import Text, Texts
    from serve.models.networks import network_of

    pipeline = twin("tiny")
    texts = [Text(f"fox {i}", is_negative=False) for i in range(5)]
    expected = Texts(network_of(pipeline)).embed(texts)
    marked = pipeline.tokenizer("3").input_ids[1]
    hook = hooked(pipeline.text_encoder, Small(most=2, marked=marked))
    counted = Texts(network_of(pipeline))
    try:
        made = counted.embed(texts)
    finally:
        hook.remove()
    assert isinstance(made[texts[3]], OutOfMemoryError)
    for text in (*texts[:3], texts[4]):
        assert error(made[text][0], expected[text][0]) <= EXACT  # type: ignore[index]
    again = counted.embed(texts)  # room again: the failure was not kept
    assert error(again[texts[3]][0], expected[texts[3]][0]) <= EXACT  # type: ignore[index]


def test_a_row_whose_text_does_not_fit_fails_alone() -> None:
    pipeline = twin("tiny")
    together = Together(pipeline)
    marked = pipeline.tokenizer("3").input_ids[1]
    hook = hooked(pipeline.text_encoder, Small(most=9, marked=marked))
    how = recipe("tiny")
    try:
        made = together.preparation.prepare([(how, row(i, f"fox {i}")) for i in range(2, 5)])
    finally:
        hook.remove()
    assert [isinstance(each, OutOfMemoryError) for each in made] == [False, True, False]


@pytest.mark.parametrize("model", TWINS)
def test_the_stock_loop_halves_its_batch(model: str) -> None:
    from serve.diffusion.decoder import Decoder
    from serve.diffusion.stock_loop import StockLoop
    from serve.models.networks import network_of

    network = network_of(twin(model))
    loop = StockLoop(network, Decoder(network))
    how, rows = recipe(model, guidance_scale=3.0, steps=2), [row(i) for i in range(3)]
    expected = loop.generate(how, rows).images
    hook = hooked(network.denoiser, Small(most=2))  # SD: both rows of an image in one call
    try:
        made = loop.generate(how, rows).images
    finally:
        hook.remove()
    for image, other in zip(made, expected, strict=True):
        assert levels(image, other) <= PIXEL_LEVELS
    own = network.pipeline.scheduler
    hook = hooked(network.denoiser, Small(most=0))
    try:
        lost = loop.generate(how, rows).images
    finally:
        hook.remove()
    assert all(isinstance(each, OutOfMemoryError) for each in lost)
    assert network.pipeline.scheduler is own


def test_a_replica_lives_on() -> None:
    """Through the engine: who does not fit gets its error, the others and the next their image."""
    from serve.diffusion.pipeline import DiffusionModel
    from serve.engine.step_engine import StepEngine
    from serve.engine.ticket import complete

    model = DiffusionModel(twin("tiny"), slots=4, threads=1)

    async def ask(engine: Any, how: Recipe, seed: int) -> Any:
        order = Order(recipe=how, rows=(row(seed),), encoding=Encoding())
        try:
            return await complete(await engine.enter(order), model, time.monotonic)
        except OutOfMemoryError as err:
            return err

    async def serve() -> list[Any]:
        engine = StepEngine(model, slots=4, max_queue=64, clock=time.monotonic)
        loop = asyncio.create_task(engine.run())
        plain, guided = (recipe("tiny", guidance_scale=scale) for scale in (1.0, 3.0))
        hook = hooked(twin("tiny").unet, Small(most=1))
        try:
            made = await asyncio.gather(
                ask(engine, plain, 1), ask(engine, guided, 2), ask(engine, plain, 3)
            )
        finally:
            hook.remove()
        last = await ask(engine, guided, 4)
        assert engine.running == engine.waiting == engine.failures_in_a_row == 0
        loop.cancel()
        return [*made, last]

    made = asyncio.run(serve())
    assert [isinstance(each, OutOfMemoryError) for each in made] == [False, True, False, False]
