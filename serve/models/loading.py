"""A pipeline with its weights on a device: random ones, a folder's, or the hub's.

ModelError
    the model cannot be built or loaded here; the message says what to do
"""

# mypy: disallow-untyped-calls=False
# diffusers ships no types.

import re
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import FluxTransformer2DModel, UNet2DConditionModel

from serve.devices.torch_device import cuda_gpus, torch_dtype
from serve.models.architectures import Pipeline, build_random
from serve.models.weights import PIPELINES

LATENT_CHANNELS = 4  # of SD1.5's and SDXL's UNets; an inpainting one takes 9
# SD3 makes do without its T5: zeros stand for what it would have said.
MAY_LACK = ("text_encoder_3", "tokenizer_3")
NEEDED = r"unet|transformer|vae|scheduler|(text_encoder|tokenizer)(_\d)?"


class ModelError(RuntimeError):
    """The model cannot be built or loaded; the message says what to do."""


def pick_device(device: str) -> torch.device:
    """The torch device for `auto`, `cpu` or `cuda`.

    `auto` is the CPU only with a torch that is built for nothing else: whoever has one built for
    GPUs must not compute on the CPU unaware.

    Raises:
        ModelError: CUDA is asked for, or torch built for it, and torch can use none; says why.
    """
    is_built = torch.version.cuda is not None or torch.version.hip is not None
    if device == "cpu" or (device == "auto" and not is_built):
        return torch.device("cpu")
    gpus, fault = cuda_gpus()
    if gpus:
        return torch.device("cuda", 0)
    if not is_built:
        fault = f"torch {torch.__version__} is built without CUDA: install a CUDA build of torch"
    raise ModelError(f"device={device}: no CUDA GPU can be used: {fault}; or use device=cpu")


def load(
    model: str, weights: str, device: torch.device, dtype: torch.dtype | None = None
) -> Pipeline:
    """A pipeline with random weights, from a folder, or from the hub.

    A saved safety checker is left out: it is a second model, and no part of what is measured.

    Args:
        model: Its name.
        weights: `random`, a folder, or a hub id.
        device: Where it goes.
        dtype: Of its weights; None: bf16 on a GPU, else fp32. Under fp16 a VAE whose config says
            that it overflows there (`force_upcast`) is fp32, as in diffusers' own pipelines.

    Raises:
        ModelError: The weights cannot be loaded, or are another kind of model's.
    """
    dtype = dtype or torch_dtype("auto", device)
    if weights == "random":
        pipeline = build_random(model, device, dtype)
    else:
        try:
            pipeline = _read(PIPELINES[model], weights, dtype)
        except ModelError:
            raise
        except Exception as err:
            reason = " ".join(str(err).split())
            raise ModelError(f"weights: cannot load '{weights}' as {model}: {reason}") from err
        pipeline = pipeline.to(device)
    if dtype == torch.float16 and pipeline.vae.config.get("force_upcast"):
        pipeline.vae.to(torch.float32)
    return pipeline


def _read(kind: str, weights: str, dtype: torch.dtype) -> Pipeline:
    pipeline: Any = getattr(diffusers, kind)
    local = Path(weights).is_dir()
    _refuse_relatives(kind, weights, local=local)
    extras: dict[str, Any] = dict.fromkeys(_lacking(pipeline, weights, local=local))
    if kind == "StableDiffusionPipeline":
        extras |= {"safety_checker": None, "requires_safety_checker": False}
    return pipeline.from_pretrained(
        weights, torch_dtype=dtype, use_safetensors=True, local_files_only=local, **extras
    )


def _lacking(pipeline: Any, weights: str, *, local: bool) -> list[str]:
    """The parts that were saved as null and may be; diffusers wants to be told of each."""
    index = pipeline.load_config(weights, local_files_only=local)
    absent = [part for part, origin in index.items() if origin == [None, None]]
    lacking = [part for part in absent if re.fullmatch(NEEDED, part)]
    for part in lacking:
        if part not in MAY_LACK:
            raise ModelError(
                f"weights: '{weights}' was saved without its {part}; save the whole pipeline"
            )
    return lacking


def _refuse_relatives(kind: str, weights: str, *, local: bool) -> None:
    """Refuse denoisers that want other inputs, by their config, before any weights are read."""
    if kind == "FluxPipeline":
        config: Any = FluxTransformer2DModel.load_config(
            weights, subfolder="transformer", local_files_only=local
        )
        if config.get("guidance_embeds"):
            raise ModelError(
                f"weights: '{weights}' takes its guidance as an input (guidance_embeds), as "
                "FLUX.1-dev does; use a FLUX.1-schnell, which takes none"
            )
    elif kind != "StableDiffusion3Pipeline":
        config = UNet2DConditionModel.load_config(weights, subfolder="unet", local_files_only=local)
        if config.get("in_channels") != LATENT_CHANNELS or config.get("time_cond_proj_dim"):
            raise ModelError(
                f"weights: '{weights}' holds an inpainting or guidance-distilled UNet, which wants "
                "more than a latent and a prompt; use a text-to-image model"
            )
