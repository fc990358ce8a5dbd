"""A stand-in that computes nothing: it isolates the serving layer. Reports call it no model."""

import asyncio
import base64
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from serve.engine.forecast import StepRate
from serve.engine.request import (
    Decoded,
    Encoding,
    Generated,
    Measured,
    Prepared,
    Recipe,
    Row,
    Size,
    Tick,
    Ticked,
)
from serve.image_files import encode

DECODE_BATCH = 8
KEPT_BYTES = 256 * 2**20  # of prepared files
# All images of a stub are this one.
Picture: TypeAlias = Literal["prepared"]


class StubModel:
    """Takes `step_s` for a step of any batch and `fixed_s` for decoding any batch.

    Its FLOPs are nominal, one a step of an image: steps of any batch take the same time.

    Args:
        fixed_s: Of a batch.
        step_s: Of a step.
        image_bytes: Least size of a file.
        outage_s: From when after the first request nothing advances, and for how long.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        *,
        fixed_s: float,
        step_s: float,
        image_bytes: int,
        outage_s: tuple[float, float] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._fixed_s = fixed_s
        self._step_s = step_s
        self._image_bytes = image_bytes
        self._outage_s = outage_s
        self._clock = clock
        self._first_s: float | None = None
        self._files: dict[tuple[int, int, Encoding], bytes] = {}
        self.whole_every = 1
        self.rate = StepRate()
        for step_flop in (1.0, 100.0):
            self.rate.observe(step_flop, step_s)

    async def generate(self, recipe: Recipe, rows: Sequence[Row]) -> Generated[Picture]:
        """Wait the stated time."""
        denoise_s = recipe.steps * self._step_s
        await self._work(self._fixed_s + denoise_s)
        images: list[Picture | Exception] = ["prepared"] * len(rows)
        return Generated(images=images, text_s=0.0, denoise_s=denoise_s, decode_s=self._fixed_s)

    async def step_flops(self, recipe: Recipe) -> Sequence[float]:
        """One each, nominally."""
        return [1.0] * recipe.steps

    def image_flop(self, recipe: Recipe) -> float | None:
        """None: nothing is computed."""
        return None

    async def prepare(self, asked: Sequence[tuple[Recipe, Row]]) -> Sequence[Prepared | Exception]:
        """Nothing to prepare."""
        return [Prepared(state=None)] * len(asked)

    async def tick(self, tick: Tick) -> Ticked:
        """Wait a step."""
        started_s = self._clock()
        await self._work(self._step_s)
        seconds = self._clock() - started_s
        return Ticked(
            latents=dict.fromkeys(tick.finishes),
            previews=dict.fromkeys(tick.previews),
            measured=[Measured(step_flop=tick.step_flop, seconds=seconds)],
        )

    def release(self, size: Size) -> None:
        """Nothing is held."""

    def decode_batch(self, size: Size) -> int:
        """As many as come."""
        return DECODE_BATCH

    async def decode(
        self, size: Size, latents: Sequence[Any]
    ) -> Sequence[Decoded[Picture] | Exception]:
        """Wait the stated time."""
        await self._work(self._fixed_s)
        return [Decoded[Picture]("prepared")] * len(latents)

    async def encode(self, image: Picture, recipe: Recipe, encoding: Encoding) -> bytes:
        """The prepared file of that size and format, in base64."""
        asked = (recipe.width, recipe.height, encoding)
        file = self._files.get(asked)
        if file is None:  # on a thread, so that no other request waits for it
            file = await asyncio.to_thread(prepared_base64, *asked, self._image_bytes)
            self._keep(asked, file)
        return file

    def _keep(self, asked: tuple[int, int, Encoding], file: bytes) -> None:
        """Remember a file, and forget the oldest beyond `KEPT_BYTES`."""
        self._files[asked] = file
        while sum(map(len, self._files.values())) > KEPT_BYTES:
            del self._files[next(iter(self._files))]

    def image_s(self, steps: int) -> float:
        """Seconds an image takes alone."""
        return self._fixed_s + steps * self._step_s

    async def _work(self, seconds: float) -> None:
        """Wait so long, and through the outage if it comes between."""
        now_s = self._clock()
        self._first_s = now_s if self._first_s is None else self._first_s
        held_s = 0.0
        if self._outage_s is not None:
            held_s = outage_within(now_s - self._first_s, seconds, *self._outage_s)
        if seconds + held_s > 0:  # no time is no reason for a turn of the event loop
            await asyncio.sleep(seconds + held_s)


def outage_within(start_s: float, seconds: float, begin_s: float, length_s: float) -> float:
    """How much longer `seconds` of work from `start_s` take for an outage; times from one zero."""
    if start_s + seconds <= begin_s:
        return 0.0
    return max(0.0, begin_s + length_s - max(start_s, begin_s))


def prepared_base64(width: int, height: int, encoding: Encoding, least_bytes: int) -> bytes:
    """A gradient of that size as a base64 file, padded with zeros behind the image's end.

    Decoders stop at the end that the format marks, so the file still decodes.
    """
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[..., 0] = np.linspace(0, 255, width, dtype=np.uint8)[None, :]
    pixels[..., 1] = np.linspace(0, 255, height, dtype=np.uint8)[:, None]
    return base64.b64encode(encode(pixels, encoding).ljust(least_bytes, b"\0"))
