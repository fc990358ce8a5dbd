"""The product that an FP8 layer stands for, computed plainly on any device."""

import torch
from torch.nn import functional

from serve.acceleration.fp8_layers import Matmul
from serve.acceleration.fp8_rows import quantize_rows


def dequantized_matmul(
    x: torch.Tensor,
    weight: torch.Tensor,
    x_scale: torch.Tensor,
    weight_scale: torch.Tensor,
    bias: torch.Tensor | None,
) -> torch.Tensor:
    wide_bias = None if bias is None else bias.float()
    product = functional.linear(x.float() * x_scale, weight.float() * weight_scale, wide_bias)
    return product.bfloat16()


def runs_on_cpu(matmul: Matmul) -> bool:
    """torch 2.11 has row-wise scales on CUDA alone, torch 2.13 on the CPU as well."""
    x, scale = quantize_rows(torch.ones(2, 16))
    try:
        matmul(x, x, scale, scale, None)
    except RuntimeError:
        return False
    return True
