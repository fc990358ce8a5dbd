"""A replica's model from its settings. torch comes inside."""

import asyncio
from typing import Any

import pytest

from serve.settings import MODEL_DEFAULTS, Settings
from serve.work import Size
from tests.serve.diffusing import quiet, row

torch = pytest.importorskip("torch")
pytestmark = quiet


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device's limits have tests of their own."""
    monkeypatch.setattr("serve.start.CPU_LIMITS_S", 0.05)


def test_a_step_replica_is_warm_at_every_size_asked() -> None:
    from serve.start import default_recipe, start

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
    from serve.start import default_recipe, start

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
    from serve.start import default_recipe

    how = default_recipe(Settings(model=model, default_steps=3))
    defaults = MODEL_DEFAULTS[model]
    assert (how.width, how.height, how.steps) == (defaults.side, defaults.side, 3)
    assert (how.guidance_scale, how.scheduler) == (
        defaults.guidance_scale,
        defaults.schedulers[0],
    )


def test_what_does_not_fit_names_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    from serve.loading import ModelError
    from serve.start import start

    def full(*args: Any) -> Any:
        raise torch.OutOfMemoryError("injected")

    monkeypatch.setattr("serve.start.load", full)
    with pytest.raises(ModelError, match="max_batch=5: lower max_batch"):
        start(Settings(device="cpu", max_batch=5))
