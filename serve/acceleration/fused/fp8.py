"""Norms and gates that write FP8 rows with their scales, where only FP8 products read them.

Operators as in `serve.acceleration.fused.ops`, each `serve.acceleration.fp8_rows.quantize_rows` of
a plain one's result. That result, 16 bits an element, is neither written nor read: of SDXL's
transformer blocks, whose linear layers all compute in FP8, only the two inputs behind attention
take a pass to quantize, and the text for all blocks of a transformer together one.
"""

import torch
from torch.nn import functional

from serve.acceleration.fp8_rows import FP8, Fp8Rows, quantize_rows
from serve.acceleration.fused.ops import kernels, plain_add_layer_norm, plain_geglu


def plain_layer_norm_fp8(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The formula of `layer_norm_fp8`, step by step."""
    return quantize_rows(functional.layer_norm(x, weight.shape, weight, bias, eps))


def plain_add_layer_norm_fp8(
    x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The formula of `add_layer_norm_fp8`, step by step."""
    total, normed = plain_add_layer_norm(x, residual, weight, bias, eps)
    return total, *quantize_rows(normed)


def plain_geglu_fp8(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The formula of `geglu_fp8`, step by step."""
    return quantize_rows(plain_geglu(x))


@torch.library.custom_op("viralload::layer_norm_fp8", mutates_args=(), device_types="cpu")
def layer_norm_fp8_op(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The layer norm over the last dimension in FP8 (..., c), and its scales (..., 1).

    `viralload::layer_norm_fp8(Tensor x, Tensor weight, Tensor bias, float eps) -> (Tensor,
    Tensor)`. Of bf16 it reads 2 bytes an element and writes 1. 1 kernel.

    Args:
        x: (..., c).
        weight: (c,).
        bias: (c,).
        eps: Added to the variance.
    """
    return plain_layer_norm_fp8(x, weight, bias, eps)


@torch.library.custom_op("viralload::add_layer_norm_fp8", mutates_args=(), device_types="cpu")
def add_layer_norm_fp8_op(
    x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The sum x + residual, the layer norm of that in FP8 (..., c), and its scales (..., 1).

    `viralload::add_layer_norm_fp8(Tensor x, Tensor residual, Tensor weight, Tensor bias, float
    eps) -> (Tensor, Tensor, Tensor)`. Of bf16 it reads 4 bytes an element and writes 3. 1 kernel.

    Args:
        x: (..., c).
        residual: (..., c).
        weight: (c,).
        bias: (c,).
        eps: Added to the variance.
    """
    return plain_add_layer_norm_fp8(x, residual, weight, bias, eps)


@torch.library.custom_op("viralload::geglu_fp8", mutates_args=(), device_types="cpu")
def geglu_fp8_op(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The gate of `viralload::geglu`, (..., 2 c) to (..., c) in FP8, and its scales (..., 1).

    `viralload::geglu_fp8(Tensor x) -> (Tensor, Tensor)`. Of bf16 it reads 4 bytes an element of the
    result and writes 1. 1 kernel.
    """
    return plain_geglu_fp8(x)


@layer_norm_fp8_op.register_fake
def _(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    return _empty_rows(x, x.shape[-1])


@add_layer_norm_fp8_op.register_fake
def _(
    x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.empty_like(x), *_empty_rows(x, x.shape[-1])


@geglu_fp8_op.register_fake
def _(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return _empty_rows(x, x.shape[-1] // 2)


@layer_norm_fp8_op.register_kernel("cuda")
def layer_norm_fp8_cuda(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """What `layer_norm_fp8_op` runs on a GPU."""
    launches = kernels()
    if isinstance(launches, str):
        return plain_layer_norm_fp8(x, weight, bias, eps)
    y, scale = _empty_rows(x, x.shape[-1])
    launches.layer_norm_fp8(x, None, weight, bias, eps, None, y, scale)
    return y, scale


@add_layer_norm_fp8_op.register_kernel("cuda")
def add_layer_norm_fp8_cuda(
    x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What `add_layer_norm_fp8_op` runs on a GPU."""
    launches = kernels()
    if isinstance(launches, str):
        return plain_add_layer_norm_fp8(x, residual, weight, bias, eps)
    total, (y, scale) = torch.empty_like(x), _empty_rows(x, x.shape[-1])
    launches.layer_norm_fp8(x, residual, weight, bias, eps, total, y, scale)
    return total, y, scale


@geglu_fp8_op.register_kernel("cuda")
def geglu_fp8_cuda(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What `geglu_fp8_op` runs on a GPU."""
    launches = kernels()
    if isinstance(launches, str):
        return plain_geglu_fp8(x)
    y, scale = _empty_rows(x, x.shape[-1] // 2)
    launches.geglu_fp8(x, y, scale)
    return y, scale


def layer_norm_fp8(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float
) -> Fp8Rows:
    """`layer_norm_fp8_op`; what torch.compile traces is the formula, to fuse it further."""
    if torch.compiler.is_compiling():
        values, scale = plain_layer_norm_fp8(x, weight, bias, eps)
    else:
        values, scale = layer_norm_fp8_op(x.contiguous(), weight, bias, eps)
    return Fp8Rows(values, scale, x.dtype)


def add_layer_norm_fp8(
    x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float
) -> tuple[torch.Tensor, Fp8Rows]:
    """`add_layer_norm_fp8_op`; what torch.compile traces is the formula, to fuse it further."""
    if torch.compiler.is_compiling():
        total, values, scale = plain_add_layer_norm_fp8(x, residual, weight, bias, eps)
    else:
        total, values, scale = add_layer_norm_fp8_op(
            x.contiguous(), residual.contiguous(), weight, bias, eps
        )
    return total, Fp8Rows(values, scale, x.dtype)


def geglu_fp8(x: torch.Tensor) -> Fp8Rows:
    """`geglu_fp8_op`; what torch.compile traces is the formula, to fuse it further."""
    plain = torch.compiler.is_compiling()
    values, scale = plain_geglu_fp8(x) if plain else geglu_fp8_op(x.contiguous())
    return Fp8Rows(values, scale, x.dtype)


def _empty_rows(x: torch.Tensor, features: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Memory for rows of FP8 and their scales, as many rows as x has."""
    values = x.new_empty((*x.shape[:-1], features), dtype=FP8)
    return values, x.new_empty((*x.shape[:-1], 1), dtype=torch.float32)
