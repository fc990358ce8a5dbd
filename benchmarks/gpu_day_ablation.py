"""What each choice is worth: SDXL's denoiser at a full batch, one choice changed at a time.

Then one block of each kind, compiled (benchmarks.gpu_day_blocks). Last the loop as a replica serves
it, and with each setting that changes the images, with the error it measures. Weights are random,
so errors are of random weights too: they say nothing of quality.

Each variant has a time-out of its own and is told as it comes.
"""

import functools
import importlib
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import msgspec
import torch
from torch import nn

from benchmarks.gpu_day_blocks import blocks
from benchmarks.gpu_day_calls import denoiser_call, source, timed
from benchmarks.gpu_day_loops import loop_s
from benchmarks.gpu_day_models import settings_of, unknown, words_of
from benchmarks.gpu_day_part import CLOCK, NEEDS_GPU, Session, session
from serve.diffusion.startup import default_recipe, lay_out, start
from serve.models.loading import load, pick_device
from serve.models.network import Network
from serve.models.networks import network_of
from serve.settings import Settings

LIMIT_S = 15.0  # a variant
START_LIMIT_S = 60.0  # ... for which a model is started
# Changed alone from what a replica runs; the fact of `GET /v1/models` that tells its error.
APPROXIMATE = {"fp8": ("true", "fp8"), "cache_steps": ("2", "shortcuts"),
               "guidance_until": ("0.67", "shortcuts")}  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Measure; returns the exit code."""
    part, _ = session("gpu_day_ablation", __doc__, argv)
    settings = settings_of(words_of("sdxl", rehearse=part.rehearse), part.device)
    network = part.attempt("build", "s", lambda: _build(part, settings))
    if network is not None:
        with torch.inference_mode():
            _variants(part, network, settings)
            blocks(part, network.denoiser, denoiser_call(network, settings))
            _fused(part, network, settings)
        del network
    part.attempt("as served", "s", functools.partial(_served, part), START_LIMIT_S)
    for key, (value, fact) in APPROXIMATE.items():
        name = f"{key}={value}"
        run = functools.partial(_served, part, key, value, fact)
        part.attempt(name, "s", run, START_LIMIT_S)
    return part.end()


def _build(part: Session, settings: Settings) -> Network:
    began_s = time.perf_counter()
    device = pick_device(settings.device)
    pipeline = load(settings.model, settings.weights, device)
    lay_out(pipeline)
    part.book.add("build", time.perf_counter() - began_s, "s", CLOCK)
    return network_of(pipeline)


def _variants(part: Session, network: Network, settings: Settings) -> None:
    """The whole denoiser at a full batch, by its kernels, its attention and its layout."""
    call = denoiser_call(network, settings)
    rows = 2 * settings.batch_limit

    def time_it(name: str, around: Any = nullcontext, *, captured: bool = part.on_gpu) -> None:
        def run() -> None:
            with around():
                seconds = timed(part, call, captured=captured)
            how = source(part, captured=captured)
            part.book.add(name, seconds, "s", how, f"a call of {rows} rows")

        part.attempt(name, "s", run, LIMIT_S)

    time_it("graphs off", captured=False)
    on_gpu_only = {
        "graphs on": nullcontext,
        "cudnn.benchmark": _cudnn_benchmark,
        "attention by cuDNN": functools.partial(_cudnn_attention, on=True),
        "attention without cuDNN": functools.partial(_cudnn_attention, on=False),
    }
    for name, around in on_gpu_only.items():
        if part.on_gpu:
            time_it(name, around)
        else:
            part.book.lack(name, "s", NEEDS_GPU)
    time_it("NCHW instead of channels last", functools.partial(_nchw, network.denoiser))


@contextmanager
def _cudnn_benchmark() -> Iterator[None]:
    cudnn: Any = torch.backends.cudnn
    before = cudnn.benchmark
    cudnn.benchmark = True
    try:
        yield
    finally:
        cudnn.benchmark = before


@contextmanager
def _cudnn_attention(*, on: bool) -> Iterator[None]:
    cuda: Any = torch.backends.cuda
    before = cuda.cudnn_sdp_enabled()
    cuda.enable_cudnn_sdp(on)
    try:
        yield
    finally:
        cuda.enable_cudnn_sdp(before)


@contextmanager
def _nchw(module: nn.Module) -> Iterator[None]:
    plain: Any = module
    plain.to(memory_format=torch.contiguous_format)
    try:
        yield
    finally:
        plain.to(memory_format=torch.channels_last)


def _fused(part: Session, network: Network, settings: Settings) -> None:
    """The denoiser with the project's own fused kernels; what is above runs without them."""
    try:
        fusion = importlib.import_module("serve.acceleration.fused.fusion")
    except ModuleNotFoundError:
        part.book.lack("own fused kernels", "s", "this version has none")
        return

    def run() -> None:
        made = fusion.fuse_pipeline(network.pipeline, network.device)
        seconds = timed(part, denoiser_call(network, settings), captured=part.on_gpu)
        how = source(part, captured=part.on_gpu)
        part.book.add("own fused kernels", seconds, "s", how, str(msgspec.to_builtins(made)))

    part.attempt("own fused kernels", "s", run, 2 * LIMIT_S)


def _served(part: Session, key: str = "", value: str = "", fact: str = "") -> None:
    """A loop of a full batch as a replica runs it, with one setting changed, and its error."""
    name = f"{key}={value}" if key else "as served"
    if key == "fp8" and not part.on_gpu:
        part.book.lack(name, "s", f"{NEEDS_GPU} of capability 8.9 or later")
        return
    words = words_of("sdxl", rehearse=part.rehearse) | ({key: value} if key else {})
    full = int(words["max_batch"])  # images, and without guidance as many rows
    words["buckets"] = ",".join(map(str, sorted({2, full, 2 * full})))
    if key and key in unknown(words):
        part.book.lack(name, "s", "this version has no such setting")
        return
    settings = settings_of(words, part.device)
    warm = start(settings)
    recipe = default_recipe(settings)
    seconds = loop_s(warm.model, recipe, settings.batch_limit)
    note = f"{recipe.steps} steps of {settings.batch_limit} images"
    part.book.add(name, seconds / recipe.steps, "s", f"{CLOCK}, mean step of a loop", note)
    if not fact:
        return
    told: Any = warm.facts.get(fact) or {}
    error = told.get("relative_error")
    if error is None:
        part.book.lack(f"{name}: error", "relative", "the replica told none")
    else:
        of = "the denoiser's output" if fact == "fp8" else "latents"
        part.book.add(f"{name}: error", error, "relative", f"{of}, random weights")


if __name__ == "__main__":
    sys.exit(main())
