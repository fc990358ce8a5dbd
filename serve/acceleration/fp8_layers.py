"""Linear layers and 1x1 convolutions whose matrix product is computed in FP8.

A Linear layer y = x Wᵀ + b becomes

    y[m, n] = a[m] · w[n] · Σ_k Q(x[m, k] / a[m]) · Q(W[n, k] / w[n]) + b[n]

where Q rounds to float8_e4m3fn (4 exponent bits, 3 of mantissa, largest value 448). Every row has
its own float32 scale: w[n] = max_k |W[n, k]| / 448, once, when the layer is made, and
a[m] = max_k |x[m, k]| / 448 at each call. So an outlier costs precision in its own token alone,
and an image does not depend on what shares its batch. Sums are in float32 (on Hopper with fast
accumulation), the output is bf16.

Rounding to nearest is off by 2⁻⁴ of a normal element at most, and by about 2.6% in the norm; the
sum of products of two rounded factors is off by √2 as much, 3.7%.

The product is `torch._scaled_mm`, whose signature and row-wise CUDA kernels torch 2.11 and 2.13
share. Its public successor `torch.nn.functional.scaled_mm` still calls another private operator.
"""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import nn

from serve.acceleration.fp8_rows import Fp8Rows, as_rows, quantize_rows

# x (rows, in), weight (out, in), their scales (rows, 1) and (out, 1), bias (out): (rows, out)
Matmul: TypeAlias = Callable[
    [torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor
]


def scaled_matmul(
    x: torch.Tensor,
    weight: torch.Tensor,
    x_scale: torch.Tensor,
    weight_scale: torch.Tensor,
    bias: torch.Tensor | None,
) -> torch.Tensor:
    """(x · x_scale)(weight · weight_scale)ᵀ + bias in bf16, by the GPU's FP8 tensor cores.

    On a CPU torch 2.13 computes it too, slowly; torch 2.11 knows no row-wise scales there.
    """
    return torch._scaled_mm(
        x,
        weight.t(),
        scale_a=x_scale,
        scale_b=weight_scale.t(),
        bias=bias,
        out_dtype=torch.bfloat16,
        use_fast_accum=True,
    )


class Fp8Linear(nn.Module):
    """A Linear layer in FP8: (..., in_features) to (..., out_features), in the input's dtype.

    Its input may be in FP8 already: quantized once for several layers, or by the norm before.

    Its tensors are buffers, so that the model's dtype stays what its other parameters say. Cast
    the model before, not after: a cast would take the FP8 weight along.
    """

    weight: torch.Tensor
    weight_scale: torch.Tensor
    bias: torch.Tensor | None

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor | None, matmul: Matmul = scaled_matmul
    ) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self._matmul = matmul
        quantized, scale = quantize_rows(weight.detach())
        self.register_buffer("weight", quantized)
        self.register_buffer("weight_scale", scale)
        self.register_buffer("bias", None if bias is None else bias.detach().bfloat16())

    def forward(self, x: torch.Tensor | Fp8Rows) -> torch.Tensor:
        """Quantize the rows, if they are not, and multiply."""
        rows = as_rows(x)
        values, scale = rows.values.reshape(-1, self.in_features), rows.scale.reshape(-1, 1)
        product = self._matmul(values, self.weight, scale, self.weight_scale, self.bias)
        return product.reshape(*rows.values.shape[:-1], self.out_features).to(rows.dtype)


class Fp8Conv1x1(nn.Module):
    """A 1x1 convolution in FP8: (batch, in, height, width) to (batch, out, height, width).

    It is a Linear layer over the channels of each pixel: input in channels_last needs no copy,
    output is in channels_last.
    """

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor | None, matmul: Matmul = scaled_matmul
    ) -> None:
        super().__init__()
        self.linear = Fp8Linear(weight.flatten(1), bias, matmul)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Take each pixel's channels as a row."""
        pixels: torch.Tensor = self.linear(x.permute(0, 2, 3, 1))
        return pixels.permute(0, 3, 1, 2)
