"""A model of a GPU day in this process: start, steps, decode, texts, memory, and its images/s.

    python -m benchmarks.gpu_day_model {sdxl,sd15} --part NAME --out DIR

Each figure is written as it comes; the quick ones first. `images/s, predicted` is what the replica
makes if decoding takes its time off the steps':

    R = 1 / (n s / b + d)       n steps of s seconds for b images each, d seconds to decode one
"""

import asyncio
import contextlib
import functools
import importlib
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psutil
import torch

from benchmarks.breakdown import FullBatch, profiled
from benchmarks.doors import in_process
from benchmarks.gpu_day_loops import denoise, rms_apart, stock, with_steps
from benchmarks.gpu_day_models import settings_of, unknown, words_of
from benchmarks.gpu_day_part import CLOCK, NEEDS_GPU, Session, session
from serve.diffusion.pipeline import DiffusionModel
from serve.diffusion.startup import Warm, default_recipe, start
from serve.engine.request import Encoding, Row
from serve.image_files import encode
from serve.settings import Settings

EVENTS = "CUDA events"
STEP_BUDGET_S = 4.0  # of each batch
REPEATS = 3
STOCK_STEPS = 8
OFFLINE_S = 15.0
MIN_ROUNDS = 3  # full batches that count
PATIENT_S = 3600.0
# What `start` spends its time in, by the names it calls: (figure, module, attribute).
STAGES = (
    ("start: limits", "serve.diffusion.startup", "_limits"),
    ("start: build", "serve.diffusion.startup", "load"),
    ("start: capture and warm-up", "serve.diffusion.pipeline", "DiffusionModel.warm_up_steps"),
)


def main(argv: list[str] | None = None) -> int:
    """Measure; returns the exit code."""
    part, (name,) = session("gpu_day_model", __doc__, argv)
    words = words_of(name, rehearse=part.rehearse)
    for left in unknown(words):
        part.book.lack(f"setting {left}", "text", "this version has no such setting: left out")
    settings = settings_of(words, part.device)
    imported_s = time.time() - psutil.Process().create_time()
    part.book.add("process and imports", imported_s, "s", CLOCK)
    warm = part.attempt("start", "s", lambda: started(part, settings))
    if warm is None:
        return part.end()
    full = settings.batch_limit
    steps = {
        n: part.attempt(f"step, {n} images", "s", functools.partial(_step, part, warm, settings, n))
        for n in dict.fromkeys((full, 1))
    }
    decodes = {
        n: part.attempt(
            f"decode, {n} images", "s", functools.partial(_decode, part, warm, settings, n)
        )
        for n in (1, 2, 4, 8)
        if n <= full
    }
    decoded = [seconds / n for n, seconds in decodes.items() if seconds is not None]
    predicted = _predict(part, settings, steps[full], min(decoded, default=None))
    part.attempt("images/s, always a full batch", "images/s",
                 lambda: _offline(part, warm, settings, predicted))  # fmt: skip
    _memory(part)
    part.attempt("steps by kind", "%", lambda: _kinds(part, warm, settings, steps[full]))
    for n in dict.fromkeys((1, 3, full)):
        part.attempt(f"text, {n} prompts", "s", functools.partial(_text, part, warm, settings, n))
    part.attempt("file", "s", lambda: _file(part, settings))
    part.attempt("against the stock pipeline", "rms", lambda: _stock(part, warm, settings))
    return part.end()


def started(part: Session, settings: Settings) -> Warm:
    """The warm model, as a replica starts it; its stages are told."""
    spent: dict[str, float] = {}
    with contextlib.ExitStack() as stack:
        for name, module, attribute in STAGES:
            stack.enter_context(_timed(name, module, attribute, spent))
        began_s = time.perf_counter()
        warm = start(settings)
        spent["start"] = time.perf_counter() - began_s
    for name, seconds in spent.items():
        part.book.add(name, seconds, "s", CLOCK)
    flop = warm.facts.get("flop_per_image")
    if isinstance(flop, float):
        part.book.add("TFLOP an image", flop / 1e12, "TFLOP", "counted by torch")
    return warm


@contextlib.contextmanager
def _timed(name: str, module: str, attribute: str, spent: dict[str, float]) -> Iterator[None]:
    """Within, what the callable of that name takes is put into `spent`, all calls together."""
    *path, last = attribute.split(".")
    owner = functools.reduce(getattr, path, importlib.import_module(module))
    plain: Callable[..., Any] | None = getattr(owner, last, None)
    if plain is None:  # it has another name in this version
        yield
        return

    def run(*arguments: Any, **named: Any) -> Any:
        began_s = time.perf_counter()
        try:
            return plain(*arguments, **named)
        finally:
            spent[name] = spent.get(name, 0.0) + time.perf_counter() - began_s

    setattr(owner, last, run)
    try:
        yield
    finally:
        setattr(owner, last, plain)


def _step(part: Session, warm: Warm, settings: Settings, images: int) -> float:
    """Seconds of a step of so many images, the median."""
    batch = FullBatch(warm.model, default_recipe(settings), images)
    batch.steps_s()
    budget_s = 0.5 if part.rehearse else STEP_BUDGET_S
    until_s, seconds = time.perf_counter() + budget_s, batch.steps_s()
    while time.perf_counter() < until_s:
        seconds += batch.steps_s()
    middle = statistics.median(seconds)
    source = f"{EVENTS if part.on_gpu else CLOCK}, median of {len(seconds)}"
    part.book.add(f"step, {images} images", middle, "s", source)
    part.book.add(f"step, {images} images, deviation", statistics.stdev(seconds), "s", source)
    return middle


def _decode(part: Session, warm: Warm, settings: Settings, images: int) -> float:
    """Seconds to decode so many images together, pixels on the host, by the decoding thread."""
    recipe = default_recipe(settings)
    (latent,) = FullBatch(warm.model, recipe, 1).latents()
    seconds = _median(lambda: asyncio.run(warm.model.decode(recipe.size, [latent] * images)))
    part.book.add(f"decode, {images} images", seconds, "s", f"{CLOCK}, median of {REPEATS}")
    return seconds


def _predict(
    part: Session, settings: Settings, step_s: float | None, decode_s: float | None
) -> float | None:
    """Images/s, by this module's formula; None where a term is lacking."""
    name = "images/s, predicted"
    if step_s is None or decode_s is None:
        part.book.lack(name, "images/s", "the step or the decode is lacking")
        return None
    rate = 1.0 / (settings.steps * step_s / settings.batch_limit + decode_s)
    part.book.add(name, rate, "images/s", "1 / (n s / b + d), of the figures above")
    return rate


def _offline(part: Session, warm: Warm, settings: Settings, predicted: float | None) -> None:
    """Images/s of the engine with always two full batches asked for; the first is not counted."""
    full = settings.batch_limit
    budget_s = 3.0 if part.rehearse else OFFLINE_S
    rounds = max(MIN_ROUNDS, round((predicted or 0.0) * budget_s / full))
    done_s = asyncio.run(_always(warm.model, settings, images=full * (rounds + 1)))
    rate = (len(done_s) - full) / (done_s[-1] - done_s[full - 1])
    source = f"{CLOCK}, {rounds} full batches in process"
    part.book.add("images/s, always a full batch", rate, "images/s", source)


async def _always(model: DiffusionModel, settings: Settings, *, images: int) -> Sequence[float]:
    """When each of so many images was done, in order, with always two full batches asked for."""
    done_s: list[float] = []
    left = iter(range(images))
    async with in_process(model, settings, PATIENT_S) as door:

        async def ask_on() -> None:
            for seed in left:
                done = (await door.ask(seed, 0.0, 0.0)).done_s
                if done is None:
                    raise RuntimeError("the engine refused an image")
                done_s.append(done)

        await asyncio.gather(*(ask_on() for _ in range(2 * settings.batch_limit)))
    return sorted(done_s)


def _memory(part: Session) -> None:
    for name, field in (("most allocated", "max_memory_allocated"),
                        ("most reserved", "max_memory_reserved")):  # fmt: skip
        if part.on_gpu:
            value = getattr(torch.cuda, field)()
            part.book.add(f"GPU memory, {name}", value, "bytes", f"torch.cuda.{field}")
        else:
            part.book.lack(f"GPU memory, {name}", "bytes", NEEDS_GPU)


def _kinds(part: Session, warm: Warm, settings: Settings, step_s: float | None) -> None:
    """The step's time by kind of kernel."""
    batch = FullBatch(warm.model, default_recipe(settings), settings.batch_limit)
    batch.run()
    for kind, share in profiled(batch, part.device).items():
        took = "" if step_s is None else f"{1e3 * share * step_s:.3g} ms of the step"
        part.book.add(f"step: {kind}", 100 * share, "%", "torch's profiler", took)


def _text(part: Session, warm: Warm, settings: Settings, prompts: int) -> None:
    """Preparing so many fresh prompts together, for the first time and after, in its own thread."""
    recipe = default_recipe(settings)
    numbers = iter(range(10**6))

    def prepare() -> None:
        rows = [
            Row(prompt=f"{prompts} red foxes, {next(numbers)}", negative_prompt="", seed=0)
            for _ in range(prompts)
        ]
        for each in asyncio.run(warm.model.prepare([(recipe, row) for row in rows])):
            if isinstance(each, Exception):
                raise each

    began_s = time.perf_counter()
    prepare()
    first_s = time.perf_counter() - began_s
    part.book.add(f"text, {prompts} prompts, the first time", first_s, "s", CLOCK)
    seconds = _median(prepare)
    part.book.add(f"text, {prompts} prompts", seconds, "s", f"{CLOCK}, median of {REPEATS}")


def _file(part: Session, settings: Settings) -> None:
    """A PNG of noise, which no model's picture is larger than."""
    recipe = default_recipe(settings)
    shape = (recipe.height, recipe.width, 3)
    noise = torch.randint(256, shape, dtype=torch.uint8).numpy()
    seconds = _median(lambda: encode(noise, Encoding()))
    part.book.add("file, a PNG of noise", seconds, "s", f"{CLOCK}, median of {REPEATS}")


def _stock(part: Session, warm: Warm, settings: Settings) -> None:
    """One latent by the engine and by the stock pipeline's loop."""
    recipe = with_steps(default_recipe(settings), min(STOCK_STEPS, settings.steps))
    row = Row(prompt="a red fox", negative_prompt="", seed=7)
    (ours,) = denoise(warm.model, recipe, [row])
    apart = rms_apart(ours, stock(warm.model, recipe, row))
    source = f"{recipe.steps} steps, {'bf16' if part.on_gpu else 'float32'}, random weights"
    part.book.add("against the stock pipeline", apart, "rms", source)


def _median(run: Callable[[], object]) -> float:
    """Median seconds of a few runs, after one that does not count."""
    run()
    took = []
    for _ in range(REPEATS):
        began_s = time.perf_counter()
        run()
        took.append(time.perf_counter() - began_s)
    return statistics.median(took)


if __name__ == "__main__":
    sys.exit(main())
