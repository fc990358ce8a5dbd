import asyncio
import base64
import io
import threading
import time

import pytest
from PIL import Image

from serve.engine.request import Done, Encoding, OutputFormat, Recipe, Tick
from serve.engine.step_engine import StepEngine
from serve.engine.ticket import complete
from serve.stub.model import StubModel, prepared_base64
from tests.serve.fakes import LARGE, SMALL, order

PNG = Encoding()


def stub() -> StubModel:
    """One that takes no time."""
    return StubModel(fixed_s=0.0, step_s=0.0, image_bytes=0)


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("least_bytes", [0, 20_000])
def test_the_prepared_file_is_an_image_of_that_size(
    output_format: OutputFormat, least_bytes: int
) -> None:
    encoding = Encoding(output_format=output_format)
    file = base64.b64decode(prepared_base64(96, 64, encoding, least_bytes), validate=True)
    assert len(file) >= least_bytes
    picture = Image.open(io.BytesIO(file))
    picture.load()
    assert (picture.size, picture.format) == ((96, 64), output_format.upper())


def test_its_steps_take_what_they_are_told_to_whatever_the_batch() -> None:
    rate = StubModel(fixed_s=0.0, step_s=0.25, image_bytes=0).rate
    assert [rate.seconds(images) for images in (1.0, 8.0, 32.0)] == [pytest.approx(0.25)] * 3


def test_a_tick_answers_for_every_slot_it_was_asked_for() -> None:
    tick = Tick(size=SMALL, active={0: 3, 1: 0, 2: 1}, step_flop=3.0, previews=[1], finishes=[0])
    ticked = asyncio.run(stub().tick(tick))
    assert (set(ticked.latents), set(ticked.previews), set(ticked.lost)) == ({0}, {1}, set())
    assert [each.step_flop for each in ticked.measured] == [3.0]


def test_the_step_engine_runs_it() -> None:
    async def run() -> Done:
        model = stub()
        engine = StepEngine(model, slots=2, max_queue=8, clock=time.perf_counter)
        loop = asyncio.create_task(engine.run())
        ticket = await engine.enter(order(count=3, steps=2, size=LARGE))
        done = await complete(ticket, model, time.perf_counter)
        loop.cancel()
        return done

    done = asyncio.run(run())
    assert done.images == [prepared_base64(128, 128, PNG, 0)] * 3
    assert done.timing.batch_mean == pytest.approx(5 / 3)  # 2 images at once, then 1


def test_a_whole_batch_tells_the_times_it_was_given() -> None:
    asked = order(count=2, steps=5)
    made = asyncio.run(stub().generate(asked.recipe, asked.rows))
    assert len(made.images) == 2
    assert (made.denoise_s, made.decode_s) == (0.0, 0.0)
    assert stub().image_flop(asked.recipe) is None


def test_a_file_is_made_beside_the_event_loop_and_kept_within_bounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """F31: sizes that nobody asked for yet held all other requests up."""
    threads: list[str] = []

    def make(width: int, height: int, encoding: Encoding, least_bytes: int) -> bytes:
        threads.append(threading.current_thread().name)
        return bytes(least_bytes)

    monkeypatch.setattr("serve.stub.model.prepared_base64", make)
    monkeypatch.setattr("serve.stub.model.KEPT_BYTES", 30)
    model = StubModel(fixed_s=0, step_s=0, image_bytes=10)

    async def scene() -> None:
        for side in (64, 64, 72, 80, 80, 88, 64):
            recipe = Recipe(width=side, height=side, steps=1, guidance_scale=1.0)
            assert len(await model.encode("prepared", recipe, PNG)) == 10

    asyncio.run(scene())
    assert len(threads) == 5  # four sizes, and the first again: it was the oldest of four
    assert threading.current_thread().name not in threads
