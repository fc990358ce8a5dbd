"""Random weights: the published sizes, and activations that stay finite. torch comes inside."""

from typing import Any, get_args

import numpy as np
import pytest

from serve.catalog import MODEL_DEFAULTS, ModelName, is_twin
from serve.models.weights import PIPELINES

torch = pytest.importorskip("torch")

# diffusers' Euler scheduler, under numpy 2
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)

MODELS = [name for name in get_args(ModelName) if name != "stub"]
TWINS = [name for name in MODELS if is_twin(name)]
REAL = [name for name in MODELS if not is_twin(name)]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def twins() -> dict[str, Any]:
    from serve.models.architectures import build_random

    return {name: build_random(name, CPU, torch.float32) for name in TWINS}


def test_every_model_can_be_built_and_loaded() -> None:
    from serve.models.architectures import ARCHITECTURES

    assert set(ARCHITECTURES) == set(PIPELINES) == set(MODELS)
    assert set(MODEL_DEFAULTS) == {*MODELS, "stub"}
    assert len(TWINS) == len(REAL) == 4


@pytest.mark.parametrize(
    ("model", "millions"),  # as the published models, by the sizes of their safetensors
    [
        ("sd15", {"unet": 859.5, "vae": 83.7, "text_encoder": 123.1}),
        ("sdxl", {"unet": 2567.5, "text_encoder_2": 694.7}),
        # 2.5 billion in the model's card, which counts the table of positions (226.5 M)
        ("sd35-medium", {"transformer": 2243.2, "vae": 83.8, "text_encoder_3": 4762.3}),
        ("flux-schnell", {"transformer": 11891.2, "vae": 83.8, "text_encoder_2": 4762.3}),
    ],
)
def test_real_architectures_have_the_published_size(model: str, millions: dict[str, float]) -> None:
    from serve.models.architectures import ARCHITECTURES

    with torch.device("meta"):
        parts = ARCHITECTURES[model][0]()
    counts = {name: sum(p.numel() for p in parts[name].parameters()) / 1e6 for name in millions}
    assert counts == pytest.approx(millions, abs=0.06)


def make(pipeline: Any, model: str, *, steps: int | None = None) -> Any:
    """An image by the stock pipeline at the model's own size and guidance, in 0 .. 255."""
    defaults = MODEL_DEFAULTS[model]
    pipeline.set_progress_bar_config(disable=True)
    image = pipeline(
        prompt="a red fox",
        width=defaults.side,
        height=defaults.side,
        num_inference_steps=steps or defaults.steps,
        guidance_scale=defaults.guidance_scale,
        generator=torch.Generator().manual_seed(1),
        output_type="np",
    ).images[0]
    return image * 255


@pytest.mark.parametrize("model", TWINS)
def test_twins_make_images_neither_flat_nor_saturated(twins: dict[str, Any], model: str) -> None:
    image = make(twins[model], model)
    side = MODEL_DEFAULTS[model].side
    assert image.shape == (side, side, 3)
    assert np.isfinite(image).all()
    assert 20 < image.std() < 110


@pytest.mark.parametrize("model", TWINS)
def test_twins_have_the_class_they_are_loaded_as(twins: dict[str, Any], model: str) -> None:
    assert type(twins[model]).__name__ == PIPELINES[model]


@pytest.mark.parametrize("model", TWINS)
def test_weights_are_the_same_in_every_build(twins: dict[str, Any], model: str) -> None:
    from serve.models.architectures import build_random

    again = build_random(model, CPU, torch.float32)
    for name, ours in modules(twins[model]).items():
        theirs = getattr(again, name)
        assert not theirs.training
        theirs = theirs.state_dict()
        assert all(torch.equal(values, theirs[key]) for key, values in ours.state_dict().items())


def modules(pipeline: Any) -> dict[str, Any]:
    return {k: v for k, v in pipeline.components.items() if isinstance(v, torch.nn.Module)}


def test_buffers_and_ties_are_as_a_build_without_meta_has_them(twins: dict[str, Any]) -> None:
    """What diffusers and transformers compute in __init__ is lost under the meta device."""
    for pipeline in twins.values():
        for module in modules(pipeline).values():
            config: Any = module.config
            build: Any = getattr(type(module), "from_config", type(module))
            plain = build(config)
            expected = dict(plain.named_buffers())
            ours = dict(module.named_buffers())
            assert set(ours) == set(expected)
            for name, values in ours.items():
                torch.testing.assert_close(values, expected[name])
            # Ties count once in parameters(), each end of a broken one would count.
            assert len(list(module.parameters())) == len(list(plain.parameters()))


def test_a_buffer_that_is_not_known_is_no_guess() -> None:
    from serve.models.random_weights import materialize

    with torch.device("meta"):
        norm = torch.nn.BatchNorm1d(4)
    with pytest.raises(NotImplementedError, match="running_mean"):
        materialize(norm, CPU, torch.float32, torch.Generator())


def deep(model: str) -> dict[str, Any]:
    """The real depth of a model's transformer and T5, 64 wide."""
    from diffusers import FluxTransformer2DModel, SD3Transformer2DModel

    from serve.models.components import t5

    kinds: dict[str, Any] = {
        "sd35-medium": SD3Transformer2DModel,
        "flux-schnell": FluxTransformer2DModel,
    }
    shape: dict[str, Any] = {
        "sd35-medium": {
            "sample_size": 8,
            "num_layers": 24,
            "caption_projection_dim": 64,
            "pos_embed_max_size": 8,
            "dual_attention_layers": tuple(range(13)),
            "qk_norm": "rms_norm",
        },
        "flux-schnell": {"num_layers": 19, "num_single_layers": 38, "axes_dims_rope": (4, 6, 6)},
    }
    with torch.device("meta"):
        return {
            "transformer": kinds[model](
                attention_head_dim=16,
                num_attention_heads=4,
                joint_attention_dim=64,
                pooled_projection_dim=64,
                **shape[model],
            ),
            "t5": t5(64, layers=24, heads=4, head_width=16, feed_forward=160),
        }


@pytest.mark.parametrize("model", ["sd35-medium", "flux-schnell"])
def test_streams_stay_finite_at_the_real_depth_in_bf16(model: str) -> None:
    from serve.models.random_weights import materialize

    parts = deep(model)
    generator = torch.Generator().manual_seed(0)
    for part in parts.values():
        materialize(part, CPU, torch.bfloat16, generator)
    with torch.inference_mode():
        text = parts["t5"](torch.arange(32)[None]).last_hidden_state
    predicted = denoise_once(parts["transformer"], text)
    for values in (text, predicted):
        assert 0.1 < values.float().std() < 10


@pytest.mark.parametrize("model", TWINS)
def test_denoisers_of_twins_predict_finite_values_in_bf16(model: str) -> None:
    from serve.models.architectures import build_random

    pipeline = build_random(model, CPU, torch.bfloat16)
    denoiser = getattr(pipeline, "transformer", None) or pipeline.unet
    width = denoiser.config.get("joint_attention_dim") or denoiser.config.cross_attention_dim
    predicted = denoise_once(denoiser, noise(1, 77, width))
    assert predicted.dtype == torch.bfloat16
    assert 0.1 < predicted.float().std() < 10


def noise(*shape: int) -> Any:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(*shape, generator=generator).bfloat16()


def denoise_once(denoiser: Any, text: Any) -> Any:
    """One forward in bf16 of an 8 x 8 latent, with the inputs that the denoiser's class wants."""
    with torch.inference_mode():
        return _forward(denoiser, text)


def _forward(denoiser: Any, text: Any) -> Any:
    config = denoiser.config
    kind = type(denoiser).__name__
    timestep = torch.tensor([0.5 if kind.startswith("Flux") else 500.0]).bfloat16()
    if kind == "UNet2DConditionModel":
        added = {"text_embeds": noise(1, 32), "time_ids": torch.full((1, 6), 64.0).bfloat16()}
        return denoiser(noise(1, 4, 8, 8), timestep, text, added_cond_kwargs=added).sample
    given = {
        "encoder_hidden_states": text,
        "pooled_projections": noise(1, config.pooled_projection_dim),
        "timestep": timestep,
    }
    if kind == "SD3Transformer2DModel":
        return denoiser(hidden_states=noise(1, 16, 8, 8), **given).sample
    ids = {"img_ids": torch.zeros(16, 3), "txt_ids": torch.zeros(text.shape[1], 3)}
    return denoiser(hidden_states=noise(1, 16, 64), **given, **ids).sample


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
@pytest.mark.parametrize(
    "model",
    [each if each == "sd15" else pytest.param(each, marks=pytest.mark.gpu_slow) for each in REAL],
)
def test_real_architectures_are_built_in_seconds_and_stay_finite_on_a_gpu(model: str) -> None:
    import time

    from serve.models.architectures import build_random

    torch.zeros(1, device="cuda")  # the context takes seconds of its own
    started_s = time.perf_counter()
    pipeline = build_random(model, torch.device("cuda"), torch.bfloat16)
    torch.cuda.synchronize()
    assert time.perf_counter() - started_s < 30
    image = make(pipeline, model, steps=2)
    assert np.isfinite(image).all()
    assert 20 < image.std() < 110
    del pipeline
    torch.cuda.empty_cache()
