"""The model behind its engines, on its threads, end to end. torch comes inside."""

import asyncio
import base64
import io
import os
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from serve.catalog import MODEL_DEFAULTS
from serve.engine.request import Encoding, Order, Recipe, Row, Size
from tests.serve.diffusing import PIXEL_LEVELS, TWINS, levels, quiet, recipe, row, stock, twin

torch = pytest.importorskip("torch")
pytestmark = quiet

SLOTS = 3


@pytest.fixture(scope="module")
def models() -> Iterator[Callable[[str], Any]]:
    """The twins behind the `Model` protocol; their threads end with the module."""
    from serve.diffusion.pipeline import DiffusionModel

    made: dict[str, Any] = {}

    def model(name: str) -> Any:
        if name not in made:
            made[name] = DiffusionModel(twin(name), slots=SLOTS, threads=1)
        return made[name]

    yield model
    for each in made.values():
        stop(each)


def stop(model: Any) -> None:
    for pool in pools(model).values():
        pool.shutdown()


def pools(model: Any) -> dict[str, Any]:
    names = ("denoising", "preparing", "decoding", "encoding")
    return {name: getattr(model, f"_{name}") for name in names}


def serve(model: Any, work: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
    """Run some work beside a step engine."""
    from serve.engine.step_engine import StepEngine

    async def run() -> Any:
        engine: Any = StepEngine(model, slots=SLOTS, max_queue=64, clock=time.monotonic)
        loop = asyncio.create_task(engine.run())
        try:
            return await work(engine)
        finally:
            loop.cancel()

    return asyncio.run(run())


def crowd(model: str) -> list[tuple[Recipe, tuple[Row, ...]]]:
    """More images than slots, of two sizes, with all that may differ."""
    names = MODEL_DEFAULTS[model].schedulers
    return [
        (recipe(model, steps=3, guidance_scale=4.5), (row(1), row(2, "two horses"))),
        (recipe(model, steps=1, guidance_scale=1.0), (row(3),)),
        (
            recipe(model, steps=4, guidance_scale=2.0, scheduler=names[-1]),
            (row(4, negative_prompt="dogs"),),
        ),
        (recipe(model, steps=2, width=96, guidance_scale=3.0), (row(5),)),
    ]


@pytest.mark.parametrize("model", TWINS)
def test_images_through_the_engine_are_the_stock_pipelines(
    models: Callable[[str], Any], model: str
) -> None:
    async def work(engine: Any) -> list[Any]:
        async def images(how: Recipe, rows: tuple[Row, ...]) -> Any:
            ticket = await engine.enter(Order(recipe=how, rows=rows, encoding=Encoding()))
            return await ticket.images()

        made = await asyncio.gather(*(images(how, rows) for how, rows in crowd(model)))
        assert engine.running == engine.waiting == 0
        return list(made)

    made = serve(models(model), work)
    assert models(model).stepper._slots == {}  # none was warmed up to stay
    for (how, rows), images in zip(crowd(model), made, strict=True):
        for asked, image in zip(rows, images, strict=True):
            expected = stock(twin(model), how, asked, output_type="pil")
            assert levels(image, expected) <= PIXEL_LEVELS


def test_previews_come_on_the_way_and_files_at_the_end(models: Callable[[str], Any]) -> None:
    from serve.engine.ticket import complete

    model = models("tiny")
    how = recipe("tiny", steps=4)
    order = Order(recipe=how, rows=(row(1),), encoding=Encoding(), stream=True, previews=2)

    async def work(engine: Any) -> tuple[list[Any], Any]:
        ticket = await engine.enter(order)
        previews = [each async for each in ticket.previews()]
        return previews, await complete(ticket, model, time.monotonic)

    previews, done = serve(model, work)
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(done.images[0]))))
    assert levels(image, stock(twin("tiny"), how, row(1), output_type="pil")) <= PIXEL_LEVELS
    assert len(previews) == 2
    nearness = [levels(each, image) for each in previews]
    assert all(each.shape == (64, 64, 3) for each in previews)
    assert nearness[0] > nearness[1] > 0
    assert done.timing.denoise_s > 0
    assert done.timing.batch_mean == 1.0


def test_who_cannot_begin_fails_alone(models: Callable[[str], Any]) -> None:
    from serve.diffusion.solver import SolverError

    async def work(engine: Any) -> list[Any]:
        tickets = [
            await engine.enter(
                Order(recipe=recipe("tiny", steps=steps), rows=(row(1),), encoding=Encoding())
            )
            for steps in (2, 1001)
        ]
        return await asyncio.gather(*(each.images() for each in tickets), return_exceptions=True)

    made, failed = serve(models("tiny"), work)
    assert len(made) == 1
    assert isinstance(failed, SolverError)


def test_generate_and_encode_off_the_loop(models: Callable[[str], Any]) -> None:
    model, how = models("tiny"), recipe("tiny")

    async def make() -> tuple[Any, bytes]:
        generated = await model.generate(how, [row(1)])
        return generated, await model.encode(generated.images[0], how, Encoding())

    generated, file = asyncio.run(make())
    assert (np.asarray(Image.open(io.BytesIO(base64.b64decode(file)))) == generated.images[0]).all()
    assert levels(generated.images[0], stock(twin("tiny"), how, row(1), output_type="pil")) == 0


@pytest.mark.parametrize("model", TWINS)
def test_warm_up_learns_the_rate_and_keeps_the_sizes(model: str) -> None:
    from serve.diffusion.pipeline import DiffusionModel

    warm = DiffusionModel(twin(model), slots=SLOTS, threads=1)
    how, other = recipe(model), recipe(model, width=96)
    try:
        warm.warm_up_steps([how, other])
        sizes = {how.size, other.size}
        for size in (*sizes, Size(width=128, height=64)):
            warm.release(size)
        assert set(warm.stepper._slots) == sizes
        assert warm.rate.is_known
        step_flop, *_ = asyncio.run(warm.step_flops(how))
        assert 0 < warm.rate.seconds(step_flop) <= warm.rate.seconds(SLOTS * step_flop) < 60
    finally:
        stop(warm)


def test_warm_up_fails_where_one_image_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    from serve.diffusion.pipeline import DiffusionModel
    from serve.engine.request import OutOfMemoryError

    def full(*args: Any, **kwargs: Any) -> Any:
        raise torch.OutOfMemoryError("injected")

    for part, method in (("unet", "forward"), ("vae", "decode")):
        warm = DiffusionModel(twin("tiny"), slots=SLOTS, threads=1)
        with monkeypatch.context() as patch:
            patch.setattr(getattr(twin("tiny"), part), method, full)
            with pytest.raises(OutOfMemoryError):
                warm.warm_up_steps([recipe("tiny")])
        stop(warm)


def test_prompts_do_not_reach_the_log(
    models: Callable[[str], Any], caplog: pytest.LogCaptureFixture
) -> None:
    """What is cut is told in the answer; diffusers would log it, the batch's padding and all."""
    how = recipe("tiny-sdxl", steps=1)
    (prepared,) = asyncio.run(models("tiny-sdxl").prepare([(how, row(1, "two horses " * 99))]))
    assert "77 of" in prepared.truncated
    assert "horses" not in caplog.text


def test_warm_batches_need_no_slots(models: Callable[[str], Any]) -> None:
    model = models("tiny")
    model.warm_up_batches(recipe("tiny"), 4)
    assert model.stepper._slots == {}
    assert model.image_flop(recipe("tiny")) > 0


def test_costs(models: Callable[[str], Any]) -> None:
    """Guidance doubles a step; twice the pixels cost about twice; unknown sizes are unknown."""
    model = models("tiny-sdxl")
    plain, guided = (recipe("tiny-sdxl", guidance_scale=scale) for scale in (1.0, 3.0))
    wide = recipe("tiny-sdxl", width=128, guidance_scale=1.0)
    assert model.image_flop(recipe("tiny-sdxl", width=256)) is None
    step, *_ = asyncio.run(model.step_flops(plain))
    assert asyncio.run(model.step_flops(guided)) == [2 * step] * guided.steps
    assert asyncio.run(model.step_flops(wide))[0] == pytest.approx(2 * step, rel=0.3)
    assert step > 0
    longer = recipe("tiny-sdxl", guidance_scale=1.0, steps=plain.steps + 5)
    assert model.image_flop(longer) - model.image_flop(plain) == 5 * step


def test_computing_threads_give_way_on_a_cpu(models: Callable[[str], Any]) -> None:
    from serve.diffusion.pipeline import CPU_NICENESS

    def facts() -> tuple[str, int, int]:
        nice = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        return threading.current_thread().name, nice, torch.get_num_threads()

    told = {name: pool.submit(facts).result() for name, pool in pools(models("tiny")).items()}
    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    for name in ("denoising", "preparing", "decoding"):
        _, nice, threads = told[name]
        assert nice == min(19, own + CPU_NICENESS)
        assert threads == 1
    assert len({told[name][0] for name in ("denoising", "preparing", "decoding")}) == 3
    assert told["encoding"][1] == own


def test_a_cpu_has_no_gpu_uuid(models: Callable[[str], Any]) -> None:
    assert models("tiny").device_name == "cpu"
    assert models("tiny").gpu_uuid is None
