"""FP8 within fused blocks: who quantizes what, how often, and that it changes no number.

The kernels themselves are in test_fused_kernels.py.
"""

# mypy: disallow-untyped-calls=False
# diffusers ships no types.

import collections
import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from serve.acceleration.fp8 import quantize, relative_error
from serve.acceleration.fp8_layers import Fp8Linear
from serve.acceleration.fp8_rows import FP8, Fp8Rows, as_rows, quantize_rows
from serve.acceleration.fused import fp8 as fused_fp8
from serve.acceleration.fused.attention import through
from serve.acceleration.fused.fusion import fuse
from serve.acceleration.fused.ops import plain_geglu
from tests.serve.acceleration.fused.test_ops import is_tensor, several
from tests.serve.acceleration.test_fp8 import FREE
from tests.serve.diffusing import quiet
from tests.serve.fp8_reference import dequantized_matmul

pytestmark = quiet


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


def calls() -> list[tuple[Any, tuple[Any, ...]]]:
    x, wide, channels = torch.randn(2, 5, 16), torch.randn(2, 5, 32), torch.randn(16)
    return [
        (fused_fp8.layer_norm_fp8_op, (x, channels, channels, 1e-5)),
        (fused_fp8.add_layer_norm_fp8_op, (x, x, channels, channels, 1e-5)),
        (fused_fp8.geglu_fp8_op, (wide,)),
    ]


CASES = pytest.mark.parametrize("case", range(3))


@CASES
def test_what_an_operator_tells_without_values_is_so(case: int) -> None:
    op, arguments = calls()[case]
    torch.library.opcheck(op, arguments, test_utils=("test_schema", "test_faketensor"))


@CASES
def test_without_values_it_stays_on_the_gpu(case: int) -> None:
    with FakeTensorMode():
        op, arguments = calls()[case]
        expected = op(*arguments)
        made = op(*(torch.empty_like(a, device="cuda") if is_tensor(a) else a for a in arguments))
    for y, like in zip(several(made), several(expected), strict=True):
        assert y.device.type == "cuda"
        assert (y.shape, y.stride(), y.dtype) == (like.shape, like.stride(), like.dtype)


def same(made: Fp8Rows, expected: torch.Tensor) -> bool:
    """Whether rows are what quantizing a tensor gives, bit for bit, and tell its dtype."""
    values, scale = quantize_rows(expected)
    assert (made.values.dtype, made.dtype) == (FP8, expected.dtype)
    return torch.equal(made.values.view(torch.uint8), values.view(torch.uint8)) and torch.equal(
        made.scale, scale
    )


def test_the_formulas_are_those_of_the_plain_operators_quantized() -> None:
    x, residual = random(2, 5, 48), random(5, 2, 48, seed=1).transpose(0, 1)
    weight, bias, wide = random(48, seed=2), random(48, seed=3), random(2, 5, 96, seed=4)
    normed = functional.layer_norm(x, (48,), weight, bias, 1e-5)
    assert same(fused_fp8.layer_norm_fp8(x, weight, bias, 1e-5), normed)
    total, rows = fused_fp8.add_layer_norm_fp8(x, residual, weight, bias, 1e-5)
    assert torch.equal(total, x + residual)
    assert same(rows, functional.layer_norm(x + residual, (48,), weight, bias, 1e-5))
    assert same(fused_fp8.geglu_fp8(wide), plain_geglu(wide))


def test_what_is_quantized_is_not_again() -> None:
    rows = as_rows(random(2, 5, 48))
    assert rows.scale.shape == (2, 5, 1)
    assert as_rows(rows) is rows


@CASES
@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA GPU has them")
def test_a_gpu_without_kernels_runs_the_formulas(case: int) -> None:
    op, arguments = calls()[case]
    on_gpu: Any = getattr(fused_fp8, op._qualname.split("::")[1] + "_cuda")
    for y, expected in zip(several(on_gpu(*arguments)), several(op(*arguments)), strict=True):
        assert torch.equal(y.float(), expected.float())
        assert y.stride() == expected.stride()


def test_compiled_regions_see_the_formulas() -> None:
    seen: list[str] = []

    def backend(graph: Any, inputs: Any) -> Any:
        seen.extend(str(node.target) for node in graph.graph.nodes if "call" in node.op)
        return graph.forward

    def run(x: torch.Tensor, weight: torch.Tensor) -> tuple[Any, ...]:
        total, rows = fused_fp8.add_layer_norm_fp8(x, x, weight, weight, 1e-5)
        return (
            total,
            *rows[:2],
            *fused_fp8.layer_norm_fp8(x, weight, weight, 1e-5)[:2],
            *fused_fp8.geglu_fp8(x)[:2],
        )

    x, weight = random(2, 32), random(32, seed=1)
    torch._dynamo.reset()
    made = torch.compile(run, backend=backend, fullgraph=True)(x, weight)
    torch._dynamo.reset()
    for y, expected in zip(made, run(x, weight), strict=True):
        assert torch.equal(y.float(), expected.float())
    assert sum("amax" in name for name in seen) == 3
    assert not any("viralload" in name for name in seen)


class Operators(TorchDispatchMode):
    """Counts the operators that were called."""

    def __init__(self) -> None:
        super().__init__()
        self.count: collections.Counter[str] = collections.Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count[func.name().split(".")[0]] += 1
        return func(*args, **(kwargs or {}))


def counted(run: Callable[[], Any]) -> collections.Counter[str]:
    with Operators() as seen, torch.no_grad():
        run()
    count: collections.Counter[str] = seen.count
    return count


def ours(count: collections.Counter[str]) -> dict[str, int]:
    return {
        name.removeprefix("viralload::"): times
        for name, times in count.items()
        if name.startswith("viralload::")
    }


def block(width: int = 32, text: int = 16, heads: int = 2) -> nn.Module:
    torch.manual_seed(0)
    made = BasicTransformerBlock(width, heads, width // heads, cross_attention_dim=text)
    return made.bfloat16().eval()


def test_sdxls_block_quantizes_three_times_instead_of_ten() -> None:
    """Behind each attention, and the text; its norms and its gate write FP8 themselves."""
    with torch.device("meta"):
        blocks = nn.ModuleList([block(1280, 2048, 20)])
        tokens = torch.empty(16, 1024, 1280, dtype=torch.bfloat16)
        texts = torch.empty(16, 77, 2048, dtype=torch.bfloat16)
        assert quantize(blocks, gpu=FREE).layers == 10

        def run() -> None:
            blocks[0](tokens, encoder_hidden_states=texts)

        before = counted(run)
        fuse(blocks)
        after = counted(run)
    assert ours(before) == {"quantize_rows": 10}
    assert before["aten::native_layer_norm"] == 3
    assert ours(after) == {
        "quantize_rows": 3,
        "layer_norm_fp8": 1,
        "add_layer_norm_fp8": 2,
        "geglu_fp8": 1,
    }
    assert before["aten::_scaled_mm"] == after["aten::_scaled_mm"] == 10
    assert after["aten::native_layer_norm"] == 0


def transformer(layers: int) -> tuple[nn.ModuleList, Callable[[], torch.Tensor]]:
    torch.manual_seed(0)
    made = Transformer2DModel(
        2, 16, in_channels=32, norm_num_groups=4, cross_attention_dim=16, num_layers=layers,
        use_linear_projection=True,
    )  # fmt: skip
    parts = nn.ModuleList([made.bfloat16().eval()])
    images, texts = random(2, 32, 4, 3), random(2, 7, 16, seed=1)

    @torch.inference_mode()
    def run() -> torch.Tensor:
        y: torch.Tensor = parts[0](images, encoder_hidden_states=texts, return_dict=False)[0]
        return y

    return parts, run


def test_the_text_is_quantized_once_for_all_blocks_of_a_transformer() -> None:
    parts, run = transformer(3)
    quantize(parts, gpu=FREE, matmul=dequantized_matmul)
    assert ours(counted(run))["quantize_rows"] == 3 * 10 + 2
    fuse(parts)
    after = ours(counted(run))
    assert after["quantize_rows"] == 3 * 2 + 1 + 2  # behind attention, the text, two projections
    assert (after["layer_norm_fp8"], after["add_layer_norm_fp8"], after["geglu_fp8"]) == (3, 6, 3)


@pytest.mark.parametrize(
    ("names", "quantized"),
    [
        # Names of the layers that stay bf16, and how often anything is quantized beside norms
        # and gates in the fused block.
        ((), 3),
        (("attn2.to_k", "attn2.to_v"), 2),  # as where texts have too few rows
        (("attn1.to_v",), 1 + 3),  # norm1 has to write bf16; queries and keys share
        (("ff.net.0.proj", "ff.net.2"), 3),
        (("attn2.to_q", "ff.net.2"), 3),
    ],
)
def test_a_fused_block_in_fp8_is_the_one_that_it_stands_for(
    names: tuple[str, ...], quantized: int
) -> None:
    blocks = nn.ModuleList([block()])
    kept = {name: copy.deepcopy(blocks[0].get_submodule(name)) for name in names}
    quantize(blocks, gpu=FREE, matmul=dequantized_matmul)
    for name, layer in kept.items():
        blocks[0].set_submodule(name, layer)
    tokens, texts = random(2, 5, 32), random(2, 7, 16, seed=1)

    def run() -> Any:
        return blocks[0](tokens, encoder_hidden_states=texts)

    with torch.inference_mode():
        expected = run()
        assert fuse(blocks).blocks == 1
        count = ours(counted(run))
        # Both round to bf16 where they may: a rounding moved, 2^-9, may move one to FP8, 2^-4.
        assert relative_error(expected, run()) < 2**-6
    assert count["quantize_rows"] == quantized
    assert count.get("layer_norm_fp8", 0) == ("attn1.to_v" not in names)
    assert count.get("geglu_fp8", 0) == ("ff.net.2" not in names)
    assert count.get("geglu", 0) == ("ff.net.2" in names)


def test_layers_of_both_kinds_share_an_input() -> None:
    x, linear = random(3, 32), nn.Linear(32, 16).bfloat16()
    layers = [linear, *(Fp8Linear(linear.weight, linear.bias, dequantized_matmul) for _ in "12")]
    made: list[torch.Tensor] = []
    count = ours(counted(lambda: made.extend(through(layers, x))))
    assert count == {"quantize_rows": 1}
    with torch.no_grad():
        for y, layer in zip(made, layers, strict=True):
            assert torch.equal(y, layer(x))
