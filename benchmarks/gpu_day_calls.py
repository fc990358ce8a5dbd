"""A call of the denoiser at a full batch, and what a call takes: as it is, or as a CUDA graph."""

# mypy: disallow-untyped-calls=False
# Parts of torch.cuda are untyped.

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.gpu_day_part import CLOCK, Session
from serve.diffusion.startup import default_recipe
from serve.models.network import Network
from serve.settings import Settings

BUDGET_S = 2.0  # of timing
REHEARSAL_BUDGET_S = 0.3
MIN_CALLS, MAX_CALLS = 3, 200
WARM_UP_CALLS = 3
TIMESTEP = 500.0  # the middle of the samplers' thousand

Call = Callable[[], object]


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
        call = captured_call(call)
    budget_s = REHEARSAL_BUDGET_S if part.rehearse else BUDGET_S
    _once_s(part, call)  # the first chooses kernels
    once_s = _once_s(part, call)
    calls = max(MIN_CALLS, int(budget_s / max(once_s, 1e-6)))
    return statistics.median(_once_s(part, call) for _ in range(min(calls, MAX_CALLS)))


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


def captured_call(call: Call) -> Call:
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


def source(part: Session, *, captured: bool) -> str:
    """How `timed` gets its figure, in words."""
    how = "CUDA events" if part.on_gpu else CLOCK
    return f"{how}, median, {'a CUDA graph' if captured else 'as it is'}"
