"""Rows of a tensor in FP8, each with a scale of its own: the formula, and one operator for it."""

from typing import NamedTuple

import torch

from serve.acceleration.fused.ops import kernels

FP8 = torch.float8_e4m3fn
FP8_MAX = torch.finfo(FP8).max
SCALE_MIN = 1e-12  # a row of zeros has no scale of its own; this one keeps 0 / scale at 0


class Fp8Rows(NamedTuple):
    """What stands for a tensor (..., features) between a kernel that wrote it in FP8 and products.

    Attributes:
        values: (..., features) in FP8.
        scale: (..., 1) in float32; the tensor is values · scale.
        dtype: The tensor's own.
    """

    values: torch.Tensor
    scale: torch.Tensor
    dtype: torch.dtype


def quantize_rows(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A tensor (..., features) as FP8, and its float32 scales (..., 1): x ≈ fp8 · scale."""
    wide = x.float()
    scale = (wide.abs().amax(-1, keepdim=True) / FP8_MAX).clamp(min=SCALE_MIN)
    # No clamp at 448: float32's rounding alone lets a quotient exceed it, and that rounds back.
    return (wide / scale).to(FP8).contiguous(), scale


@torch.library.custom_op("viralload::quantize_rows", mutates_args=(), device_types="cpu")
def quantize_rows_op(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """`quantize_rows` as one operator, with a kernel of its own on a GPU.

    `viralload::quantize_rows(Tensor x) -> (Tensor, Tensor)`. Of bf16 it reads 2 bytes an element
    and writes 1, and 4 a row. The formula eagerly moves 31: x in float32 is written, read for its
    absolute values, those for their largest, x again for the quotients, and those to be rounded. 1
    kernel.
    """
    return quantize_rows(x)


@quantize_rows_op.register_fake
def _(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return x.new_empty(x.shape, dtype=FP8), x.new_empty((len(x), 1), dtype=torch.float32)


@quantize_rows_op.register_kernel("cuda")
def quantize_rows_cuda(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What `quantize_rows_op` runs on a GPU."""
    launches = kernels()
    if isinstance(launches, str):
        return quantize_rows(x)
    y, scale = x.new_empty(x.shape, dtype=FP8), x.new_empty((len(x), 1), dtype=torch.float32)
    launches.quantize_rows(x, y, scale)
    return y, scale


def to_fp8(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """`quantize_rows_op`; torch.compile traces the formula, to fuse it with what comes before."""
    if torch.compiler.is_compiling():
        return quantize_rows(x)
    both: tuple[torch.Tensor, torch.Tensor] = quantize_rows_op(x.contiguous())
    return both


def as_rows(x: torch.Tensor | Fp8Rows) -> Fp8Rows:
    """A tensor (..., features) as FP8; what is in FP8 already stays as it is."""
    if isinstance(x, Fp8Rows):
        return x
    values, scale = to_fp8(x.reshape(-1, x.shape[-1]))
    return Fp8Rows(values.reshape(x.shape), scale.reshape(*x.shape[:-1], 1), x.dtype)
