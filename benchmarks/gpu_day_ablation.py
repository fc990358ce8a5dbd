"""What each choice is worth: SDXL's denoiser at a full batch, one choice changed at a time.

Then one transformer block and one resnet, of the most frequent shape, as they are, compiled, and
compiled with FP8 layers: what a block saves times the blocks of that shape predicts what compiling
all of them would save, in seconds instead of minutes. Last the shortcuts that change the images, as
a replica serves them, with the error it measures. Weights are random, so errors are of random
weights too: they say nothing of quality.

Each variant has a time-out of its own and is told as it comes.
"""

import copy
import functools
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import msgspec
import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D
from torch import nn

from benchmarks.gpu_day_models import loop_s, settings_of, unknown, words_of
from benchmarks.gpu_day_part import CLOCK, NEEDS_GPU, Session, session
from serve.compilation import compile_module
from serve.fp8 import is_supported, quantize
from serve.loading import load, pick_device
from serve.network import Network
from serve.networks import network_of
from serve.settings import Settings
from serve.start import default_recipe, lay_out, start

LIMIT_S = 15.0  # a variant
COMPILE_LIMIT_S = 45.0  # ... that is compiled
REHEARSAL_COMPILE_LIMIT_S = 120.0  # ... by a C++ compiler
START_LIMIT_S = 60.0  # ... for which a model is started
BUDGET_S = 2.0  # of timing
LEAST_CALLS = 3
WARM_UP_CALLS = 3
TIMESTEP = 500.0  # the middle of the samplers' thousand
KINDS: tuple[type[nn.Module], ...] = (BasicTransformerBlock, ResnetBlock2D)
SHORTCUTS = {"cache_steps": "2", "guidance_until": "0.67"}

Call = Callable[[], object]


def main(argv: list[str] | None = None) -> int:
    """Measure; returns the exit code."""
    part, _ = session("gpu_day_ablation", __doc__, argv)
    settings = settings_of(words_of("sdxl", rehearse=part.rehearse), part.device)
    network = part.attempt("build", "s", lambda: _build(part, settings))
    if network is not None:
        with torch.inference_mode():
            _variants(part, network, settings)
            _blocks(part, network, settings)
            _fused(part, network, settings)
        del network
    for key, value in SHORTCUTS.items():
        name = f"{key}={value}"
        run = functools.partial(_shortcut, part, key, value)
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
            source = _source(part, captured=captured)
            part.book.add(name, seconds, "s", source, f"a call of {rows} rows")

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


def denoiser_call(network: Network, settings: Settings) -> Call:
    """A call of the denoiser at a full batch with guidance, on inputs that stay."""
    recipe = default_recipe(settings)
    rows = 2 * settings.batch_limit
    with torch.inference_mode():
        (text,) = network.embed(["a red fox"], negative=False)
        told = network.condition(text, recipe.width, recipe.height)
        batch = tuple(each.expand(rows, *each.shape).contiguous() for each in told)
        drawn = network.noise(0, recipe.width, recipe.height).to(network.device, network.dtype)
        x = drawn.expand(rows, *drawn.shape).contiguous()
    t = torch.full((rows,), TIMESTEP, device=network.device)
    denoise = network.denoise(recipe.width, recipe.height)
    return lambda: denoise(x, t, batch)


def timed(part: Session, call: Call, *, captured: bool) -> float:
    """Seconds of a call, the median, the device's work included."""
    if captured:
        call = _captured(call)
    budget_s = 0.3 if part.rehearse else BUDGET_S
    once_s = _once_s(part, call)  # the first chooses kernels
    once_s = _once_s(part, call)
    calls = max(LEAST_CALLS, int(budget_s / max(once_s, 1e-6)))
    return statistics.median(_once_s(part, call) for _ in range(min(calls, 200)))


def _once_s(part: Session, call: Call) -> float:
    """Seconds of one call."""
    if not part.on_gpu:
        began_s = time.perf_counter()
        call()
        return time.perf_counter() - began_s
    event: Any = torch.cuda.Event
    begin, end = event(enable_timing=True), event(enable_timing=True)
    begin.record()
    call()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / 1e3


def _captured(call: Call) -> Call:
    """The call as a CUDA graph."""
    cuda: Any = torch.cuda
    stream = cuda.Stream()
    stream.wait_stream(cuda.current_stream())
    with cuda.stream(stream):
        for _ in range(WARM_UP_CALLS):
            call()
    graph = cuda.CUDAGraph()
    with cuda.graph(graph, stream=stream):
        call()
    replay: Call = graph.replay
    return replay


def _source(part: Session, *, captured: bool) -> str:
    how = "CUDA events" if part.on_gpu else CLOCK
    return f"{how}, median, {'a CUDA graph' if captured else 'as it is'}"


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


def _blocks(part: Session, network: Network, settings: Settings) -> None:
    """One block of each kind: as it is, compiled, and compiled with FP8 layers."""
    call = denoiser_call(network, settings)
    for kind in KINDS:
        name = kind.__name__
        found = part.attempt(name, "s", lambda kind=kind: usual(network.denoiser, kind, call))
        if found is None:
            continue
        block, arguments, named, count, of = found
        told = f"times {count} of this shape, of {of} in all"
        base_s = part.attempt(
            name, "s", lambda b=block, a=arguments, n=named: timed_block(part, b, a, n), LIMIT_S
        )
        if base_s is None:
            continue
        part.book.add(name, base_s, "s", _source(part, captured=part.on_gpu), told)
        for with_fp8 in (False, True):
            label = f"{name}, compiled{', FP8' if with_fp8 else ''}"
            reason = is_supported(network.device) if with_fp8 else None
            if reason is not None:
                part.book.lack(label, "s", f"{NEEDS_GPU} of capability 8.9 or later")
                continue
            if part.rehearse and kind is not KINDS[-1]:  # one shows the way
                part.book.lack(label, "s", "not rehearsed: half a minute of a CPU's compiler")
                continue
            seconds = part.attempt(
                label,
                "s",
                lambda b=block, a=arguments, n=named, f=with_fp8: _compiled(part, b, a, n, f),
                REHEARSAL_COMPILE_LIMIT_S if part.rehearse else COMPILE_LIMIT_S,
            )
            if seconds is not None:
                part.book.add(label, seconds, "s", _source(part, captured=part.on_gpu), told)
                part.book.add(f"{label}: saves a step", count * (base_s - seconds), "s",
                              "predicted: its saving times its count", told)  # fmt: skip


def usual(
    denoiser: nn.Module, kind: type[nn.Module], call: Call
) -> tuple[nn.Module, tuple[Any, ...], dict[str, Any], int, int]:
    """A block of the kind's most frequent shape, its inputs, how many there are, and of how many.

    Raises:
        LookupError: The denoiser has none.
    """
    seen: list[tuple[nn.Module, tuple[Any, ...], dict[str, Any]]] = []

    def note(module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        seen.append((module, arguments, named))

    blocks = [module for module in denoiser.modules() if isinstance(module, kind)]
    hooks = [block.register_forward_pre_hook(note, with_kwargs=True) for block in blocks]
    try:
        call()
    finally:
        for hook in hooks:
            hook.remove()
    if not seen:
        raise LookupError(f"no {kind.__name__} in this denoiser")
    shapes = Counter(_shape(block, arguments, named) for block, arguments, named in seen)
    shape, count = shapes.most_common(1)[0]
    block, arguments, named = next(one for one in seen if _shape(*one) == shape)
    return block, arguments, named, count, len(seen)


def _shape(block: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> object:
    tensors = [*arguments, *named.values()]
    shapes = tuple(tuple(each.shape) for each in tensors if isinstance(each, torch.Tensor))
    return shapes, tuple(tuple(each.shape) for each in block.parameters())


def timed_block(
    part: Session, block: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]
) -> float:
    """Seconds of a call of a block on these inputs."""
    return timed(part, lambda: block(*arguments, **named), captured=part.on_gpu)


def _compiled(
    part: Session,
    block: nn.Module,
    arguments: tuple[Any, ...],
    named: dict[str, Any],
    with_fp8: bool,
) -> float:
    """Seconds of a call of the block compiled; what compiling took is told."""
    mine = copy.deepcopy(block)
    if with_fp8:
        made = quantize(mine, lambda: mine(*arguments, **named))
        part.book.add(f"{type(block).__name__}, FP8 error", made.relative_error, "relative",
                      "against bf16, random weights", f"{made.layers} layers")  # fmt: skip
    compiled = compile_module(mine, cache_folder=part.out / "cache")
    began_s = time.perf_counter()
    compiled(*arguments, **named)
    name = f"{type(block).__name__}, compiling{', FP8' if with_fp8 else ''}"
    part.book.add(name, time.perf_counter() - began_s, "s", CLOCK)
    return timed_block(part, compiled, arguments, named)


def _fused(part: Session, network: Network, settings: Settings) -> None:
    """The denoiser with the project's own fused kernels; what is above runs without them."""
    try:
        from serve.fusion import fuse_pipeline  # type: ignore[import-not-found,unused-ignore]
    except ModuleNotFoundError:
        part.book.lack("own fused kernels", "s", "this version has none")
        return

    def run() -> None:
        made = fuse_pipeline(network.pipeline, network.device)
        seconds = timed(part, denoiser_call(network, settings), captured=part.on_gpu)
        source = _source(part, captured=part.on_gpu)
        part.book.add("own fused kernels", seconds, "s", source, str(msgspec.to_builtins(made)))

    part.attempt("own fused kernels", "s", run, 2 * LIMIT_S)


def _shortcut(part: Session, key: str, value: str) -> None:
    """A loop of a full batch with a shortcut, and its error, on a model of its own."""
    words = words_of("sdxl", rehearse=part.rehearse) | {key: value}
    name = f"{key}={value}"
    if key in unknown(words):
        part.book.lack(name, "s", "this version has no such setting")
        return
    settings = settings_of(words, part.device)
    warm = start(settings)
    recipe = default_recipe(settings)
    seconds = loop_s(warm.model, recipe, settings.batch_limit)
    note = f"{recipe.steps} steps of {settings.batch_limit} images"
    part.book.add(name, seconds / recipe.steps, "s", f"{CLOCK}, mean step of a loop", note)
    told: Any = warm.facts.get("shortcuts") or {}
    error = told.get("relative_error")
    if error is None:
        part.book.lack(f"{name}: error", "relative", "the replica told none")
    else:
        part.book.add(f"{name}: error", error, "relative", "latents, random weights")


if __name__ == "__main__":
    sys.exit(main())
