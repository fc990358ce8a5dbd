"""A replica's model, from its settings to warm: loaded, made fast, measured."""

# mypy: disallow-untyped-calls=False
# diffusers ships no types.

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch

from serve.acceleration.attention import use_no_plans
from serve.acceleration.compilation import CompilationError, cache_use, compile_regions
from serve.acceleration.fp8 import Quantized, is_supported, quantize
from serve.acceleration.fused.fusion import fuse_pipeline
from serve.devices.limits import LimitsError, measure
from serve.devices.torch_device import card_fault, look, torch_dtype
from serve.diffusion.pipeline import DiffusionModel
from serve.engine.request import OutOfMemoryError, Recipe, Size
from serve.models.loading import ModelError, load, pick_device
from serve.models.memory_fit import room_fault
from serve.models.network import Network
from serve.models.networks import network_of
from serve.settings import Settings

logger = logging.getLogger(__name__)

SWITCH_INTERVAL_S = 0.0005
CUDA_LIMITS_S = 3.0
CPU_LIMITS_S = 1.0
# The middle of the samplers' thousand.
FP8_TIMESTEP = 500.0


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
    except CompilationError as err:
        raise ModelError(str(err)) from err
    except (OutOfMemoryError, torch.OutOfMemoryError) as err:
        raise ModelError(
            f"{settings.model} does not fit into the GPU's memory with max_batch="
            f"{settings.batch_limit}: lower max_batch, or warm up smaller sizes"
        ) from err


def _warm(settings: Settings, device: torch.device) -> Warm:
    torch.set_num_threads(settings.cpu_threads)
    _check_fast_path(settings, device)
    dtype = torch_dtype(settings.dtype, device)
    facts: dict[str, object] = {"device": device.type, "limits": _limits(device)}
    pipeline = load(settings.model, settings.weights, device, dtype)
    if device.type == "cuda":
        # Threads that launch steps want Python's lock back within a step, not within 5 ms.
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        use_no_plans()
        lay_out(pipeline)
    recipe = default_recipe(settings)

    def quicken() -> torch.nn.Module | None:
        compiled = _quicken(settings, pipeline, device, facts)
        if device.type == "cuda":  # other streams than this one's read the weights from now on
            torch.cuda.synchronize(device)
        return compiled

    model = DiffusionModel(
        pipeline,
        slots=settings.batch_limit,
        threads=settings.cpu_threads,
        buckets=settings.batch_rows,
        shortcuts=settings.shortcuts,
        cache_layers=settings.shallow_layers,
        graphs=settings.graphs,
        quicken=quicken,
    )
    if settings.policy == "step":
        model.warm_up_steps(
            [
                msgspec.structs.replace(recipe, width=width, height=height)
                for width, height in settings.warm_sizes
            ]
        )
    else:
        model.warm_up_batches(recipe, settings.batch_limit)
    if settings.shortcuts.are_taken:
        facts["shortcuts"] = {
            **msgspec.to_builtins(settings.shortcuts),
            "relative_error": model.shortcut_error(recipe),
        }
    facts["flop_per_image"] = model.image_flop(recipe)
    if settings.compile:
        facts["compile"] = msgspec.to_builtins(cache_use())
    return Warm(model, facts)


def _quicken(
    settings: Settings, pipeline: Any, device: torch.device, facts: dict[str, object]
) -> torch.nn.Module | None:
    """Make a pipeline fast as the settings say; the compiled denoiser, where it is compiled.

    The baselines' loop stays the stock pipeline's, kernels and all, but for 8 bits if asked for.
    """
    if settings.fp8:
        made = to_fp8(network_of(pipeline), default_recipe(settings).size, 2 * settings.batch_limit)
        # Alone, every layer quantizes its input; fused or compiled, the norm before does it.
        facts["fp8"] = {**msgspec.to_builtins(made), "compiled": settings.compile}
    if settings.fused and settings.policy == "step" and device.type == "cuda":
        facts["fused"] = msgspec.to_builtins(fuse_pipeline(pipeline, device))
    if not settings.compile:
        return None
    return compile_regions(network_of(pipeline).denoiser, cache_folder=_cache(settings))


def to_fp8(network: Network, size: Size, rows: int, *, compares: bool = True) -> Quantized:
    """Quantize a network's denoiser where it pays at this batch, and measure the error if asked."""
    device, dtype = network.device, network.dtype
    with torch.inference_mode():
        (text,) = network.embed(["a red fox"], negative=False)
        told = network.condition(text, size.width, size.height)
        batch = tuple(each.expand(rows, *each.shape).contiguous() for each in told)
        drawn = [network.noise(seed, size.width, size.height) for seed in range(rows)]
        x = torch.stack(drawn).to(device, dtype)
        t = torch.full((rows,), FP8_TIMESTEP, device=device)
        call = network.denoise(size.width, size.height)
        return quantize(network.denoiser, lambda: call(x, t, batch), compares=compares)


def _check_fast_path(settings: Settings, device: torch.device) -> None:
    """Refuse what this device cannot do, before the model is loaded.

    Raises:
        ModelError: Names the setting and the remedy.
    """
    reason = is_supported(device) if settings.fp8 else None
    if reason is not None:
        raise ModelError(reason)
    if settings.compile and device.type == "cuda" and not settings.graphs:
        raise ModelError("compile=true needs graphs=true on a GPU: they fix the batches to compile")
    if device.type == "cuda":
        card = look(device)
        reason = card_fault(card, settings.dtype) or room_fault(
            settings, torch_dtype(settings.dtype, device), card
        )
        if reason is not None:
            raise ModelError(reason)


def _cache(settings: Settings) -> Path:
    """Where compiled code persists."""
    if settings.cache is not None:
        return Path(settings.cache)
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError as err:  # a user whom this machine does not know, without HOME
        raise ModelError("no home folder is known for compiled code: name one with cache=") from err
    return base / "viralload"


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
