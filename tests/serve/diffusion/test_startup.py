"""A replica's model from its settings. torch comes inside."""

import asyncio
import time
from typing import Any

import msgspec
import pytest

from serve.catalog import MODEL_DEFAULTS
from serve.engine.request import Size
from serve.settings import Settings
from tests.serve.diffusing import quiet, row

torch = pytest.importorskip("torch")
pytestmark = quiet


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device's limits have tests of their own."""
    monkeypatch.setattr("serve.diffusion.startup.CPU_LIMITS_S", 0.05)


def test_a_step_replica_is_warm_at_every_size_asked() -> None:
    from serve.diffusion.startup import default_recipe, start

    settings = Settings(device="cpu", threads=1, max_batch=2, sizes="64x64,96x64")
    warm = start(settings)
    assert set(warm.model.stepper._slots) == {Size(width=w, height=64) for w in (64, 96)}
    assert warm.model.rate.is_known
    assert warm.facts["device"] == "cpu"
    assert warm.facts["flop_per_image"] == warm.model.image_flop(default_recipe(settings))
    limits: Any = warm.facts["limits"]
    assert limits["matmul_dtype"] == "float32"


@pytest.mark.parametrize("policy", ["none", "request"])
def test_a_baseline_replica_has_run_its_loop(policy: Any) -> None:
    from serve.diffusion.startup import default_recipe, start

    settings = Settings(model="tiny-flux", device="cpu", threads=1, policy=policy)
    warm = start(settings)
    assert warm.model.stepper._slots == {}
    flop: Any = warm.facts["flop_per_image"]
    assert flop > 0
    generated = asyncio.run(warm.model.generate(default_recipe(settings), [row(1)]))
    (image,) = generated.images
    assert not isinstance(image, Exception)
    assert image.shape == (64, 64, 3)


@pytest.mark.parametrize("model", [name for name in MODEL_DEFAULTS if name != "stub"])
def test_the_default_recipe_is_the_models(model: Any) -> None:
    from serve.diffusion.startup import default_recipe

    how = default_recipe(Settings(model=model, default_steps=3))
    defaults = MODEL_DEFAULTS[model]
    assert (how.width, how.height, how.steps) == (defaults.side, defaults.side, 3)
    assert (how.guidance_scale, how.scheduler) == (
        defaults.guidance_scale,
        defaults.schedulers[0],
    )


def test_what_does_not_fit_names_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    from serve.diffusion.startup import start
    from serve.models.loading import ModelError

    def full(*args: Any) -> Any:
        raise torch.OutOfMemoryError("injected")

    monkeypatch.setattr("serve.diffusion.startup.load", full)
    with pytest.raises(ModelError, match="max_batch=5: lower max_batch"):
        start(Settings(device="cpu", max_batch=5))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (Settings(device="cpu", fp8=True), "fp8 needs a CUDA GPU"),
        (Settings(device="cpu", compile=True, cache="/dev/null/cache"), "cannot make"),
        (Settings(device="cpu", compile=True, cache="/tmp/with a blank"), "no blank in its path"),
    ],
)
def test_a_fast_path_that_is_not_to_be_had_says_so(settings: Settings, told: str) -> None:
    from serve.diffusion.startup import start
    from serve.models.loading import ModelError

    with pytest.raises(ModelError, match=told):
        start(settings)


def test_warmed_sizes_run_the_compiled_denoiser_and_compile_nothing_while_serving(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """The compiler itself takes minutes for a UNet: its stand-in counts the batches it gets."""
    from contextlib import contextmanager

    from serve.acceleration.cuda_graphs import default_buckets
    from serve.diffusion.startup import default_recipe, start
    from serve.engine.request import Tick

    seen: list[int] = []
    guarded: list[bool] = []

    class Compiled(torch.nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self, module: Any) -> None:
            super().__init__()
            self.module = module

        def forward(self, x: Any, *args: Any, **kwargs: Any) -> Any:
            seen.append(len(x))
            return self.module(x, *args, **kwargs)

    @contextmanager
    def forbid() -> Any:
        guarded.append(True)
        yield

    monkeypatch.setattr(
        "serve.diffusion.startup.compile_regions", lambda module, **_: Compiled(module)
    )
    monkeypatch.setattr("serve.diffusion.stepper.forbid_recompiles", forbid)
    settings = Settings(device="cpu", threads=1, max_batch=2, compile=True, cache=str(tmp_path))
    warm = start(settings)
    assert set(seen) == set(default_buckets(4)) == {1, 2, 4}  # before it is ready
    assert "compile" in warm.facts
    seen.clear()
    guarded.clear()
    recipe = default_recipe(settings)
    for width, called, guards in ((64, [2], 1), (96, [], 0)):
        (start_of,) = warm.model.preparation.prepare(
            [(msgspec.structs.replace(recipe, width=width), row(1))]
        )
        warm.model.stepper.tick(
            Tick(size=Size(width=width, height=64), joins={0: start_of.state}, active={0: 0})  # type: ignore[union-attr]
        )
        assert (seen, len(guarded)) == (called, guards)
        seen.clear()
        guarded.clear()


def test_fp8_tells_its_layers_and_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """No layer of the twin is large enough to pay, so it is left as it is, without error."""
    from serve.diffusion.startup import start

    monkeypatch.setattr("serve.diffusion.startup.is_supported", lambda device: None)
    warm = start(Settings(device="cpu", threads=1, max_batch=1, fp8=True))
    told: Any = warm.facts["fp8"]
    assert told["layers"] == 0 < told["of_layers"]
    assert (told["flop_share"], told["relative_error"]) == (0.0, 0.0)
    assert told["compiled"] is False


@pytest.mark.gpu
@pytest.mark.gpu_slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
@pytest.mark.parametrize(
    "switches", [{"fp8": True}, {"compile": True}, {"compile": True, "fp8": True}, {"fused": False}]
)
def test_the_fast_paths_serve_on_a_gpu(switches: dict[str, bool], tmp_path: Any) -> None:
    from serve.acceleration.compilation import compilations, recompiles
    from serve.diffusion.startup import default_recipe, start

    settings = Settings(model="sd15", device="cuda", max_batch=2, cache=str(tmp_path), **switches)  # type: ignore[arg-type]
    warm = start(settings)
    compiled = compilations()
    recipe = msgspec.structs.replace(default_recipe(settings), steps=4)

    async def run() -> Any:
        from serve.engine.request import Encoding, Order
        from serve.engine.step_engine import StepEngine
        from serve.engine.ticket import complete

        engine: Any = StepEngine(warm.model, slots=2, max_queue=8, clock=time.perf_counter)
        loop = asyncio.create_task(engine.run())
        order = Order(recipe=recipe, rows=(row(1), row(2), row(3)), encoding=Encoding())
        done = await complete(await engine.enter(order), warm.model, time.perf_counter)
        loop.cancel()
        return done

    assert len(asyncio.run(run()).images) == 3
    assert recompiles(compiled) == 0
    if switches.get("fused", True):
        fused: Any = warm.facts["fused"]
        assert (fused["resnets"], fused["blocks"], fused["plain"]) == (22 + 14, 16, None)
    if "fp8" in switches:
        told: Any = warm.facts["fp8"]
        assert 0 < told["relative_error"] < 0.2


@pytest.mark.parametrize(
    ("capability", "free", "told"),
    [
        ("7.5", {}, r"dtype: X has compute capability 7\.5"),
        ("9.0", {"faults": ("X: another process has it",)}, "X: another process has it"),
        ("9.0", {"mem_free_bytes": 6_000_000}, "tiny needs .* by estimate .*: max_batch=2 fits"),
    ],
)
def test_a_gpu_that_cannot_serve_is_refused_before_weights_are_read(
    capability: str, free: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from serve.devices.torch_device import Card
    from serve.diffusion.startup import start
    from serve.models.loading import ModelError

    card = Card(name="X", uuid="GPU-1", capability=capability, mem_total_bytes=10**9, **free)
    monkeypatch.setattr(
        "serve.diffusion.startup.pick_device", lambda device: torch.device("cuda", 0)
    )
    monkeypatch.setattr("serve.diffusion.startup.look", lambda device: card)
    monkeypatch.setattr("serve.diffusion.startup.load", lambda *args: pytest.fail("loaded"))
    with pytest.raises(ModelError, match=told):
        start(Settings())
