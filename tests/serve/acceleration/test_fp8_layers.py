"""The numbers of an FP8 layer on the CPU, and what CUDA asks of its operands."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional

from serve.acceleration.fp8 import is_supported, relative_error
from serve.acceleration.fp8_layers import Fp8Conv1x1, Fp8Linear, Matmul, scaled_matmul
from serve.acceleration.fp8_rows import FP8, quantize_rows, quantize_rows_op, to_fp8
from tests.serve.fp8_reference import dequantized_matmul, runs_on_cpu

CUDA = torch.device("cuda")
ON_GPU = pytest.mark.skipif(is_supported(CUDA) is not None, reason=str(is_supported(CUDA)))
ON_CPU = pytest.mark.skipif(
    not runs_on_cpu(scaled_matmul), reason="this torch has no row-wise scaled matmul on the CPU"
)
MATMULS = pytest.mark.parametrize(
    "matmul", [dequantized_matmul, pytest.param(scaled_matmul, marks=ON_CPU)]
)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


def layer(matmul: Matmul, *, out_features: int = 96, bias: bool = True) -> Fp8Linear:
    weight = random(out_features, 64, seed=1) / 8
    return Fp8Linear(weight, random(out_features, seed=2) if bias else None, matmul)


def exact(x: torch.Tensor, *, out_features: int = 96, bias: bool = True) -> torch.Tensor:
    weight = random(out_features, 64, seed=1) / 8
    b = random(out_features, seed=2).float() if bias else None
    return functional.linear(x.float(), weight.float(), b)


@MATMULS
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(64,), (1, 64), (5, 64), (2, 7, 64), (2, 3, 5, 64)])
def test_a_layer_is_right_to_a_few_percent(
    shape: tuple[int, ...], bias: bool, matmul: Matmul
) -> None:
    x = random(*shape)
    y = layer(matmul, bias=bias)(x)
    assert y.shape == (*shape[:-1], 96)
    assert y.dtype == torch.bfloat16
    assert relative_error(exact(x, bias=bias), y) < 0.06


@MATMULS
def test_the_error_is_that_of_three_bits_of_mantissa(matmul: Matmul) -> None:
    """√2 · 2.6% = 3.7% for Gaussian rows; a coarser rounding would show, a finer one too."""
    x = random(512, 64)
    error = relative_error(exact(x, bias=False), layer(matmul, bias=False)(x))
    assert 0.030 < error < 0.042


@MATMULS
def test_each_output_keeps_the_worst_case_bound(matmul: Matmul) -> None:
    """|error| <= ((1 + 2⁻⁴)² − 1) Σ|x·w|, and what subnormals and the bf16 output add."""
    x, weight = random(256, 64), random(96, 64, seed=1) / 8
    error = (layer(matmul, bias=False)(x).float() - exact(x, bias=False)).abs()
    magnitude = x.float().abs() @ weight.float().abs().t()
    assert bool((error <= 0.15 * magnitude).all())


@given(
    st.integers(-20, 60),
    st.integers(1, 40),
    st.integers(0, 2**31),
)
@settings(max_examples=40, deadline=None)
def test_rows_come_back_within_half_a_step(exponent: int, rows: int, seed: int) -> None:
    x = random(rows, 32, seed=seed).float() * 2.0**exponent
    quantized, scale = quantize_rows(x)
    assert quantized.dtype == FP8
    assert scale.dtype == torch.float32
    assert scale.shape == (rows, 1)
    off = (quantized.float() * scale - x).abs()
    # Half a step: 2⁻⁴ of a normal element; 2⁻¹⁰, half the least subnormal, below 2⁻⁶.
    assert bool((off <= torch.maximum(x.abs() * 2**-4, scale * 2**-10) * 1.001).all())
    largest = quantized.float().abs().amax(-1)
    assert torch.equal(largest, torch.full_like(largest, 448.0))


def test_one_operator_is_the_formula() -> None:
    """Schema, shapes and strides by torch's own check; the kernel is in test_fused_kernels.py."""
    x = random(7, 32)
    torch.library.opcheck(quantize_rows_op, (x,), test_utils=("test_schema", "test_faketensor"))
    for made, expected in zip(to_fp8(x.t().contiguous().t()), quantize_rows(x), strict=True):
        assert torch.equal(made.float(), expected.float())


@MATMULS
def test_a_row_of_zeros_gives_the_bias(matmul: Matmul) -> None:
    x = random(3, 64)
    x[1] = 0
    y = layer(matmul)(x)
    assert torch.equal(y[1], random(96, seed=2))
    assert bool(y.isfinite().all())


@MATMULS
def test_a_zero_weight_row_gives_zeros(matmul: Matmul) -> None:
    weight = random(32, 64)
    weight[5] = 0
    y = Fp8Linear(weight, None, matmul)(random(4, 64))
    assert torch.equal(y[:, 5], torch.zeros(4, dtype=torch.bfloat16))
    assert bool(y.isfinite().all())


@MATMULS
def test_an_outlier_costs_its_own_row_alone(matmul: Matmul) -> None:
    calm = random(4, 64)
    wild = calm.clone()
    wild[2, 9] = 30_000
    linear = layer(matmul)
    keep = [0, 1, 3]
    assert torch.equal(linear(wild)[keep], linear(calm)[keep])
    assert relative_error(exact(wild)[2], linear(wild)[2]) < 2**-3


@MATMULS
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_1x1_convolution(memory_format: torch.memory_format, matmul: Matmul) -> None:
    conv = nn.Conv2d(64, 48, 1).bfloat16()
    x = random(2, 64, 5, 3).to(memory_format=memory_format)
    with torch.no_grad():
        expected, y = conv(x), Fp8Conv1x1(conv.weight, conv.bias, matmul)(x)
    assert y.shape == (2, 48, 5, 3)
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert relative_error(expected, y) < 0.06


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_output_has_the_inputs_dtype(dtype: torch.dtype) -> None:
    assert layer(dequantized_matmul)(random(2, 64).to(dtype)).dtype == dtype


def test_an_fp8_layer_has_no_parameters() -> None:
    """A model's dtype is that of its parameters, for diffusers: FP8 must not become it."""
    linear = layer(dequantized_matmul)
    assert list(linear.parameters()) == []
    assert linear.state_dict()["weight"].dtype == FP8
    assert linear.state_dict()["weight"].element_size() == 1


@ON_CPU
def test_torchs_product_is_the_one_it_stands_for() -> None:
    x, x_scale = quantize_rows(random(33, 64).float() * 3)
    weight, weight_scale = quantize_rows(random(96, 64, seed=1))
    operands = (x, weight, x_scale, weight_scale, random(96, seed=2))
    assert relative_error(dequantized_matmul(*operands), scaled_matmul(*operands)) < 2**-8


@pytest.mark.parametrize("shape", [(1, 64), (5, 64), (2, 7, 64), (2, 3, 5, 64)])
def test_cuda_accepts_the_operands(shape: tuple[int, ...]) -> None:
    """torch checks strides, scales and multiples of 16 for CUDA on tensors without data, too."""
    with FakeTensorMode():
        weight = torch.empty(96, 64, device=CUDA, dtype=torch.bfloat16)
        bias = torch.empty(96, device=CUDA, dtype=torch.bfloat16)
        y = Fp8Linear(weight, bias)(torch.empty(shape, device=CUDA, dtype=torch.bfloat16))
        assert y.shape == (*shape[:-1], 96)
        assert y.is_contiguous()


@pytest.mark.skipif(torch.version.cuda is None, reason="needs a CUDA build of torch, but no GPU")
def test_cuda_accepts_rows_that_lie_across() -> None:
    with FakeTensorMode():
        weight = torch.empty(96, 64, device=CUDA, dtype=torch.bfloat16)
        x = torch.empty(64, 9, device=CUDA, dtype=torch.bfloat16).t()
        assert Fp8Linear(weight, None)(x).shape == (9, 96)
        image = torch.empty(2, 64, 5, 3, device=CUDA, dtype=torch.bfloat16)
        assert Fp8Conv1x1(weight[..., None, None], None)(image).shape == (2, 96, 5, 3)


@MATMULS
def test_a_layer_compiles_whole(matmul: Matmul) -> None:
    linear = layer(matmul)
    compiled = torch.compile(linear, backend="aot_eager", fullgraph=True, dynamic=False)
    x = random(2, 7, 64)
    with torch.inference_mode():
        assert relative_error(linear(x), compiled(x)) < 2**-8


@pytest.mark.gpu
@ON_GPU
def test_the_gpus_product_is_the_one_it_stands_for() -> None:
    x, x_scale = quantize_rows(random(4096, 1280).to(CUDA))
    weight, weight_scale = quantize_rows(random(640, 1280, seed=1).to(CUDA))
    bias = random(640, seed=2).to(CUDA)
    operands = (x, weight, x_scale, weight_scale, bias)
    # Fast accumulation keeps about 13 bits.
    assert relative_error(dequantized_matmul(*operands), scaled_matmul(*operands)) < 2**-7


@pytest.mark.gpu
@pytest.mark.gpu_slow
@ON_GPU
@pytest.mark.parametrize("rows", [1, 77, 4096])
def test_a_layer_can_be_captured_in_a_cuda_graph(rows: int) -> None:
    linear = Fp8Linear(random(640, 1280, seed=1) / math.sqrt(1280), random(640, seed=2)).to(CUDA)
    x = random(rows, 1280).to(CUDA)
    with torch.inference_mode():
        expected = linear(x)
        compiled = torch.compile(linear, fullgraph=True, dynamic=False)
        assert relative_error(expected, compiled(x)) < 2**-6
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y = compiled(x)
        x.copy_(random(rows, 1280, seed=3).to(CUDA))
        graph.replay()
        torch.cuda.synchronize()
        assert relative_error(linear(x), y) < 2**-6
