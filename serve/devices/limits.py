"""What a device can do at most, measured in seconds: matmul rate and copy bandwidth.

    measure(device, dtype, budget_s=2.0) -> DeviceLimits

These are the limits that matter to a denoiser: a matmul of m x k by k x n matrices takes
2 m n k floating point operations (a multiplication and an addition each), and a copy of N bytes
moves 2 N (N read, N written). The data is random: chips run all-zero data faster than any model's.
Each figure is the best of several sizes, and each size counts with the median of its rounds, so
that neither a lucky round nor a clock that sinks under load sets it.

LimitsError
    the device cannot be measured; the message says what to do
"""

import contextlib
import functools
import math
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import torch

Shape = tuple[int, int, int]  # m, n, k

# Large enough that launches and edges cost nothing, small enough for the budget: 8192 cubed is
# 1.1 TFLOP, about 1.5 ms on an H100; 512 cubed is 0.27 GFLOP, about 3 ms on one CPU core.
CUDA_SHAPES: tuple[Shape, ...] = ((4096, 4096, 4096), (8192, 8192, 4096), (8192, 8192, 8192))
CPU_SHAPES: tuple[Shape, ...] = ((256, 256, 256), (512, 512, 512), (1024, 1024, 512))
CUDA_COPY_BYTES = 2**30  # beyond every cache: the largest (B200) holds 126 MB
CPU_COPY_BYTES = 2**28
PATTERN_BYTES = 2**20
MEMORY_SHARE = 1 / 4  # of the free memory: most that a measurement takes

CUDA_ROUND_S = 0.02  # long against the microseconds of a launch and an event's 0.5 us
CPU_ROUND_S = 0.01
WARM_UP_SHARE = 0.2  # of a size's time: kernels chosen, pages touched, clocks up
MIN_ROUNDS = 3
MAX_STEPS = 100_000  # in one round
COPY_SHARE = 0.25  # of the budget; the rest goes to the matmul sizes
FP8_CAPABILITY = (9, 0)  # Hopper and later

Step = Callable[[], object]
Prepare = Callable[[torch.Tensor, torch.Tensor], Step]  # of an m x k and a k x n matrix


class LimitsError(RuntimeError):
    """The device cannot be measured; the message says what to do."""


class DeviceLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one device was measured to do at most.

    Attributes:
        device_name: As the driver or the kernel names it.
        matmul_dtype: Of the matrices: `bfloat16` or `float32`.
        matmul_flop_per_s: Floating point operations (2 x MAC) a second of dense matmuls.
        fp8_flop_per_s: The same with float8 (e4m3) matrices; None before Hopper and on a CPU.
        copy_bytes_per_s: Bytes read plus bytes written a second by a large copy within the
            device's own memory.
        threads: CPU threads used; None on a GPU.
        measured_s: How long the measurement took.
        torch_version: What it was measured with.
    """

    device_name: str
    matmul_dtype: str
    matmul_flop_per_s: float
    fp8_flop_per_s: float | None = None
    copy_bytes_per_s: float
    threads: int | None = None
    measured_s: float
    torch_version: str


def measure(device: torch.device, dtype: torch.dtype, *, budget_s: float) -> DeviceLimits:
    """The device's limits, for matrices of `dtype` (bfloat16 or float32).

    Takes about `budget_s`; on a slow device longer, as each size needs MIN_ROUNDS rounds. Takes
    at most MEMORY_SHARE of the free memory and gives all of it back. Other work on the device
    lowers the figures: measure before serving.

    Raises:
        LimitsError: No memory is free for it, or the clock does not advance.
    """
    try:
        with _on(device), torch.no_grad():
            return _measure(device, dtype, budget_s)
    except LimitsError:
        raise
    except RuntimeError as err:  # torch's own: out of memory, no kernel for this device
        raise LimitsError(f"{device} cannot be measured: {str(err).splitlines()[0]}") from err


def _measure(device: torch.device, dtype: torch.dtype, budget_s: float) -> DeviceLimits:
    began_s = time.perf_counter()
    is_cuda = device.type == "cuda"
    has_fp8 = is_cuda and torch.cuda.get_device_capability(device) >= FP8_CAPABILITY
    matmul_s = budget_s * (1 - COPY_SHARE) / (2 if has_fp8 else 1)
    matmul = _best_matmul(device, matmul_s, lambda a, b: _matmul(a, b, dtype))
    fp8_matmul = _best_matmul(device, matmul_s, _fp8_matmul) if has_fp8 else None
    copied = _copy_rate(device, budget_s * COPY_SHARE)
    return DeviceLimits(
        device_name=torch.cuda.get_device_name(device) if is_cuda else cpu_name(),
        matmul_dtype=str(dtype).removeprefix("torch."),
        matmul_flop_per_s=matmul,
        fp8_flop_per_s=fp8_matmul,
        copy_bytes_per_s=copied,
        threads=None if is_cuda else torch.get_num_threads(),
        measured_s=time.perf_counter() - began_s,
        torch_version=str(torch.__version__),
    )


def rate(amount: float, seconds: float) -> float:
    """Amount a second.

    Raises:
        LimitsError: Not a number above 0: a clock that stands still tells no rate.
    """
    value = amount / seconds if seconds > 0 else math.nan
    if not (math.isfinite(value) and value > 0):
        raise LimitsError(f"measured {amount:g} in {seconds:g} s: the clock does not advance")
    return value


def sustained_s(
    timed: Callable[[int], float], *, budget_s: float, round_s: float, clock: Callable[[], float]
) -> float:
    """Seconds that one step takes, the median over rounds of as many steps as fill `round_s`.

    Args:
        timed: Runs so many steps and returns the seconds they took on the device.
        budget_s: Wall time for all of it; its first part warms up and is not counted.
        round_s: How long a round should take.
        clock: Wall clock, in seconds.
    """
    began_s = clock()
    timed(1)  # the very first step also chooses kernels and touches pages
    once_s = timed(1)
    steps = max(1, min(MAX_STEPS, math.ceil(round_s / once_s))) if once_s > 0 else MAX_STEPS
    while clock() - began_s < WARM_UP_SHARE * budget_s:
        timed(steps)
    rounds: list[float] = []
    while len(rounds) < MIN_ROUNDS or clock() - began_s < budget_s:
        rounds.append(timed(steps) / steps)
    return statistics.median(rounds)


def cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name as Linux tells it, or its architecture."""
    with contextlib.suppress(OSError):
        for line in cpuinfo.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return value.strip()
    return platform.processor() or platform.machine()


def _best_matmul(device: torch.device, budget_s: float, prepare: Prepare) -> float:
    """The most FLOP/s over the shapes that fit in memory."""
    room = _room_bytes(device)
    shapes = CUDA_SHAPES if device.type == "cuda" else CPU_SHAPES
    fitting = [(m, n, k) for m, n, k in shapes if 8 * (m * k + k * n + m * n) <= room]
    if not fitting:
        raise LimitsError(f"{device}: too little memory is free to measure; end what uses it")
    return max(_matmul_rate(device, budget_s / len(fitting), prepare, *one) for one in fitting)


def _matmul_rate(
    device: torch.device, budget_s: float, prepare: Prepare, m: int, n: int, k: int
) -> float:
    generator = torch.Generator(device).manual_seed(0)  # leaves the global seed alone
    a = torch.randn(m, k, device=device, generator=generator)
    b = torch.randn(k, n, device=device, generator=generator)
    return rate(2.0 * m * n * k, _step_s(device, prepare(a, b), budget_s))


def _matmul(a: torch.Tensor, b: torch.Tensor, dtype: torch.dtype) -> Step:
    a, b = a.to(dtype), b.to(dtype)
    out = torch.empty(a.shape[0], b.shape[1], device=a.device, dtype=dtype)
    return lambda: torch.mm(a, b, out=out)


def _fp8_matmul(a: torch.Tensor, b: torch.Tensor) -> Step:
    """Scaled by 1, row-major times column-major as the kernels want it, into bfloat16."""
    one = torch.ones((), device=a.device)
    a8 = a.to(torch.float8_e4m3fn)
    b8 = b.t().contiguous().to(torch.float8_e4m3fn).t()
    return lambda: torch._scaled_mm(
        a8, b8, scale_a=one, scale_b=one, out_dtype=torch.bfloat16, use_fast_accum=True
    )


def _copy_rate(device: torch.device, budget_s: float) -> float:
    """Bytes read plus bytes written a second by a large copy."""
    most = CUDA_COPY_BYTES if device.type == "cuda" else CPU_COPY_BYTES
    patterns = min(most, int(_room_bytes(device) / 2)) // PATTERN_BYTES
    if not patterns:
        raise LimitsError(f"{device}: too little memory is free to measure; end what uses it")
    generator = torch.Generator(device).manual_seed(0)
    pattern = torch.randint(
        256, (PATTERN_BYTES,), dtype=torch.uint8, device=device, generator=generator
    )
    source = pattern.repeat(patterns)
    target = torch.empty_like(source)
    step_s = _step_s(device, lambda: target.copy_(source), budget_s)
    return rate(2.0 * source.numel(), step_s)


def _step_s(device: torch.device, step: Step, budget_s: float) -> float:
    """Seconds of one step, sustained."""
    is_cuda = device.type == "cuda"
    return sustained_s(
        functools.partial(_by_events if is_cuda else _by_clock, step),
        budget_s=budget_s,
        round_s=CUDA_ROUND_S if is_cuda else CPU_ROUND_S,
        clock=time.perf_counter,
    )


def _by_events(step: Step, steps: int) -> float:
    """Seconds between CUDA events around the steps: the GPU's own time, launches overlapped."""
    event: Any = torch.cuda.Event  # torch does not type it
    start, end = (event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(steps):
        step()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1e3  # it tells milliseconds


def _by_clock(step: Step, steps: int) -> float:
    """Wall seconds of the steps."""
    start_s = time.perf_counter()
    for _ in range(steps):
        step()
    return time.perf_counter() - start_s


def _room_bytes(device: torch.device) -> float:
    """Memory that a measurement may take."""
    if device.type != "cuda":
        return CPU_COPY_BYTES * 2.0
    return MEMORY_SHARE * torch.cuda.mem_get_info(device)[0]


@contextlib.contextmanager
def _on(device: torch.device) -> Iterator[None]:
    """Within, `device` is the current GPU; afterwards its cached memory is given back."""
    if device.type != "cuda":
        yield
        return
    with torch.cuda.device(device):
        torch.cuda.empty_cache()  # so that what is free counts as free
        try:
            yield
        finally:
            torch.cuda.empty_cache()
