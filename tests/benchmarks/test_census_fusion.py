"""The rule of fusion, on kernels whose traffic is counted by hand."""

from collections import Counter
from typing import Any

import pytest

from benchmarks.fusion import fused, region
from benchmarks.kernels import Kernel, Recording, Ref

BLOCK = {"net": "Net", "net.block": "BasicTransformerBlock", "net.block.norm": "LayerNorm"}


def kernel(kind: Any, reads: list[int], writes: list[int], **more: Any) -> Kernel:
    """Each value has a hundred bytes."""
    return Kernel(
        kind=kind,
        name=more.pop("name", kind),
        path=more.pop("path", "net.block"),
        reads=tuple(Ref(value, 0, 100) for value in reads),
        writes=tuple(Ref(value, 0, 100) for value in writes),
        **more,
    )


def told(kernels: list[Kernel]) -> list[tuple[str, int, int]]:
    """Kind, bytes and launches of what the rule makes of them."""
    made = fused(Recording(kernels=kernels, classes=BLOCK)).kernels
    return [(each.kind, each.bytes, each.launches) for each in made]


def test_what_lies_between_products_becomes_one_kernel() -> None:
    kernels = [
        kernel("matmul", [1], [2]),
        kernel("pointwise", [2, 9], [3]),
        kernel("norm", [3], [4], path="net.block.norm"),
        kernel("matmul", [4], [5]),
    ]
    # 2 and 9 are read, 4 is written; 3 stays inside
    assert told(kernels) == [("matmul", 200, 1), ("fused", 300, 1), ("matmul", 200, 1)]


def test_a_sum_around_products_does_not_close_a_circle() -> None:
    kernels = [
        kernel("pointwise", [1], [2]),
        kernel("norm", [2], [3]),
        kernel("matmul", [3], [4]),
        kernel("pointwise", [4, 2], [5]),  # the residual: later than the product, so on its own
    ]
    # the first reads 1 and writes 2, which the sum wants, and 3
    assert told(kernels) == [("fused", 300, 1), ("matmul", 200, 1), ("pointwise", 300, 1)]


def test_a_tensor_read_twice_inside_is_read_once() -> None:
    kernels = [kernel("pointwise", [1], [2]), kernel("pointwise", [2, 1], [3])]
    assert told(kernels) == [("fused", 200, 1)]


def test_a_group_norm_reads_twice_and_has_a_kernel_more() -> None:
    kernels = [
        kernel("pointwise", [1], [2]),
        kernel("norm", [2], [3], passes=2, launches=3),
        kernel("pointwise", [3], [4]),
    ]
    assert told(kernels) == [("fused", 300, 2)]


@pytest.mark.parametrize("path", ["net", "net.other"])
def test_nothing_is_fused_outside_of_a_block_or_across_its_border(path: str) -> None:
    kernels = [kernel("pointwise", [1], [2], path=path), kernel("pointwise", [2], [3])]
    assert told(kernels) == [("pointwise", 200, 1)] * 2
    assert fused(Recording(kernels=kernels, classes={})).kernels == tuple(kernels)


def test_the_region_is_the_innermost_block() -> None:
    classes = {**BLOCK, "net.block.ff": "BasicTransformerBlock"}
    assert region("net.block.ff.act", classes, ("BasicTransformerBlock",)) == "net.block.ff"
    assert region("net.block.norm", classes, ("BasicTransformerBlock",)) == "net.block"
    assert region("net", classes, ("BasicTransformerBlock",)) is None


def test_a_transformer_block_becomes_what_inductor_makes_of_it() -> None:
    pytest.importorskip("torch")
    from benchmarks.model_stages import Case, record

    made = fused(record(Case("tiny-sdxl", 4, 64), is_fused=False).step)
    blocks = [path for path, name in made.classes.items() if name == "BasicTransformerBlock"]
    assert blocks
    for block in blocks:
        kinds = Counter(each.kind for each in made.kernels if each.path.startswith(block + "."))
        kinds += Counter(each.kind for each in made.kernels if each.path == block)
        assert (kinds.pop("matmul"), kinds.pop("attention")) == (10, 2)
        assert kinds.total() == 5  # inductor's Triton kernels, of SDXL's block
