"""Pipelines from folders, as `save_pretrained` leaves them. torch is imported inside."""

import json
from pathlib import Path
from typing import Any

import pytest

from serve.models.weights import PIPELINES, locate
from serve.settings import Settings, SettingsError

torch = pytest.importorskip("torch")

# `dtype` is its name from diffusers 0.42 on only
pytestmark = pytest.mark.filterwarnings("ignore:`torch_dtype` is deprecated:FutureWarning")

CPU = torch.device("cpu")
TWINS = [name for name in PIPELINES if name.startswith("tiny")]


def save(model: str, folder: Path, **how: Any) -> Path:
    from serve.models.architectures import build_random

    build_random(model, CPU, torch.float32).save_pretrained(folder, **how)
    return folder


@pytest.mark.parametrize("model", TWINS)
def test_a_saved_pipeline_loads_as_it_was(tmp_path: Path, model: Any) -> None:
    from serve.models.architectures import build_random
    from serve.models.loading import load

    settings = locate(Settings(model=model, weights=str(save(model, tmp_path))))
    loaded = load(model, settings.weights, CPU)
    built = build_random(model, CPU, torch.float32)
    assert type(loaded) is type(built)
    for name, part in built.components.items():
        if isinstance(part, torch.nn.Module):
            theirs = getattr(loaded, name).state_dict()
            assert all(torch.equal(theirs[key], own) for key, own in part.state_dict().items())
    for name in ("tokenizer", "tokenizer_2", "tokenizer_3"):
        if name in built.components:
            ids = [getattr(each, name)("a red fox").input_ids for each in (built, loaded)]
            assert ids[0] == ids[1]


def test_pickles_are_refused_at_the_door_and_behind_it(tmp_path: Path) -> None:
    from serve.models.loading import ModelError, load

    folder = str(save("tiny-flux", tmp_path, safe_serialization=False))
    with pytest.raises(SettingsError, match="pickled weights; only safetensors"):
        locate(Settings(model="tiny-flux", weights=folder))
    with pytest.raises(ModelError, match="weights: cannot load"):
        load("tiny-flux", folder, CPU)


def test_a_flux_that_takes_its_guidance_as_an_input_is_refused(tmp_path: Path) -> None:
    from serve.models.loading import ModelError, load

    change(save("tiny-flux", tmp_path) / "transformer" / "config.json", guidance_embeds=True)
    with pytest.raises(ModelError, match=r"as FLUX\.1-dev does; use a FLUX\.1-schnell"):
        load("tiny-flux", str(tmp_path), CPU)


@pytest.mark.parametrize(("field", "value"), [("in_channels", 9), ("time_cond_proj_dim", 256)])
@pytest.mark.parametrize("model", ["tiny", "tiny-sdxl"])
def test_a_unet_that_wants_more_inputs_is_refused(
    model: str, field: str, value: int, tmp_path: Path
) -> None:
    from serve.models.loading import ModelError, load

    change(save(model, tmp_path) / "unet" / "config.json", **{field: value})
    with pytest.raises(ModelError, match="use a text-to-image model"):
        load(model, str(tmp_path), CPU)


def test_sd3_makes_do_without_its_t5(tmp_path: Path) -> None:
    from serve.models.loading import load

    change(
        save("tiny-sd35", tmp_path) / "model_index.json",
        text_encoder_3=[None, None],
        tokenizer_3=[None, None],
    )
    settings = locate(Settings(model="tiny-sd35", weights=str(tmp_path)))
    assert load("tiny-sd35", settings.weights, CPU).text_encoder_3 is None


@pytest.mark.parametrize(
    ("model", "part"), [("tiny-sdxl", "text_encoder_2"), ("tiny-flux", "tokenizer_2")]
)
def test_other_parts_may_not_lack(tmp_path: Path, model: str, part: str) -> None:
    from serve.models.loading import ModelError, load

    change(save(model, tmp_path) / "model_index.json", **{part: [None, None]})
    with pytest.raises(ModelError, match=f"saved without its {part}"):
        load(model, str(tmp_path), CPU)


def change(file: Path, **fields: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def test_weights_that_do_not_load_say_so(tmp_path: Path) -> None:
    from serve.models.loading import ModelError, load

    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(ModelError, match="weights: cannot load"):
        load("tiny", str(tmp_path), CPU)


@pytest.mark.parametrize(
    ("device", "build", "gpus", "picked"),
    [
        ("auto", None, 0, "cpu"),  # a torch that can do nothing else
        ("cpu", "13.0", 1, "cpu"),
        ("auto", "13.0", 1, "cuda"),
        ("cuda", "13.0", 1, "cuda"),
        ("auto", "13.0", 0, "device=auto: no CUDA GPU can be used: the driver is too old; or use"),
        ("cuda", "13.0", 0, "device=cuda: no CUDA GPU can be used: the driver is too old; or use"),
        ("cuda", None, 0, "is built without CUDA: install a CUDA build of torch; or use device="),
    ],
)
def test_no_gpu_is_passed_over_in_silence(
    device: str, build: str | None, gpus: int, picked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from serve.models.loading import ModelError, pick_device

    monkeypatch.setattr(torch.version, "cuda", build)
    monkeypatch.setattr("serve.models.loading.cuda_gpus", lambda: (gpus, "the driver is too old"))
    if picked in ("cpu", "cuda"):
        assert pick_device(device).type == picked
        return
    with pytest.raises(ModelError, match=picked):
        pick_device(device)


def test_half_precision_keeps_a_vae_that_would_overflow_in_single() -> None:
    from serve.diffusion.decoder import Decoder
    from serve.engine.request import Size
    from serve.models.loading import load
    from serve.models.networks import network_of

    pipeline = load("tiny", "random", CPU, torch.float16)
    assert (pipeline.unet.dtype, pipeline.text_encoder.dtype) == (torch.float16,) * 2
    assert pipeline.vae.config.force_upcast
    assert pipeline.vae.dtype == torch.float32
    network = network_of(pipeline)
    latent = network.noise(0, 64, 64)
    (made,) = Decoder(network).decode(Size(width=64, height=64), [(latent, None)])
    assert not isinstance(made, Exception)
    assert made.image.std() > 0  # a flood of one value is what not-a-number makes
