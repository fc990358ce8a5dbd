"""Policies `none` and `request`: the stock pipeline's own loop over a whole batch."""

# mypy: disallow-untyped-calls=False
# diffusers ships no types.

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch

from serve.diffusion.decoder import Decoder
from serve.diffusion.out_of_memory import split_on_oom
from serve.diffusion.solver import variant
from serve.engine.request import Decoded, Generated, Recipe, Row
from serve.image_files import Pixels
from serve.models.network import Network

Result = TypeVar("Result")


class StockLoop:
    """Runs whole batches; only the pipeline's three stages are called apart, to be timed.

    Args:
        network: The pipeline.
        decoder: Its VAE.
    """

    def __init__(self, network: Network, decoder: Decoder) -> None:
        self._network = network
        self._decoder = decoder
        self._pipeline = network.pipeline
        self._scheduler = network.pipeline.scheduler

    @torch.inference_mode()
    def generate(self, recipe: Recipe, rows: Sequence[Row]) -> Generated[Pixels]:
        """One batch; images are uint8 of shape (height, width, 3)."""
        stages = {"text": 0.0, "denoise": 0.0, "decode": 0.0}

        def run(part: Sequence[Row]) -> list[Pixels | Exception]:
            arguments = self._timed("text", stages, lambda: self._embed(recipe, part))
            latents = self._timed("denoise", stages, lambda: self._denoise(recipe, part, arguments))
            ready = [(latent, None) for latent in latents]
            decoded = self._timed(
                "decode", stages, lambda: self._decoder.decode(recipe.size, ready)
            )
            return [each.image if isinstance(each, Decoded) else each for each in decoded]

        images = split_on_oom(rows, run)
        return Generated(
            images=images,
            text_s=stages["text"],
            denoise_s=stages["denoise"],
            decode_s=stages["decode"],
        )

    def _embed(self, recipe: Recipe, rows: Sequence[Row]) -> dict[str, Any]:
        """The keyword arguments that stand for the prompts in the pipeline's call."""
        told = self._network.embed([row.prompt for row in rows], negative=False)
        stacked = tuple(map(torch.stack, zip(*told, strict=True)))
        if not recipe.is_guided:
            return self._network.stock_arguments(stacked, None, recipe.guidance_scale)
        untold = self._network.embed([row.negative_prompt for row in rows], negative=True)
        return self._network.stock_arguments(
            stacked, tuple(map(torch.stack, zip(*untold, strict=True))), recipe.guidance_scale
        )

    def _denoise(
        self, recipe: Recipe, rows: Sequence[Row], arguments: dict[str, Any]
    ) -> torch.Tensor:
        self._pipeline.scheduler = variant(self._scheduler, recipe.scheduler)
        try:
            latents: torch.Tensor = self._pipeline(
                **arguments,
                width=recipe.width,
                height=recipe.height,
                num_inference_steps=recipe.steps,
                generator=[torch.Generator().manual_seed(row.seed) for row in rows],
                output_type="latent",
            ).images
        finally:
            self._pipeline.scheduler = self._scheduler
        return latents

    def _timed(self, stage: str, stages: dict[str, float], run: Callable[[], Result]) -> Result:
        """A stage's result, its seconds added up, the device's work included."""
        started_s = time.perf_counter()
        result = run()
        if self._network.device.type == "cuda":
            torch.cuda.synchronize(self._network.device)
        stages[stage] += time.perf_counter() - started_s
        return result
