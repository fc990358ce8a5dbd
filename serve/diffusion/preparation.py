"""From a row to what its first step needs: texts embedded, noise drawn, sampler tabulated."""

# mypy: disallow-untyped-calls=False
# Parts of torch.cuda are untyped.

import time
from collections.abc import Mapping, Sequence
from functools import lru_cache

import torch

from serve.catalog import SchedulerName
from serve.diffusion.slots import Start
from serve.diffusion.solver import SolverError, Table, tabulate, variant
from serve.diffusion.stream_events import wait
from serve.diffusion.text_embeddings import Text, Texts, truncation
from serve.engine.request import OutOfMemoryError, Prepared, Recipe, Row, Size
from serve.models.network import Conditioning, Network
from serve.shortcuts import NONE, Shortcuts

TABLES = 512


class Preparation:
    """Prepares rows on the device; for one thread.

    Args:
        network: The pipeline.
        shortcuts: Which steps of its images are cut short.
    """

    def __init__(self, network: Network, shortcuts: Shortcuts = NONE) -> None:
        self._network = network
        self._shortcuts = shortcuts
        self._pipeline = network.pipeline
        self._scheduler = network.pipeline.scheduler
        self._texts = Texts(network)
        self._tables = lru_cache(TABLES)(self._tabulate)

    @torch.inference_mode()
    def prepare(self, asked: Sequence[tuple[Recipe, Row]]) -> list[Prepared | Exception]:
        """What each row begins with, or why it cannot begin; texts are embedded together."""
        started_s = time.perf_counter()
        made = self._texts.embed(
            text for recipe, row in asked for text in _texts(recipe, row).values()
        )
        told = [self._told(recipe, row, made) for recipe, row in asked]
        # This thread waits, so that no step of images under way has to wait for a text.
        wait(self._network.device)
        text_s = time.perf_counter() - started_s
        return [
            each if isinstance(each, Exception) else self._prepared(*row, each, text_s)
            for row, each in zip(asked, told, strict=True)
        ]

    def _told(
        self, recipe: Recipe, row: Row, made: Mapping[Text, Conditioning | OutOfMemoryError]
    ) -> dict[str, Conditioning] | OutOfMemoryError:
        """A row's conditionings by the role of their text."""
        told = {}
        for role, text in _texts(recipe, row).items():
            embedded = made[text]
            if isinstance(embedded, OutOfMemoryError):
                return embedded
            told[role] = self._network.condition(embedded, recipe.width, recipe.height)
        return told

    def _prepared(
        self, recipe: Recipe, row: Row, told: dict[str, Conditioning], text_s: float
    ) -> Prepared | Exception:
        try:
            table = self._tables(recipe.scheduler, recipe.steps, recipe.size)
        except SolverError as err:  # this row's own fault: the others begin
            return err
        latent = self._network.noise(row.seed, recipe.width, recipe.height) * table.noise_scale
        start = Start(
            latent=latent.pin_memory() if self._network.device.type == "cuda" else latent,
            told=told["prompt"],
            untold=told.get("negative_prompt"),
            table=table,
            guidance_scale=recipe.guidance_scale,
            shortcuts=self._shortcuts,
        )
        words = {role: text.words for role, text in _texts(recipe, row).items()}
        return Prepared(state=start, text_s=text_s, truncated=truncation(self._pipeline, words))

    def _tabulate(self, name: SchedulerName, steps: int, size: Size) -> Table:
        timesteps = self._network.timesteps(steps, size.width, size.height)
        return tabulate(variant(self._scheduler, name), steps, **timesteps)


def _texts(recipe: Recipe, row: Row) -> dict[str, Text]:
    """An image's texts by the API's names: the prompt and, with guidance, the negative one."""
    prompt = {"prompt": Text(row.prompt, is_negative=False)}
    if not recipe.is_guided:
        return prompt
    return prompt | {"negative_prompt": Text(row.negative_prompt, is_negative=True)}
