"""A diffusers pipeline as a replica runs it: behind the engines' `Model` protocol.

Three threads compute, so that the event loop stays free: one denoises, one embeds texts and
prepares images, one decodes; on a GPU the latter two work on streams of their own beside the first.
A pool of threads makes files, and one more counts what new sizes cost.
"""

# mypy: disallow-untyped-calls=False
# diffusers and parts of torch.cuda are untyped.

import asyncio
import contextlib
import logging
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import msgspec
import torch

from serve.devices.cuda_driver import gpu_uuid
from serve.diffusion.decoder import Decoder
from serve.diffusion.preparation import Preparation
from serve.diffusion.size_counting import Counting
from serve.diffusion.slots import Start
from serve.diffusion.stepper import Stepper
from serve.diffusion.stock_loop import StockLoop
from serve.engine.forecast import StepRate
from serve.engine.request import (
    Decoded,
    Encoding,
    Generated,
    Prepared,
    Recipe,
    Row,
    Size,
    Tick,
    Ticked,
)
from serve.image_files import Pixels, encode, to_base64
from serve.models.flops import Costs
from serve.models.networks import network_of
from serve.shortcuts import NONE, Shortcuts

ENCODE_THREADS = 4
CPU_NICENESS = 5
WARM_UP_STEPS = 3
# Whose latents tell what the shortcuts change.
ERROR_SEEDS = (1, 2)

Result = TypeVar("Result")


class DiffusionModel:
    """One pipeline on one device.

    Args:
        pipeline: What denoises.
        slots: Images of one size in one call of the denoiser.
        threads: torch's CPU threads in each computing thread.
        buckets: Rows of a batch that are recorded or compiled for; None: the usual ones.
        shortcuts: Which steps of an image are cut short (policy `step`).
        cache_layers: Layers of the UNet's last block that run in every step, where
            `shortcuts` reuse the deep features.
        graphs: Whether the steps of warmed sizes are recorded and replayed: as CUDA graphs, or
            on a CPU as traces.
        quicken: Makes the pipeline fast, in the thread that will denoise: what cuDNN plans there
            serves no other. Returns the compiled denoiser for warmed sizes; None: the plain one.

    Attributes:
        rate: What its steps take, from its warm-up on.
        whole_every: Every how many steps the whole denoiser runs.
        preparation: Rows to what their first step needs; for the preparing thread.
        stepper: The slots; for the denoising thread.
        decoder: The VAE; for the decoding thread.
        costs: What images cost in FLOPs.
    """

    def __init__(
        self,
        pipeline: Any,
        *,
        slots: int,
        threads: int,
        buckets: Sequence[int] | None = None,
        shortcuts: Shortcuts = NONE,
        cache_layers: int = 1,
        graphs: bool = False,
        quicken: Callable[[], torch.nn.Module | None] = lambda: None,
    ) -> None:
        pipeline.set_progress_bar_config(disable=True)
        # Of every prompt cut it would log the rest, padding and all; the answer tells it instead.
        logging.getLogger(type(pipeline).__module__).setLevel(logging.ERROR)
        self.rate = StepRate()
        self._pipeline = pipeline
        self._slots = slots
        self._device: torch.device = pipeline.device
        self._denoising = ThreadPoolExecutor(1, "denoise", self._start_thread, (threads, False))
        compiled = self._denoising.submit(quicken).result()
        network = network_of(pipeline)
        self.whole_every = shortcuts.cache_steps
        layers = cache_layers if self.whole_every > 1 else None
        self.costs = Costs(pipeline, shortcuts, layers)
        self.preparation = Preparation(network, shortcuts)
        is_cuda = self._device.type == "cuda"
        self.stepper = Stepper(
            network,
            slots=slots,
            buckets=buckets,
            cache_layers=layers,
            captured=graphs and is_cuda,
            traced=graphs and not is_cuda,
            compiled=compiled,
        )
        self.decoder = Decoder(network)
        self._stock = StockLoop(network, self.decoder)
        self._preparing = ThreadPoolExecutor(1, "prepare", self._start_thread, (threads, True))
        self._counting = ThreadPoolExecutor(1, "count", self._start_thread, (threads, False))
        self._new_sizes = Counting(self.costs, self._counting)
        self._decoding = ThreadPoolExecutor(1, "decode", self._start_thread, (threads, False))
        self._encoding = ThreadPoolExecutor(ENCODE_THREADS, "encode")

    @property
    def device_name(self) -> str:
        """`cuda` or `cpu`."""
        return self._device.type

    @property
    def gpu_uuid(self) -> str | None:
        """The GPU's UUID as NVML writes it, or None on a CPU."""
        if self._device.type != "cuda":
            return None
        about = torch.cuda.get_device_properties(self._device)
        return gpu_uuid(about.name, str(about.uuid))

    async def step_flops(self, recipe: Recipe) -> Sequence[float]:
        """Floating point operations of each step of one image; counted for a few sizes only.

        Raises:
            RefusedError: Too many wait whose sizes are new, and so is this one's.
        """
        await self._new_sizes.know(recipe.size)
        return self.costs.steps(recipe)

    def image_flop(self, recipe: Recipe) -> float | None:
        """Floating point operations of one image, from prompt to pixels; None if not counted."""
        return None if self.costs.known(recipe.size) is None else self.costs.image(recipe)

    async def generate(self, recipe: Recipe, rows: Sequence[Row]) -> Generated[Pixels]:
        """Denoise one whole batch with the stock pipeline's loop."""
        await self.step_flops(recipe)  # so that the answer can tell its FLOPs
        return await _in(self._denoising, lambda: self._stock.generate(recipe, rows))

    async def prepare(self, asked: Sequence[tuple[Recipe, Row]]) -> Sequence[Prepared | Exception]:
        """Embed the texts, draw the noise, tabulate the samplers."""
        return await _in(self._preparing, lambda: self.preparation.prepare(asked))

    async def tick(self, tick: Tick) -> Ticked:
        """Advance the active slots by one step."""
        return await _in(self._denoising, lambda: self.stepper.tick(tick))

    def release(self, size: Size) -> None:
        """Give the memory of a size's slots back, unless it was warmed up to stay."""
        self.stepper.release(size)

    def decode_batch(self, size: Size) -> int:
        """Most latents of that size to decode at once."""
        return self.decoder.batch(size)

    async def decode(
        self, size: Size, latents: Sequence[Any]
    ) -> Sequence[Decoded[Pixels] | Exception]:
        """Latents, as `tick` gave them, to pixels."""
        return await _in(self._decoding, lambda: self.decoder.decode(size, latents))

    async def encode(self, image: Pixels, recipe: Recipe, encoding: Encoding) -> bytes:
        """An image's file in base64."""
        return await _in(self._encoding, lambda: to_base64(encode(image, encoding)))

    def warm_up_batches(self, recipe: Recipe, largest: int) -> None:
        """Run the stock loop once on a CPU, at its smallest and largest batch on a GPU."""
        recipe = _with_steps(recipe, 2)
        row = Row(prompt="warm-up", negative_prompt="", seed=0)
        self.costs.of(recipe.size)
        for size in {1, largest} if self.device_name == "cuda" else {1}:
            self._denoising.submit(self._stock.generate, recipe, [row] * size).result()

    def warm_up_steps(self, recipes: Sequence[Recipe]) -> None:
        """Make each recipe's size ready to serve at every batch, and learn what its steps take.

        Raises:
            OutOfMemoryError: One image alone does not fit.
            torch.OutOfMemoryError: The largest batch does not fit as a CUDA graph.
            SolverError: The pipeline's scheduler cannot be tabulated.
        """
        for recipe in recipes:
            self.costs.of(recipe.size)
            self._warm_up_size(_with_steps(recipe, WARM_UP_STEPS))
        self.rate.anchor()

    def _warm_up_size(self, recipe: Recipe) -> None:
        rows = [
            (recipe, Row(prompt=f"warm-up {slot}", negative_prompt="", seed=slot))
            for slot in range(self._slots)  # texts of their own, as a full batch has them
        ]
        starts = self._preparing.submit(self.preparation.prepare, rows).result()
        states = {}
        for slot, start in enumerate(starts):
            if isinstance(start, Exception):
                raise start
            states[slot] = start.state
        self._denoising.submit(self.stepper.keep, recipe.size, states[0]).result()
        flops = self.costs.steps(recipe)
        latents: Sequence[Any] = []
        for size in sorted({1, max(1, self._slots // 2), self._slots}):
            for step in range(recipe.steps):
                tick = Tick(
                    size=recipe.size,
                    joins={slot: states[slot] for slot in range(size)} if step == 0 else {},
                    active=dict.fromkeys(range(size), step),
                    step_flop=size * flops[step],
                    finishes=list(range(size)) if step == recipe.steps - 1 else [],
                )
                ticked = self._denoising.submit(self.stepper.tick, tick).result()
                for lost in ticked.lost.values():
                    raise lost
                measured = [
                    *ticked.measured,
                    *self._denoising.submit(self.stepper.catch_up).result(),
                ]
                latents = list(ticked.latents.values())
                for each in measured if step > 0 else ():  # the first one pays for set-up
                    self.rate.observe(each.step_flop, each.seconds)
        most = self.decoder.batch(recipe.size)
        largest = min(most, self._slots) if self.device_name == "cuda" else 1
        for size in range(1, largest + 1):
            decoding = self._decoding.submit(self.decoder.decode, recipe.size, latents[:size])
            for image in decoding.result():
                if isinstance(image, Exception):
                    raise image

    def shortcut_error(self, recipe: Recipe) -> float:
        """How far images with shortcuts are from those of the full loop, after their warm-up.

        ‖x − x'‖ / ‖x'‖, x the final latents of images of `ERROR_SEEDS` with the shortcuts, x'
        without. It is what these weights make of it: of random ones, no more than a check.
        """
        off = norm = 0.0
        for seed in ERROR_SEEDS:
            row = Row(prompt="a red fox in the snow", negative_prompt="", seed=seed)
            (prepared,) = self._preparing.submit(self.preparation.prepare, [(recipe, row)]).result()
            if isinstance(prepared, Exception):
                raise prepared
            exact = msgspec.structs.replace(prepared.state, shortcuts=NONE)
            x, full = (self._denoise_alone(recipe, start) for start in (prepared.state, exact))
            off += float((x - full).square().sum())
            norm += float(full.square().sum())
        return math.sqrt(off / norm)

    def _denoise_alone(self, recipe: Recipe, start: Start) -> torch.Tensor:
        """One image's final latent, on the host."""
        ticked = Ticked()
        for step in range(recipe.steps):
            tick = Tick(
                size=recipe.size,
                joins={0: start} if step == 0 else {},
                active={0: step},
                finishes=[0] if step == recipe.steps - 1 else [],
            )
            ticked = self._denoising.submit(self.stepper.tick, tick).result()
            for lost in ticked.lost.values():
                raise lost
        self._denoising.submit(self.stepper.catch_up).result()
        latent: torch.Tensor = ticked.latents[0][0]
        return self._denoising.submit(latent.cpu).result()

    def _start_thread(self, threads: int, has_own_stream: bool) -> None:
        """Prepare a computing thread: its torch threads, its stream, lower priority on a CPU.

        Niceness belongs to a thread in Linux and passes to the threads it starts, so that torch
        computes behind the event loop, the proxy and a load generator on the same machine.
        """
        torch.set_num_threads(threads)
        if self._device.type == "cpu":
            with contextlib.suppress(OSError):
                os.nice(CPU_NICENESS)
        elif has_own_stream:
            # Before the steps, which fill the device: their kernels are few and soon done.
            torch.cuda.set_stream(torch.cuda.Stream(self._device, priority=-1))


async def _in(pool: ThreadPoolExecutor, run: Callable[[], Result]) -> Result:
    return await asyncio.get_running_loop().run_in_executor(pool, run)


def _with_steps(recipe: Recipe, steps: int) -> Recipe:
    return msgspec.structs.replace(recipe, steps=steps)
