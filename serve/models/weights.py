"""Where a model's weights come from, checked before anything heavy starts. Imports no torch."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from serve.catalog import is_twin
from serve.settings import Settings, SettingsError

PIPELINES = {
    "tiny": "StableDiffusionPipeline",
    "tiny-sdxl": "StableDiffusionXLPipeline",
    "tiny-sd35": "StableDiffusion3Pipeline",
    "tiny-flux": "FluxPipeline",
    "sd15": "StableDiffusionPipeline",
    "sdxl": "StableDiffusionXLPipeline",
    "sd35-medium": "StableDiffusion3Pipeline",
    "flux-schnell": "FluxPipeline",
}
LIBRARIES = ("diffusers", "transformers", "stable_diffusion")
WITHOUT_WEIGHTS = (
    "scheduler",
    "tokenizer",
    "tokenizer_2",
    "tokenizer_3",
    "feature_extractor",
    "safety_checker",
)
PICKLES = {".bin", ".ckpt", ".pt", ".pth", ".pkl"}
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def is_hub_id(weights: str) -> bool:
    """Whether weights name a repository of the hub: `owner/name`, and no such folder here."""
    return bool(HUB_ID.fullmatch(weights)) and weights[0] != "." and not Path(weights).exists()


def locate(settings: Settings) -> Settings:
    """The settings with a weights path made absolute, once what lies there can be served.

    Raises:
        SettingsError: The path holds no pipeline of this model, or holds pickles.
    """
    weights = settings.weights
    if settings.is_stub or weights == "random" or is_hub_id(weights):
        return settings
    folder = Path(weights).expanduser().resolve()
    _check_folder(folder, settings.model)
    return msgspec.structs.replace(settings, weights=str(folder))


def hub_environment(weights: str) -> Mapping[str, str]:
    """Environment variables, set before diffusers is imported, that keep it off the network.

    Telemetry is off always; the hub is reached only for weights that live there.
    """
    silent = {"HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
    return silent if is_hub_id(weights) else {**silent, "HF_HUB_OFFLINE": "1"}


def _check_folder(folder: Path, model: str) -> None:
    index = _read_index(folder)
    found, wanted = index.get("_class_name"), PIPELINES[model]
    if found != wanted:
        fitting = [name for name, kind in PIPELINES.items() if kind == found and not is_twin(name)]
        remedy = f"use model={fitting[0]}" if fitting else f"model={model} needs a {wanted}"
        raise SettingsError(f"weights: {folder} holds a {found}: {remedy}")
    for part, origin in index.items():
        if part.startswith("_") or not isinstance(origin, list) or None in origin:
            continue
        if origin[0] not in LIBRARIES:
            raise SettingsError(
                f"weights: {folder} wants code of its own ({part} from '{origin[0]}'), "
                "which is never run: save the pipeline with diffusers' own classes"
            )
        suffixes = {file.suffix for file in (folder / part).glob("*")}
        if part not in WITHOUT_WEIGHTS and ".safetensors" not in suffixes:
            has = "pickled weights" if suffixes & PICKLES else "no weights"
            raise SettingsError(
                f"weights: {folder / part} holds {has}; only safetensors are loaded: "
                "save again with save_pretrained(folder, safe_serialization=True)"
            )


def _read_index(folder: Path) -> dict[str, object]:
    remedy = "give a folder saved by diffusers' save_pretrained, a hub id (owner/name), or 'random'"
    file = folder / "model_index.json"
    if not folder.exists():
        raise SettingsError(f"weights: no folder {folder}; {remedy}")
    if not file.is_file() or not os.access(file, os.R_OK):
        raise SettingsError(f"weights: {folder} is no pipeline (no model_index.json); {remedy}")
    try:
        index = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as err:
        raise SettingsError(f"weights: {file} is no valid JSON ({err}); {remedy}") from err
    if not isinstance(index, dict):
        raise SettingsError(f"weights: {file} is no pipeline index; {remedy}")
    return index
