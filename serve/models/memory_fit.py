"""Whether a model fits into a GPU's free memory, estimated before its weights are read.

The least that a start takes is

    weights + slots + step + decode

weights
    every parameter and buffer in the dtype served: of the architecture, or of a folder's
    safetensors as their headers tell
slots
    of each warmed size, for B + 1 images (B = max_batch): two float32 latents and two conditionings
step
    the tensors alive at once in one call of the denoiser on 2 B rows, at the largest size
decode
    the same of the VAE on one image

all by shapes on the meta device (`serve.models.memory_estimate`). Left out are what kernels need
for themselves, what the allocator rounds up, layout copies, and the tensors of compiled code, which
fuses some away: so the estimate is low, and only a start that clearly cannot fit is refused. One
that is close goes on, and running out of memory is told when it happens.
"""

# mypy: disallow-untyped-calls=False
# diffusers ships no types.

import json
import logging
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError, safe_open

from serve.catalog import MODEL_DEFAULTS, is_twin
from serve.devices.torch_device import Card
from serve.models.memory_estimate import peak_bytes, pipeline_of, weight_bytes
from serve.models.networks import network_of
from serve.models.weights import WITHOUT_WEIGHTS
from serve.settings import MIN_SIDE, Settings

logger = logging.getLogger(__name__)

META = torch.device("meta")
NOTEWORTHY_BYTES = 2e9  # in use before the start: more than CUDA's own context
FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")  # safetensors' names; they are cast
WIDTHS = {"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """The least memory of a start, estimated; see above.

    Attributes:
        weights_bytes: Of the whole model.
        image_bytes: Slots and step, for each image of max_batch.
        images: max_batch.
        decode_bytes: Of one image.
    """

    weights_bytes: int
    image_bytes: int
    images: int
    decode_bytes: int

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return self.weights_bytes + self.images * self.image_bytes + self.decode_bytes

    def most_images(self, free_bytes: int) -> int:
        """The largest max_batch that fits, 0 where none does."""
        left = free_bytes - self.weights_bytes - self.decode_bytes
        return max(0, math.floor(left / self.image_bytes))

    def longest_side(self, free_bytes: int, side: int, step: int) -> int:
        """Side in pixels, a multiple of `step`, at which one image fits; 0 where none does.

        What is no weights grows with the pixels, which fused attention keeps true for a step.
        """
        left = free_bytes - self.weights_bytes
        share = left / (self.image_bytes + self.decode_bytes)
        longest = math.floor(side * math.sqrt(max(0.0, share)) / step) * step
        return longest if longest >= MIN_SIDE else 0


def estimate(settings: Settings, dtype: torch.dtype) -> Need:
    """The least memory that starting a model with these settings takes: seconds of Python."""
    pipeline = pipeline_of(settings.model, dtype)
    network = network_of(pipeline)
    weights = folder_bytes(Path(settings.weights), dtype.itemsize) or weight_bytes(pipeline)
    images = settings.batch_limit
    slots, steps, decodes = 0, [], []
    with torch.inference_mode():
        (text,) = network.embed([""], negative=False)
        for width, height in settings.warm_sizes:
            told = network.condition(text, width, height)
            noise = network.noise(0, width, height)
            slots += (images + 1) * (8 * noise.numel() + 2 * sum(each.nbytes for each in told))
            call = network.denoise(width, height)
            rows = 2 * images
            x = torch.empty((rows, *noise.shape), device=META, dtype=dtype)
            t = torch.empty(rows, device=META)
            batch = tuple(each.expand(rows, *each.shape) for each in told)
            if not settings.compile:
                steps.append(peak_bytes(partial(call, x, t, batch)))
            latent = network.unpack(x[:1], width, height)
            decodes.append(peak_bytes(partial(pipeline.vae.decode, latent)))
    return Need(
        weights_bytes=weights,
        image_bytes=(slots + max(steps, default=0)) // images,
        images=images,
        decode_bytes=max(decodes),
    )


def room_fault(settings: Settings, dtype: torch.dtype, card: Card) -> str | None:
    """That the model cannot fit into what is free on this GPU, and what would; None if it may."""
    free = card.mem_free_bytes
    if free is None:
        return None
    try:
        need = estimate(settings, dtype)
    except Exception as err:  # noqa: BLE001 - an estimate must not keep a model that fits away
        logger.warning("what %s needs cannot be estimated: %s", settings.model, err)
        return None
    if need.total_bytes <= free:
        return None
    in_use = card.mem_total_bytes - free
    held = f", {_gb(in_use)} being in use already" if in_use > NOTEWORTHY_BYTES else ""
    parts = (
        f"weights {_gb(need.weights_bytes)}, max_batch={need.images} "
        f"{_gb(need.images * need.image_bytes)}, decoding {_gb(need.decode_bytes)}"
    )
    return (
        f"{settings.model} needs {_gb(need.total_bytes)} by estimate ({parts}) and {card.name} has "
        f"{_gb(free)} free of {_gb(card.mem_total_bytes)}{held}: "
        f"{_remedy(settings, dtype, need, free)}"
    )


def folder_bytes(folder: Path, itemsize: int) -> int | None:
    """Bytes of a saved pipeline's weights once they are cast; None where that cannot be told.

    The headers of the safetensors are read, their values are not.

    Args:
        folder: As diffusers saves it.
        itemsize: Bytes of a number in the dtype served.
    """
    try:
        index: Mapping[str, Any] = json.loads((folder / "model_index.json").read_bytes())
        parts = [
            name
            for name, origin in index.items()
            if isinstance(origin, list) and None not in origin and name not in WITHOUT_WEIGHTS
        ]
        files = [file for part in parts for file in _files(folder / part)]
        return sum(_file_bytes(file, itemsize) for file in files) or None
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return None  # loading says what is wrong


def _files(part: Path) -> list[Path]:
    """The safetensors that are loaded by default: the shards of an index, or the plain file."""
    for index in sorted(part.glob("*.safetensors.index.json")):
        if index.name.count(".") == len(("safetensors", "index", "json")):  # else a variant's
            return [
                part / name for name in set(json.loads(index.read_bytes())["weight_map"].values())
            ]
    return [file for file in part.glob("*.safetensors") if file.name.count(".") == 1]


def _file_bytes(file: Path, itemsize: int) -> int:
    with safe_open(file, framework="pt") as opened:
        slices = [opened.get_slice(name) for name in opened.keys()]  # noqa: SIM118 - no mapping
        return sum(
            math.prod(one.get_shape())
            * (itemsize if one.get_dtype() in FLOATS else WIDTHS[one.get_dtype()])
            for one in slices
        )


def _remedy(settings: Settings, dtype: torch.dtype, need: Need, free: int) -> str:
    """What would fit by the same estimate."""
    images = need.most_images(free)
    if images:
        return f"max_batch={images} fits"
    side, step = max(map(max, settings.warm_sizes)), settings.defaults.side_step
    shorter = need.longest_side(free, side, step)
    if shorter:
        return f"sizes={shorter}x{shorter} with max_batch=1 fits"
    fitting = [
        name
        for name in MODEL_DEFAULTS
        if name not in (settings.model, "stub") and not is_twin(name)
        if estimate(Settings(model=name, max_batch=1), dtype).total_bytes <= free  # type: ignore[arg-type]
    ]
    if fitting:
        return f"{' and '.join(f'model={name}' for name in fitting)} would fit, with max_batch=1"
    return "no real model fits: end what holds the memory (nvidia-smi), or take another GPU"


def _gb(count: float) -> str:
    return f"{count / 1e9:.1f} GB"
