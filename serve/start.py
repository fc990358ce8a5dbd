"""A replica's model, from its settings to warm: loaded, made fast, measured."""

# mypy: disallow-untyped-calls=False
# diffusers ships no types.

import logging
from collections.abc import Mapping
from typing import Any

import msgspec
import torch

from serve.limits import LimitsError, measure
from serve.loading import ModelError, load, pick_device
from serve.pipeline import DiffusionModel
from serve.settings import Settings
from serve.work import OutOfMemoryError, Recipe

logger = logging.getLogger(__name__)

CUDA_LIMITS_S = 3.0
CPU_LIMITS_S = 1.0


class Warm(msgspec.Struct, frozen=True):
    """A model that is ready, and what was found out about it.

    Attributes:
        model: It.
        facts: For `GET /v1/models`, JSON values by name.
    """

    model: DiffusionModel
    facts: Mapping[str, object]


def start(settings: Settings) -> Warm:
    """The model of these settings: every bucket and size that is to be fast has run once.

    Raises:
        ModelError: It cannot be loaded, or not made fast as asked, on this device.
    """
    device = pick_device(settings.device)
    try:
        return _warm(settings, device)
    except (OutOfMemoryError, torch.OutOfMemoryError) as err:
        raise ModelError(
            f"{settings.model} does not fit into the GPU's memory with max_batch="
            f"{settings.batch_limit}: lower max_batch, or warm up smaller sizes"
        ) from err


def _warm(settings: Settings, device: torch.device) -> Warm:
    torch.set_num_threads(settings.cpu_threads)
    is_cuda = device.type == "cuda"
    limits = _limits(device)
    pipeline = load(settings.model, settings.weights, device)
    model = DiffusionModel(
        pipeline,
        slots=settings.batch_limit,
        threads=settings.cpu_threads,
        graphs=settings.graphs,
    )
    if is_cuda:
        lay_out(pipeline)
        torch.cuda.synchronize(device)  # other streams than this one's read the weights from now on
    recipe = default_recipe(settings)
    facts: dict[str, object] = {"device": device.type, "limits": limits}
    if settings.policy == "step":
        model.warm_up_steps(
            [
                msgspec.structs.replace(recipe, width=width, height=height)
                for width, height in settings.warm_sizes
            ]
        )
    else:
        model.warm_up_batches(recipe, settings.batch_limit)
    facts["flop_per_image"] = model.image_flop(recipe)
    return Warm(model, facts)


def default_recipe(settings: Settings) -> Recipe:
    """What a request gets that asks for nothing."""
    defaults = settings.defaults
    width, height = settings.warm_sizes[0]
    return Recipe(
        width=width,
        height=height,
        steps=settings.steps,
        guidance_scale=defaults.guidance_scale,
        scheduler=defaults.schedulers[0],
    )


def lay_out(pipeline: Any) -> None:
    """Lay convolutional weights out channels last, as tensor cores read them."""
    for name in ("unet", "vae"):
        module = getattr(pipeline, name, None)
        if module is not None:
            module.to(memory_format=torch.channels_last)


def _limits(device: torch.device) -> object:
    """The device's measured limits as JSON, or None if it cannot be measured."""
    is_cuda = device.type == "cuda"
    try:
        limits = measure(
            device,
            torch.bfloat16 if is_cuda else torch.float32,
            budget_s=CUDA_LIMITS_S if is_cuda else CPU_LIMITS_S,
        )
    except LimitsError as err:
        logger.warning("the device's limits are unknown: %s", err)
        return None
    return msgspec.to_builtins(limits)
