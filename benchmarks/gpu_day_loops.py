"""A whole denoising loop by the engine's own steps, and by the stock pipeline."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import torch

from serve.diffusion.pipeline import DiffusionModel
from serve.engine.request import Recipe, Row, Tick


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
