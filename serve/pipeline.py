"""A diffusers pipeline as a replica runs it: text, denoise and decode apart, in one thread.

The loop, the scheduler and the arithmetic are the stock pipeline's own; only its three stages
are called one after the other, so that each can be timed. A batch is that same call with a
list of prompts and of generators.
"""

# mypy: disallow-untyped-calls=False
# diffusers ships no types.

import asyncio
import base64
import contextlib
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from diffusers import StableDiffusionXLPipeline

from serve.architectures import Pipeline
from serve.encode import Pixels, encode
from serve.loading import ModelError, load, pick_device
from serve.settings import Settings
from serve.work import Encoding, Generated, Recipe, Row

# VAE decode takes 2-3 GiB an image at 1024 px.
DECODE_BATCH_MAX = 8
ENCODE_THREADS = 4
CPU_NICENESS = 5

__all__ = ["DiffusionModel", "ModelError", "load", "pick_device", "start"]


class DiffusionModel:
    """A pipeline behind the engine's `Model` protocol.

    One thread computes, so that the event loop stays free; a small pool encodes files beside it.

    Args:
        pipeline: What denoises.
        threads: torch's CPU threads.
    """

    def __init__(self, pipeline: Pipeline, *, threads: int) -> None:
        self._pipeline = pipeline
        self._pipeline.set_progress_bar_config(disable=True)
        self._device: torch.device = self._pipeline.device
        self._compute = ThreadPoolExecutor(1, "compute", self._start_compute, (threads,))
        self._encoders = ThreadPoolExecutor(ENCODE_THREADS, "encode")

    @property
    def device_name(self) -> str:
        """`cuda` or `cpu`."""
        return self._device.type

    @property
    def gpu_uuid(self) -> str | None:
        """The GPU's UUID as NVML writes it, or None on a CPU."""
        if self._device.type != "cuda":
            return None
        return f"GPU-{torch.cuda.get_device_properties(self._device).uuid}"

    def warm_up(self, settings: Settings) -> None:
        """Run the default size in the compute thread: once on a CPU, every extreme on a GPU."""
        side = settings.defaults.side
        guidance = settings.defaults.guidance_scale
        recipe = Recipe(width=side, height=side, steps=2, guidance_scale=guidance)
        row = Row(prompt="warm-up", negative_prompt="", seed=0)
        for size in (1, settings.batch_limit) if self.device_name == "cuda" else (1,):
            self._compute.submit(self.denoise, recipe, [row] * size).result()

    async def generate(self, recipe: Recipe, rows: Sequence[Row]) -> Generated[Pixels]:
        """Denoise one batch in the compute thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._compute, self.denoise, recipe, rows)

    async def encode(self, image: Pixels, recipe: Recipe, encoding: Encoding) -> bytes:
        """An image's file in base64, made on the encoding pool."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._encoders, lambda: base64.b64encode(encode(image, encoding))
        )

    @torch.inference_mode()
    def denoise(self, recipe: Recipe, rows: Sequence[Row]) -> Generated[Pixels]:
        """Denoise one batch here and now; images are uint8 of shape (height, width, 3)."""
        embeddings, text_s = self._timed(lambda: self._encode_text(recipe, rows))
        latents, denoise_s = self._timed(
            lambda: (
                self._pipeline(
                    **embeddings,
                    width=recipe.width,
                    height=recipe.height,
                    num_inference_steps=recipe.steps,
                    guidance_scale=recipe.guidance_scale,
                    generator=[torch.Generator().manual_seed(row.seed) for row in rows],
                    output_type="latent",
                ).images
            )
        )
        images, decode_s = self._timed(lambda: self._decode(latents))
        return Generated(images=images, text_s=text_s, denoise_s=denoise_s, decode_s=decode_s)

    def _encode_text(self, recipe: Recipe, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
        """The keyword arguments that stand for the prompts in the pipeline's call."""
        guided = recipe.guidance_scale > 1
        names = ["prompt_embeds", "negative_prompt_embeds"]
        if isinstance(self._pipeline, StableDiffusionXLPipeline):
            names += ["pooled_prompt_embeds", "negative_pooled_prompt_embeds"]
        tensors = self._pipeline.encode_prompt(
            prompt=[row.prompt for row in rows],
            negative_prompt=[row.negative_prompt for row in rows] if guided else None,
            device=self._device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=guided,
        )
        embeddings = dict(zip(names, tensors, strict=True))
        if guided and self._pipeline.config.get("force_zeros_for_empty_prompt"):
            # SDXL: no negative prompt is an embedding of zeros, not that of an empty string.
            bare = [i for i, row in enumerate(rows) if not row.negative_prompt]
            embeddings["negative_prompt_embeds"][bare] = 0.0
            embeddings["negative_pooled_prompt_embeds"][bare] = 0.0
        return {name: tensor for name, tensor in embeddings.items() if tensor is not None}

    def _decode(self, latents: torch.Tensor) -> list[Pixels]:
        """Latents to pixels, as the stock pipelines do it, in capped batches."""
        vae = self._pipeline.vae
        mean, std = (getattr(vae.config, f"latents_{name}", None) for name in ("mean", "std"))
        if mean is not None and std is not None:
            mean, std = (latents.new_tensor(value).view(1, -1, 1, 1) for value in (mean, std))
            latents = latents * std / vae.config.scaling_factor + mean
        else:
            latents = latents / vae.config.scaling_factor
        images: list[Pixels] = []
        for part in latents.split(DECODE_BATCH_MAX):
            decoded = vae.decode(part, return_dict=False)[0]
            unit = self._pipeline.image_processor.postprocess(decoded, output_type="pt")
            pixels = (unit.float() * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
            images.extend(pixels.cpu().numpy())
        return images

    def _timed(self, stage: Callable[[], Any]) -> tuple[Any, float]:
        """A stage's result and its seconds, the device's work included."""
        started_s = time.perf_counter()
        result = stage()
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return result, time.perf_counter() - started_s

    def _start_compute(self, threads: int) -> None:
        """Prepare the compute thread: its torch threads, and a lower priority on a CPU.

        Niceness belongs to a thread in Linux and passes to the threads it starts, so that torch
        computes behind the event loop, the proxy and a load generator on the same machine.
        """
        torch.set_num_threads(threads)
        if self._device.type == "cpu":
            with contextlib.suppress(OSError):
                os.nice(CPU_NICENESS)


def start(settings: Settings) -> DiffusionModel:
    """The model of these settings, loaded and warm.

    Raises:
        ModelError: It cannot be loaded on this device.
    """
    device = pick_device(settings.device)
    pipeline = load(settings.model, settings.weights, device)
    model = DiffusionModel(pipeline, threads=settings.cpu_threads)
    model.warm_up(settings)
    return model
