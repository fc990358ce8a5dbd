"""The models of a GPU day: their settings, and a whole loop of the engine's and of the stock one.

Settings are written as words, and one that this version does not know is left out and told, so that
the same day runs before and after a setting is there.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import torch

from serve.pipeline import DiffusionModel
from serve.settings import Settings, from_strings
from serve.work import Recipe, Row, Tick

# One GPU's worth; only the buckets of one image and of a full batch, so that graphs take seconds.
WORDS: Mapping[str, Mapping[str, str]] = {
    "sdxl": {"model": "sdxl", "max_batch": "8", "buckets": "2,16"},
    "sd15": {"model": "sd15", "max_batch": "16", "buckets": "2,32"},
}
REHEARSED: Mapping[str, Mapping[str, str]] = {
    "sdxl": {"model": "tiny-sdxl", "max_batch": "2", "buckets": "2,4", "default_steps": "10"},
    "sd15": {"model": "tiny", "max_batch": "2", "buckets": "2,4", "default_steps": "10"},
}


def words_of(model: str, *, rehearse: bool) -> dict[str, str]:
    """The settings of a model of the day, as words; its twin's in a rehearsal."""
    return dict((REHEARSED if rehearse else WORDS)[model])


def unknown(words: Mapping[str, str]) -> list[str]:
    """The settings among these that this version does not have."""
    return [key for key in words if key not in Settings.__struct_fields__]


def settings_of(words: Mapping[str, str], device: str) -> Settings:
    """Settings of those words that are known, on a device.

    Raises:
        SettingsError: A value is wrong.
    """
    left = unknown(words)
    return from_strings({k: v for k, v in words.items() if k not in left} | {"device": device})


@torch.inference_mode()
def denoise(model: DiffusionModel, recipe: Recipe, rows: Sequence[Row]) -> list[torch.Tensor]:
    """The rows' latents, float32 on the host, by the engine's own steps in one batch."""
    states = {}
    for slot, prepared in enumerate(model.preparation.prepare([(recipe, row) for row in rows])):
        if isinstance(prepared, Exception):
            raise prepared
        states[slot] = prepared.state
    latents: Mapping[int, Any] = {}
    for step in range(recipe.steps):
        last = step == recipe.steps - 1
        latents = model.stepper.tick(
            Tick(
                size=recipe.size,
                joins=states if step == 0 else {},
                active=dict.fromkeys(states, step),
                finishes=list(states) if last else [],
            )
        ).latents
    model.stepper.catch_up()
    return [latents[slot][0].float().cpu() for slot in states]


def loop_s(model: DiffusionModel, recipe: Recipe, images: int) -> float:
    """Wall seconds of a whole loop of so many images, texts included, after one not counted."""
    rows = [Row(prompt=f"a red fox, {i}", negative_prompt="", seed=i) for i in range(images)]
    denoise(model, recipe, rows)
    began_s = time.perf_counter()
    denoise(model, recipe, rows)
    return time.perf_counter() - began_s


def pixels_of(decoded: Any) -> Any:
    """The image of what `DiffusionModel.decode` gives for a latent.

    Raises:
        Exception: What it gives in place of one.
    """
    if isinstance(decoded, Exception):
        raise decoded
    return getattr(decoded, "image", decoded)


@torch.inference_mode()
def stock(model: DiffusionModel, recipe: Recipe, row: Row) -> torch.Tensor:
    """The row's latent, float32 on the host, by the stock pipeline's own loop."""
    loop = model._stock
    latents: torch.Tensor = loop._denoise(recipe, [row], loop._embed(recipe, [row]))
    return latents[0].float().cpu()


def rms_apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """Root mean square of the difference, over that of `other`."""
    return float((one - other).norm() / other.norm())


def with_steps(recipe: Recipe, steps: int) -> Recipe:
    """The recipe at another number of steps."""
    return msgspec.structs.replace(recipe, steps=steps)
