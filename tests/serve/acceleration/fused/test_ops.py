"""The operators behind fused blocks: their formulas are torch's own modules', and so are strides.

The kernels themselves are in test_fused_kernels.py.
"""

from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional

from serve.acceleration.fused import ops as fused_ops
from serve.acceleration.fused.ops import (
    LAST,
    add_bias,
    add_layer_norm,
    geglu,
    group_norm,
    why_plain,
)

FORMATS = [torch.contiguous_format, LAST]


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("silu", [False, True])
@pytest.mark.parametrize("shifts", [None, 1, 2])
@pytest.mark.parametrize(("shape", "groups"), [((2, 64, 5, 3), 32), ((2, 8, 1, 1), 2)])
def test_group_norm(
    shape: tuple[int, ...],
    groups: int,
    shifts: int | None,
    silu: bool,
    layout: torch.memory_format,
) -> None:
    norm = nn.GroupNorm(groups, shape[1], eps=1e-6)
    norm.weight.data, norm.bias.data = random(shape[1], seed=1), random(shape[1], seed=2)
    x = random(*shape).to(memory_format=layout)
    shift = None if shifts is None else random(shifts, shape[1], seed=3)
    with torch.inference_mode():
        y = group_norm(x, shift, norm.weight, norm.bias, groups, norm.eps, silu=silu)
        expected = norm(x if shift is None else x + shift[:, :, None, None])
        expected = functional.silu(expected) if silu else expected
    torch.testing.assert_close(y, expected)
    assert y.is_contiguous(memory_format=LAST)


@pytest.mark.parametrize("layout", FORMATS)
def test_add_bias(layout: torch.memory_format) -> None:
    x, residual = (random(2, 8, 5, 3, seed=i).to(memory_format=layout) for i in range(2))
    y = add_bias(x, residual, random(8))
    torch.testing.assert_close(y, x + residual + random(8)[None, :, None, None])
    assert y.is_contiguous(memory_format=LAST)


def test_add_layer_norm() -> None:
    norm = nn.LayerNorm(24)
    norm.weight.data, norm.bias.data = random(24, seed=1), random(24, seed=2)
    x, residual = random(2, 5, 24), random(5, 2, 24, seed=3).transpose(0, 1)
    with torch.inference_mode():
        total, y = add_layer_norm(x, residual, norm.weight, norm.bias, norm.eps)
        torch.testing.assert_close(total, x + residual)
        torch.testing.assert_close(y, norm(x + residual))


def test_geglu() -> None:
    x = random(2, 5, 24)
    torch.testing.assert_close(geglu(x), x[..., :12] * functional.gelu(x[..., 12:]))


def calls(device: str = "cpu") -> list[tuple[Any, tuple[Any, ...]]]:
    image = torch.randn(2, 8, 4, 3, device=device).to(memory_format=LAST)
    tokens, wide = (torch.randn(2, 5, n, device=device) for n in (8, 16))
    channels, shift = (torch.randn(*shape, device=device) for shape in ((8,), (1, 8)))
    return [
        (fused_ops.group_norm_op, (image, shift, channels, channels, 2, 1e-5, True)),
        (fused_ops.group_norm_op, (image, None, channels, channels, 2, 1e-5, False)),
        (fused_ops.add_bias_op, (image, image, channels)),
        (fused_ops.add_layer_norm_op, (tokens, tokens, channels, channels, 1e-5)),
        (fused_ops.geglu_op, (wide,)),
    ]


@pytest.mark.parametrize("case", range(5))
def test_what_an_operator_tells_without_values_is_so(case: int) -> None:
    """Schema, aliases, shapes and strides, by torch's own check."""
    op, arguments = calls()[case]
    torch.library.opcheck(op, arguments, test_utils=("test_schema", "test_faketensor"))


@pytest.mark.parametrize("case", range(5))
def test_without_values_it_stays_on_the_gpu_in_its_layout(case: int) -> None:
    with FakeTensorMode():
        op, arguments = calls()[case]
        expected = op(*arguments)
        on_gpu = [torch.empty_like(a, device="cuda") if is_tensor(a) else a for a in arguments]
        made = op(*on_gpu)
    for y, like in zip(several(made), several(expected), strict=True):
        assert y.device.type == "cuda"
        assert (y.shape, y.stride(), y.dtype) == (like.shape, like.stride(), like.dtype)


def is_tensor(value: object) -> bool:
    return isinstance(value, torch.Tensor)


def several(result: Any) -> tuple[torch.Tensor, ...]:
    return result if isinstance(result, tuple) else (result,)


def test_compiled_regions_see_the_formula() -> None:
    """What inductor is to fuse with its neighbours must not be one closed operator to it."""
    seen: list[str] = []

    def backend(graph: Any, inputs: Any) -> Any:
        seen.extend(str(node.target) for node in graph.graph.nodes if node.op == "call_function")
        return graph.forward

    def both(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return geglu(add_layer_norm(x, x, weight, weight, 1e-5)[1])

    torch._dynamo.reset()
    x, weight = random(2, 8), random(8, seed=1)
    expected = both(x, weight)
    made = torch.compile(both, backend=backend, fullgraph=True)(x, weight)
    torch._dynamo.reset()
    torch.testing.assert_close(made, expected)
    assert any("layer_norm" in name for name in seen)
    assert not any("viralload" in name for name in seen)


def test_why_the_formulas_run() -> None:
    assert why_plain(torch.device("cpu")) == "the device is 'cpu'"


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA GPU has them")
def test_a_gpu_without_kernels_runs_the_formulas_and_says_why() -> None:
    fused_ops.kernels.cache_clear()
    told = why_plain(torch.device("cuda"))
    assert told is not None
    assert "Error: " in told  # no Triton, or no CUDA
    for op, arguments in calls():
        on_gpu = getattr(fused_ops, op._qualname.split("::")[1] + "_cuda")
        for y, expected in zip(several(on_gpu(*arguments)), several(op(*arguments)), strict=True):
            torch.testing.assert_close(y, expected)
            assert y.stride() == expected.stride()
