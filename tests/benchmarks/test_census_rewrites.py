"""What the rules change of a transformer block's kernels, counted by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.kernels import Kernel, Recording, Ref

pytest.importorskip("torch")

ROOT = Path(__file__).parents[2]
ROWS, WIDTH = 16384, 1280
X = 2 * ROWS * WIDTH  # bytes of a tensor of tokens in bf16
W = 2 * WIDTH * WIDTH
PATHS = ("attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0", "attn2.to_k", "ff.net.2")
CLASSES = dict.fromkeys(PATHS, "Linear")


def product(path: str, x: int, weight: int, y: int) -> Kernel:
    return Kernel(
        kind="matmul",
        name="mm",
        path=path,
        flop=2.0 * ROWS * WIDTH * WIDTH,
        shape=(ROWS, WIDTH, WIDTH),
        reads=(Ref(x, 0, X), Ref(weight, 0, W)),
        writes=(Ref(y, 0, X),),
    )


def other(kind: Any, name: str, reads: list[int], writes: list[int]) -> Kernel:
    return Kernel(
        kind=kind,
        name=name,
        reads=tuple(Ref(value, 0, X) for value in reads),
        writes=tuple(Ref(value, 0, X) for value in writes),
    )


# norm, three products of it, attention, a product, the residual sum and the next norm
BLOCK = Recording(
    kernels=(
        other("norm", "native_layer_norm", [1], [2]),
        product("attn1.to_q", 2, 101, 3),
        product("attn1.to_k", 2, 102, 4),
        product("attn1.to_v", 2, 103, 5),
        other("attention", "sdpa", [3, 4, 5], [6]),
        product("attn1.to_out.0", 6, 104, 7),
        other("norm", "add_layer_norm", [7, 1], [8, 9]),
    ),
    classes=CLASSES,
)


def moved(recording: Recording) -> dict[str, tuple[int, int]]:
    """Bytes of reads and writes in halves of a tensor, weights left out, by name or path."""
    return {
        kernel.path or kernel.name: (
            sum(ref.bytes for ref in kernel.reads if ref.value < 100) * 2 // X,
            sum(ref.bytes for ref in kernel.writes) * 2 // X,
        )
        for kernel in recording.kernels
    }


def test_fp8_inputs_are_written_by_the_norm_and_quantized_behind_attention() -> None:
    from benchmarks.rewrites import fp8_linears

    made = fp8_linears(BLOCK)
    assert [kernel.name for kernel in made.kernels] == [
        "native_layer_norm", "mm", "mm", "mm", "sdpa", "quantize rows", "mm", "add_layer_norm",
    ]  # fmt: skip
    told = moved(made)
    assert told["native_layer_norm"] == (2, 1)  # a tensor in bf16 to half of one in FP8
    assert told["attn1.to_q"] == (1, 2)
    assert told["add_layer_norm"] == (4, 4)  # nothing in FP8 reads it here
    quantizing = made.kernels[5]
    assert quantizing.bytes == X + X // 2
    weights = [ref.bytes for kernel in made.kernels for ref in kernel.reads if ref.value > 100]
    assert weights == [W // 2] * 4
    assert sum(kernel.is_fp8 for kernel in made.kernels) == 4


def test_an_input_is_quantized_once_by_a_kernel_and_thrice_by_eager_torch() -> None:
    from benchmarks.rewrites import fp8_linears

    alone, eager = (fp8_linears(BLOCK, by) for by in ("alone", "eager"))
    assert len(alone.kernels) == len(BLOCK.kernels) + 2
    assert len(eager.kernels) == len(BLOCK.kernels) + 4 * 5
    # 2 + 4, 4 + 4, 4, 4 + 4, 4 + 1 bytes an element, for each of four layers
    extra = eager.bytes - fp8_linears(BLOCK).bytes - 4 * (6 + 8 + 4 + 8 + 5) * X // 2
    assert extra == X // 2 - (X + X // 2)  # the norm writes bf16 again; no kernel quantizes


def test_small_products_and_those_of_no_linear_layer_stay_bf16() -> None:
    from benchmarks.rewrites import fp8_linears

    small = product("attn2.to_k", 1, 101, 2)
    few = Kernel(
        kind="matmul", name="mm", path="attn2.to_k", flop=1.0, shape=(16, 768, 320),
        reads=small.reads, writes=small.writes,
    )  # fmt: skip
    free = product("somewhere", 1, 101, 2)
    recording = Recording(kernels=(few, free), classes=CLASSES)
    assert fp8_linears(recording) == recording


def test_products_of_one_input_become_one() -> None:
    from benchmarks.rewrites import joined_products

    made = joined_products(BLOCK)
    assert len(made.kernels) == len(BLOCK.kernels) - 2
    assert made.flop == BLOCK.flop
    assert moved(made)["attn1.to_q"] == (2, 6)  # read once, three tensors written
    assert made.kernels[1].shape == (ROWS, WIDTH, 3 * WIDTH)


def test_the_text_is_multiplied_once_and_gathered() -> None:
    from benchmarks.rewrites import text_keys_once

    key = product("attn2.to_k", 20, 101, 21)
    (made,) = text_keys_once(Recording(kernels=(key,))).kernels
    assert (made.kind, made.flop, made.bytes) == ("copy", 0.0, 2 * X)


def test_a_residual_is_added_by_the_product_before() -> None:
    from benchmarks.rewrites import sums_in_products

    told = moved(sums_in_products(BLOCK))
    assert told["attn1.to_out.0"] == (4, 2)  # it reads the residual, too
    assert told["add_layer_norm"] == (2, 2)  # the sum, and its norm
    last = (product("ff.net.2", 1, 101, 2), other("pointwise", "add", [2, 3], [4]))
    (made,) = sums_in_products(Recording(kernels=last)).kernels
    assert made.path == "ff.net.2"
    assert made.bytes == X + X + W + X


def test_a_gate_in_the_product_halves_what_it_writes() -> None:
    from benchmarks.rewrites import gates_in_products

    both = (
        product("ff.net.0.proj", 1, 101, 2),
        Kernel(kind="pointwise", name="geglu", reads=(Ref(2, 0, X),), writes=(Ref(3, 0, X // 2),)),
    )
    (made,) = gates_in_products(Recording(kernels=both)).kernels
    assert made.bytes == X + W + X // 2


def test_a_rate_takes_shallow_and_unguided_steps_into_account() -> None:
    from benchmarks.model_stages import Case, Stages
    from benchmarks.roofline import Assumed, Gpu
    from benchmarks.rungs import rate
    from serve.shortcuts import Shortcuts

    def taking(seconds: int) -> Recording:
        read = Ref(1, 0, 100 * seconds)
        return Recording(kernels=(Kernel(kind="copy", name="x", reads=(read,), launches=0),))

    stages = Stages(
        text=taking(1), slots=taking(9), step=taking(4), shallow=taking(2), decode=taking(3)
    )
    plain = {"assumed": Assumed(memory=1.0), "gpu": Gpu(name="x", flop_per_s=1, bytes_per_s=100)}
    case = Case("sd15", 16, 512)
    some: Any = plain
    # 8 images in 10 steps of 4 s, 3 s and 1 s
    assert rate(case, stages, steps=10, **some) == pytest.approx(8 / 44)
    # every second of them 2 s
    cached = rate(case, stages, Shortcuts(cache_steps=2), steps=10, **some)
    assert cached == pytest.approx(8 / 34)
    # 7 steps guided (4 x 4 s, 3 x 2 s), 3 not (1 s, 2 s, 1 s)
    both = Shortcuts(cache_steps=2, guidance_until=0.67)
    assert rate(case, stages, both, steps=10, **some) == pytest.approx(8 / (22 + 4 + 4))
    import msgspec

    with pytest.raises(ValueError, match="no shallow step"):
        rate(case, msgspec.structs.replace(stages, shallow=None), both)


@pytest.mark.parametrize("model", ["sdxl", "sd15"])
def test_the_page_has_the_profiles_figures(model: str) -> None:
    ladder = json.loads((ROOT / "profiles/reference/census-ladder-h200-paper.json").read_text())
    page = (ROOT / "docs/performance.md").read_text(encoding="utf-8")
    (case,) = (case for case in ladder["cases"] if case["model"] == model)
    for rung in case["rungs"]:
        rates = " | ".join(f"{rate:.2f}" for rate in rung["images_per_s_on_paper"].values())
        figures = f"{rung['step_ms_on_paper']:.1f} | {rung['bytes'] / 1e9:.1f} | "
        assert f" | {figures}{rung['kernels']:,} | {rates} |" in page, rung["name"]


def test_the_ladder_stands_on_the_census() -> None:
    census, ladder = (
        json.loads((ROOT / f"profiles/reference/census-{name}h200-paper.json").read_text())
        for name in ("", "ladder-")
    )
    assert census["assumed"] == ladder["assumed"]
    for case, climbed in zip(census["cases"], ladder["cases"], strict=True):
        (own,) = (rung for rung in climbed["rungs"] if rung["name"] == "own kernels")
        assert own["basis"] == "recorded"
        # its steps keep their deep features, too
        assert own["step_ms_on_paper"] == pytest.approx(case["step_ms_on_paper"], rel=0.002)
