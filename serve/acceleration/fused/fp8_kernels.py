"""Triton kernels that write FP8: of a tensor, of a layer norm, of a gate.

Only imported where Triton is. Each program holds whole rows, so that a row's scale is known before
it is written, and what is quantized never passes memory in 16 bits. It is rounded to them
nevertheless: the rows are those that `to_fp8` makes of the plain kernels' results, bit for bit.
"""

# mypy: disable-error-code="untyped-decorator,no-untyped-def,no-untyped-call"
# Triton is not installed where types are checked, and its functions have none.

import triton
import triton.language as tl

from serve.acceleration.fused.kernels import normed, times_gelu


@triton.jit
def store_rows(value, y, scales, at, inside, p, rows):
    """Write value / scale in 8 bits, a row's largest element being 448; zeros past its end."""
    scale = tl.maximum(tl.max(tl.abs(value), axis=1) / 448.0, 1e-12)
    tl.store(scales + p, scale, mask=p < rows)
    tl.store(y + at, (value / scale[:, None]).to(tl.float8e4nv), mask=inside)


@triton.jit
def to_fp8(x, y, scales, rows, channels, WIDTH: tl.constexpr, ROWS: tl.constexpr):
    """Write x in FP8 and its scales."""
    p = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    c = tl.arange(0, WIDTH)
    inside = (p < rows)[:, None] & (c < channels)[None, :]
    at = p.to(tl.int64)[:, None] * channels + c[None, :]
    value = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    store_rows(value, y, scales, at, inside, p, rows)


@triton.jit
def norm_to_fp8(
    x, residual, weight, bias, total, y, scales, rows, channels, eps,
    SUMMED: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Write the layer norm in FP8: of x; or, SUMMED, of total = x + residual, written as well."""
    p = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    c = tl.arange(0, WIDTH)
    inside = (p < rows)[:, None] & (c < channels)[None, :]
    at = p.to(tl.int64)[:, None] * channels + c[None, :]
    value = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    if SUMMED:
        value += tl.load(residual + at, mask=inside, other=0.0).to(tl.float32)
        rounded = value.to(total.dtype.element_ty)
        tl.store(total + at, rounded, mask=inside)
        value = rounded.to(tl.float32)
    made = normed(value, weight, bias, c, channels, eps).to(x.dtype.element_ty)
    store_rows(made.to(tl.float32), y, scales, at, inside, p, rows)


@triton.jit
def gated_to_fp8(x, y, scales, rows, channels, WIDTH: tl.constexpr, ROWS: tl.constexpr):
    """Write value · gelu(gate) in FP8; a row of x holds the values, then the gates."""
    p = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    c = tl.arange(0, WIDTH)
    inside = (p < rows)[:, None] & (c < channels)[None, :]
    at = p.to(tl.int64)[:, None] * channels + c[None, :]
    from_x = x + at + p.to(tl.int64)[:, None] * channels
    value = tl.load(from_x, mask=inside, other=0.0).to(tl.float32)
    gate = tl.load(from_x + channels, mask=inside, other=0.0).to(tl.float32)
    made = times_gelu(value, gate).to(x.dtype.element_ty)
    store_rows(made.to(tl.float32), y, scales, at, inside, p, rows)
