"""What only a GPU shows, and bf16, in which models run there. torch comes inside.

On a GPU machine, whose versions may warn of what the tested ones do not (some 45 s on an H200, on
paper; without `and not gpu_slow` minutes):

    python -m pytest -m "gpu and not gpu_slow" -W default --timeout 40
"""

import asyncio
from typing import Any

import pytest

from serve.catalog import MODEL_DEFAULTS
from serve.settings import Settings
from tests.serve.diffusing import (
    TWINS,
    Arrival,
    Together,
    crowd,
    error,
    quiet,
    recipe,
    rms_error,
    row,
    stock,
    twin,
)

torch = pytest.importorskip("torch")
pytestmark = quiet

gpu = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")]
gpu_slow = [*gpu, pytest.mark.gpu_slow]
# Relative, in fp32. A graph's rows are padded, so that its convolutions and products may run by
# other algorithms than the eager ones; steps and guidance amplify what those round. A wrong row,
# number or text shows as tens of per cent.
FP32_GPU = 1e-3
# Relative, of the latents' root mean square. bf16 rounds every operation by up to 2^-9, 0.2%. The
# stock pipeline rounds its latents and its guidance too, at every step; the engine keeps them in
# fp32. So the two drift apart: by 0.3 to 2.7% on the twins on a CPU, at 4 and 8 steps, furthest
# with guidance. A wrong text, timestep or row shows as tens of per cent.
BF16_RMS = 0.05


def captured(pipeline: Any, model: str, **changes: Any) -> Together:
    """Rows run together as CUDA graphs."""
    together = Together(pipeline, captured=True)
    together.keep(recipe(model, **changes))
    return together


def on_gpu(model: str, dtype: Any, *, fused: bool = True) -> Any:
    from serve.acceleration.fused.fusion import fuse_pipeline
    from serve.diffusion.startup import lay_out
    from serve.models.architectures import build_random

    pipeline = build_random(model, torch.device("cuda", 0), dtype)
    pipeline.set_progress_bar_config(disable=True)
    lay_out(pipeline)
    if fused:  # as policy `step` runs it
        fuse_pipeline(pipeline, pipeline.device)
    return pipeline


@pytest.mark.filterwarnings("ignore:Please use the new API settings:UserWarning")
@pytest.mark.parametrize("model", [pytest.param(model, marks=gpu) for model in TWINS])
def test_captured_equals_eager(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # GPU finding 4: convolutions of fp32 keep 10 bits by default.
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    pipeline = on_gpu(model, torch.float32)
    eager = Together(pipeline).run(crowd(model))
    graphs = captured(pipeline, model).run(crowd(model))
    for i, latent in eager.items():
        assert error(graphs[i], latent) <= FP32_GPU


@pytest.mark.filterwarnings("ignore:Synchronization debug mode:UserWarning")
@pytest.mark.parametrize("model", [pytest.param(model, marks=gpu) for model in TWINS])
@pytest.mark.parametrize("graphs", [False, True])
def test_the_step_loop_never_waits(model: str, graphs: bool) -> None:
    """torch raises wherever the host would wait for the device, but where a step is awaited.

    Not in the first tick (GPU finding 5): without graphs it makes the slots.
    """
    from serve.engine.request import Tick

    pipeline = on_gpu(model, torch.bfloat16)
    together = captured(pipeline, model) if graphs else Together(pipeline)
    how = recipe(model, steps=5, guidance_scale=3.0)
    starts = together.prepare([(how, row(i)) for i in range(4)])
    began = {0: 0, 1: 0, 2: 1, 3: 1}  # the tick that each joins at
    measured: list[Any] = []
    for now in range(5):
        active = {slot: now - tick for slot, tick in began.items() if tick <= now}
        tick = Tick(
            size=how.size,
            joins={slot: starts[slot] for slot, step in active.items() if step == 0},
            active=active,
            step_flop=1.0,
            previews=[0],
            finishes=[0, 1] if now == 4 else [],
        )
        torch.cuda.set_sync_debug_mode("error" if now > 0 else "default")
        try:
            measured += together.stepper.tick(tick).measured
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert len(measured) == 3  # of 5, with two on their way
    assert len(together.stepper.catch_up()) == 2


@pytest.mark.parametrize("model", TWINS)
def test_bf16_stays_near_the_stock_pipeline(model: str) -> None:
    pipeline = twin(model, "bfloat16")
    check_bf16(pipeline, Together(pipeline), bf16_crowd(model, steps=4))


@pytest.mark.parametrize(
    ("model", "steps"),
    [
        *(pytest.param(model, 4, marks=gpu) for model in TWINS),
        pytest.param("sd15", 8, marks=gpu_slow),
        pytest.param("sdxl", 4, marks=gpu_slow),
    ],
)
def test_bf16_stays_near_the_stock_pipeline_on_a_gpu(model: str, steps: int) -> None:
    plain, fused = (on_gpu(model, torch.bfloat16, fused=how) for how in (False, True))
    side = MODEL_DEFAULTS[model].side
    size = {"width": side, "height": side}
    check_bf16(plain, captured(fused, model, **size), bf16_crowd(model, steps=steps, **size))


def bf16_crowd(model: str, **changes: Any) -> list[Arrival]:
    rows = [(name, g) for name in MODEL_DEFAULTS[model].schedulers for g in (4.5, 1.0)]
    return [
        (i, recipe(model, scheduler=name, guidance_scale=g, **changes), row(i))
        for i, (name, g) in enumerate(rows)
    ]


def check_bf16(pipeline: Any, together: Together, arrivals: list[Arrival]) -> None:
    latents = together.run(arrivals)
    for i, (_, how, asked) in enumerate(arrivals):
        assert latents[i].dtype == torch.float32
        assert rms_error(latents[i], stock(pipeline, how, asked)) <= BF16_RMS, how


@pytest.mark.parametrize("share", [pytest.param(share, marks=gpu_slow) for share in (0.5, 0.02)])
def test_a_small_gpu_makes_the_images_or_says_why(share: float) -> None:
    """Out of memory for real, with a share of what a batch of four needs beside the weights."""
    from serve.engine.request import OutOfMemoryError

    pipeline = on_gpu("sd15", torch.bfloat16)
    arrivals = [(0, recipe("sd15", steps=2, width=1024, height=1024), row(i)) for i in range(4)]
    together = Together(pipeline)
    together.run([(0, recipe("sd15", steps=1), row(1))])  # what is set up once is not counted
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    held = torch.cuda.memory_reserved()
    expected = together.run(arrivals)
    needed = torch.cuda.max_memory_reserved() - held
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((held + needed * share) / total)
    try:
        latents = together.run(arrivals)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert latents.keys() | together.lost.keys() == set(range(4))
    assert all(isinstance(err, OutOfMemoryError) for err in together.lost.values())
    for i, latent in latents.items():
        assert rms_error(latent, expected[i]) <= BF16_RMS
    assert len(latents) == 4 if share == 0.5 else together.lost
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() <= held * 1.1  # given back
    together.lost.clear()
    assert len(together.run(arrivals)) == 4  # and it lives on


@pytest.mark.parametrize(
    "model", [pytest.param("sd15", marks=gpu), pytest.param("sdxl", marks=gpu_slow)]
)
def test_real_architectures_stay_finite_on_a_gpu(model: Any) -> None:
    from serve.diffusion.startup import default_recipe, start

    settings = Settings(model=model, device="cuda", max_batch=2)
    warm = start(settings)
    generated = asyncio.run(warm.model.generate(default_recipe(settings), [row(1), row(2)]))
    for image in generated.images:
        assert not isinstance(image, Exception)
        assert 20 < image.std() < 110
    assert str(warm.model.gpu_uuid).startswith("GPU-")
