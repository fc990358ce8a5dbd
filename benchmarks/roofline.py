"""What kernels would take on a GPU, on paper: the longer of arithmetic and traffic, and a gap each.

    t = max(flop · padding / (F · e_kind), bytes / (B · e_memory)) + launches · gap

F is the GPU's matmul rate in bf16, B the bandwidth of a copy; each e is the share of it that
kernels of that kind are taken to reach. No figure that comes of this was measured. The model knows
nothing of caches between kernels, of the tail of a last wave, or of clocks under load: at a batch
of one image it has been 15 to 35% too kind (docs/performance.md).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

import msgspec

from benchmarks.kernels import Kernel


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
    """What a GPU's own limits are.

    Attributes:
        name: Its product name.
        flop_per_s: Of bf16 matrix products.
        bytes_per_s: Of a copy, its reads and writes together.
    """

    name: str
    flop_per_s: float
    bytes_per_s: float


# Measured with large square products and large copies: 80% and 90% of the data sheet's 989
# TFLOP/s and 4.8 TB/s.
H200 = Gpu(name="NVIDIA H200", flop_per_s=790e12, bytes_per_s=4.3e12)
# The same shares of the data sheet's 312 TFLOP/s and 2.039 TB/s (A100 80GB), assumed.
A100 = Gpu(name="NVIDIA A100 80GB", flop_per_s=250e12, bytes_per_s=1.83e12)


class Assumed(msgspec.Struct, frozen=True, kw_only=True):
    """Every number of the model that is neither counted nor measured.

    Attributes:
        matmul: Share of the matmul rate that the model's products reach: their sides are 640 to
            10,240, where cuBLAS loses to the last wave of blocks. A judgement.
        conv: Share that cuDNN's convolutions in channels_last reach. A judgement.
        attention: Share that attention reaches at width 64: cuDNN's 408 TFLOP/s at 4,096 tokens
            on an H100 (table in arXiv 2407.08608) are half of 790.
        memory: Share of a copy's bandwidth that pointwise kernels and norms reach. A judgement.
        gap_s: Between two kernels of a CUDA graph. A judgement; some 1 to 2 us are common.
        fp8_flop_per_s: Of row-wise FP8 products, as reached: 1.16e15 to 1.34e15 at widths of
            4,096 to 12,288 on an H100 (pytorch/FBGEMM#2764), taken lower for widths of 640 to
            1,280.
    """

    matmul: float = 0.80
    conv: float = 0.70
    attention: float = 0.50
    memory: float = 0.75
    gap_s: float = 1.5e-6
    fp8_flop_per_s: float = 1.15e15


class Total(msgspec.Struct, kw_only=True):
    """Sums over kernels."""

    kernels: int = 0
    flop: float = 0.0
    bytes: int = 0
    seconds: float = 0.0


def price_s(kernel: Kernel, gpu: Gpu = H200, assumed: Assumed = Assumed()) -> float:  # noqa: B008
    """Seconds that a kernel takes, and the gap before it."""
    traffic_s = kernel.bytes / (gpu.bytes_per_s * assumed.memory)
    return max(_arithmetic_s(kernel, gpu, assumed), traffic_s) + kernel.launches * assumed.gap_s


def _arithmetic_s(kernel: Kernel, gpu: Gpu, assumed: Assumed) -> float:
    if not kernel.flop:
        return 0.0
    if kernel.is_fp8:
        return kernel.flop / assumed.fp8_flop_per_s
    shares = {"matmul": assumed.matmul, "conv": assumed.conv, "attention": assumed.attention}
    return kernel.flop * kernel.padding / (gpu.flop_per_s * shares[kernel.kind])


def total(
    kernels: Iterable[Kernel],
    gpu: Gpu = H200,
    assumed: Assumed = Assumed(),  # noqa: B008
) -> Total:
    """The sums over all of them."""
    made = Total()
    for kernel in kernels:
        made.kernels += kernel.launches
        made.flop += kernel.flop
        made.bytes += kernel.bytes
        made.seconds += price_s(kernel, gpu, assumed)
    return made


def by_kind(
    kernels: Iterable[Kernel],
    gpu: Gpu = H200,
    assumed: Assumed = Assumed(),  # noqa: B008
) -> Mapping[str, Total]:
    """The sums by kind of kernel, the longest first."""
    kinds: dict[str, list[Kernel]] = defaultdict(list)
    for kernel in kernels:
        kinds[kernel.kind].append(kernel)
    totals = {kind: total(some, gpu, assumed) for kind, some in kinds.items()}
    return dict(sorted(totals.items(), key=lambda item: -item[1].seconds))


def images_per_s(
    *, images: int, steps: int, step_s: float, decode_s: float, text_s: float
) -> float:
    """Images a second of a replica that is always full, its stages one after the other.

        images / (steps · step + decode + text)

    Args:
        images: In the batch; all of them are embedded and decoded once.
        steps: Of each.
        step_s: One step of the batch.
        decode_s: The batch's decodes.
        text_s: The batch's texts.
    """
    return images / (steps * step_s + decode_s + text_s)
