import json
from pathlib import Path
from typing import Any

import pytest

from serve.models.weights import hub_environment, is_hub_id, locate
from serve.settings import Settings, SettingsError

PARTS: dict[str, Any] = {
    "_class_name": "StableDiffusionPipeline",
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "safety_checker": [None, None],
}


def saved(folder: Path, *, files: str = "model.safetensors", **changes: Any) -> Path:
    """A folder that looks as save_pretrained leaves it."""
    (folder / "model_index.json").write_text(json.dumps({**PARTS, **changes}))
    for part in ("unet", "vae", "scheduler"):
        (folder / part).mkdir()
    for part in ("unet", "vae"):
        (folder / part / files).touch()
    return folder


def test_a_saved_pipeline_gets_an_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pipe").mkdir()
    saved(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)
    assert locate(Settings(weights="./pipe")).weights == str(tmp_path / "pipe")


@pytest.mark.parametrize(
    "settings",
    [Settings(), Settings(model="stub", weights="/nowhere"), Settings(weights="owner/name")],
)
def test_nothing_to_locate(settings: Settings) -> None:
    assert locate(settings) == settings


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"_class_name": "StableDiffusionXLPipeline"}, "use model=sdxl"),
        ({"_class_name": "StableDiffusion3Pipeline"}, "use model=sd35-medium"),
        ({"_class_name": "FluxPipeline"}, "use model=flux-schnell"),
        ({"_class_name": "PixArtAlphaPipeline"}, "model=tiny needs a StableDiffusionPipeline"),
        ({"unet": ["my_code", "MyUNet"]}, "code of its own (unet from 'my_code')"),
        ({"files": "model.bin"}, "holds pickled weights; only safetensors"),
        ({"files": "readme.txt"}, "holds no weights; only safetensors"),
    ],
)
def test_folders_that_cannot_be_served(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        locate(Settings(weights=str(saved(tmp_path, **changes))))
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("index", "told"),
    [(None, "is no pipeline"), ("not json", "no valid JSON"), ("[]", "no pipeline index")],
)
def test_folders_without_an_index(tmp_path: Path, index: str | None, told: str) -> None:
    if index is not None:
        (tmp_path / "model_index.json").write_text(index)
    with pytest.raises(SettingsError) as caught:
        locate(Settings(weights=str(tmp_path)))
    assert told in str(caught.value)


def test_no_such_folder() -> None:
    with pytest.raises(SettingsError, match="no folder /nowhere/at/all"):
        locate(Settings(weights="/nowhere/at/all"))


@pytest.mark.parametrize(
    ("weights", "is_hub"),
    [
        ("owner/name", True),
        ("random", False),
        ("/owner/name", False),
        ("./name", False),
        ("a/b/c", False),
    ],
)
def test_hub_ids_and_only_they_leave_the_machine(weights: str, is_hub: bool) -> None:
    assert is_hub_id(weights) is is_hub
    environment = hub_environment(weights)
    assert ("HF_HUB_OFFLINE" not in environment) is is_hub
    assert environment["HF_HUB_DISABLE_TELEMETRY"] == "1"
