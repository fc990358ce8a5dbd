"""From a row to what its first step needs: texts embedded, noise drawn, sampler tabulated."""

# mypy: disallow-untyped-calls=False
# Parts of torch.cuda are untyped.

import time
from collections.abc import Sequence
from functools import lru_cache

import torch

from serve.network import Conditioning, Network
from serve.settings import SchedulerName
from serve.slots import Start
from serve.solver import Table, tabulate, variant
from serve.texts import Text, Texts, truncation
from serve.work import OutOfMemoryError, Prepared, Recipe, Row, Size

TABLES = 512


class Preparation:
    """Prepares rows on the device; for one thread.

    Args:
        network: The pipeline.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
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
        ready = _recorded(self._network.device)
        text_s = time.perf_counter() - started_s
        prepared: list[Prepared | Exception] = []
        for recipe, row in asked:
            texts = _texts(recipe, row)
            told: dict[str, Conditioning] = {}
            for role, text in texts.items():
                embedded = made[text]
                if isinstance(embedded, OutOfMemoryError):
                    prepared.append(embedded)
                    break
                told[role] = self._network.condition(embedded, recipe.width, recipe.height)
            else:
                words = {role: text.words for role, text in texts.items()}
                prepared.append(
                    Prepared(
                        state=self._start(recipe, row, told, ready),
                        text_s=text_s,
                        truncated=truncation(self._pipeline, words),
                    )
                )
        return prepared

    def _start(
        self,
        recipe: Recipe,
        row: Row,
        told: dict[str, Conditioning],
        ready: torch.cuda.Event | None,
    ) -> Start:
        table = self._tables(recipe.scheduler, recipe.steps, recipe.size)
        latent = self._network.noise(row.seed, recipe.width, recipe.height) * table.noise_scale
        return Start(
            latent=latent if ready is None else latent.pin_memory(),
            told=told["prompt"],
            untold=told.get("negative_prompt"),
            table=table,
            guidance_scale=recipe.guidance_scale,
            ready=ready,
        )

    def _tabulate(self, name: SchedulerName, steps: int, size: Size) -> Table:
        timesteps = self._network.timesteps(steps, size.width, size.height)
        return tabulate(variant(self._scheduler, name), steps, **timesteps)


def _texts(recipe: Recipe, row: Row) -> dict[str, Text]:
    """An image's texts by the API's names: the prompt and, with guidance, the negative one."""
    prompt = {"prompt": Text(row.prompt, is_negative=False)}
    if not recipe.is_guided:
        return prompt
    return prompt | {"negative_prompt": Text(row.negative_prompt, is_negative=True)}


def _recorded(device: torch.device) -> torch.cuda.Event | None:
    """An event recorded on the current stream; None on a CPU, where all is done already."""
    if device.type != "cuda":
        return None
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(device))
    return event
