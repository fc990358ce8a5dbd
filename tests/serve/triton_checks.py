"""What is found out of the fused kernels in a process of its own, with Triton: JSON on stdout.

TRITON_INTERPRET=1 python -m tests.serve.triton_checks numbers   # errors, on the CPU
python -m tests.serve.triton_checks build                        # machine code for sm_90
"""

# mypy: disable-error-code="no-untyped-call"

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import triton
from torch.nn import functional

from serve.acceleration import fp8_rows
from serve.acceleration.fused import fp8 as fused_fp8
from serve.acceleration.fused import fp8_kernels, kernels
from serve.acceleration.fused import launches as fused_launches
from serve.acceleration.fused import ops as fused_ops
from serve.acceleration.fused.launches import (
    CHANNELS,
    CHUNK,
    COMBINING_WARPS,
    GEGLU_CHANNELS,
    PIXELS,
    SPAN,
    TILE,
    TILES,
    warps_of,
)

LAST = torch.channels_last
FP8_KERNELS = ("to_fp8", "norm_to_fp8", "gated_to_fp8")
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def off(made: torch.Tensor, exact: torch.Tensor) -> float:
    return float((made.double() - exact).norm() / exact.norm())


def random(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def numbers() -> Iterator[dict[str, Any]]:
    """Relative errors against the formula in float64, through the functions a GPU would run."""
    for module in (fused_ops, fp8_rows, fused_fp8):
        vars(module)["kernels"] = lambda: fused_launches
    for name, dtype in TYPES.items():
        for told, made, exact in [*norms(dtype), *others(dtype), *in_fp8(dtype)]:
            yield {"what": told, "dtype": name, "off": off(made, exact)}
    x = laid(random(3, 64, 5, 7, seed=1), torch.float32)
    weight, bias, shift = (random(n, 64, seed=n) for n in (4, 2, 3))
    three = fused_ops.group_norm_cuda(x, shift, weight[0], bias[0], 8, 1e-5, True)
    alone = [
        fused_ops.group_norm_cuda(laid(x[i : i + 1], x.dtype), shift[i : i + 1], *rest)
        for i in range(3)
        for rest in [(weight[0], bias[0], 8, 1e-5, True)]
    ]
    yield {"what": "alone", "dtype": "float32", "off": off(three, torch.cat(alone).double())}


def norms(dtype: torch.dtype) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
    for shape, groups, mean, shifts, silu in (
        ((2, 80, 9, 7), 8, 1.0, 2, True),  # 10 channels a group, no multiple of a tile's pixels
        ((2, 80, 9, 7), 8, 1.0, 1, False),
        ((1, 320, 8, 8), 8, 0.0, 0, True),  # 40
        ((2, 32, 4, 4), 8, 0.0, 0, False),  # fewer channels than a tile has
        ((1, 16, 96, 96), 4, 1000.0, 1, True),  # several rounds; a mean of 300 deviations
    ):
        x = laid(3 * random(*shape, seed=1) + mean, dtype)
        weight, bias = (random(shape[1], seed=i).to(dtype) for i in (2, 3))
        shift = random(shifts, shape[1], seed=4).to(dtype) if shifts else None
        made = fused_ops.group_norm_cuda(x, shift, weight, bias, groups, 1e-5, silu)
        moved = x.double() if shift is None else x.double() + shift[:, :, None, None]
        exact = functional.group_norm(moved, groups, weight.double(), bias.double(), 1e-5)
        yield f"group_norm {shape}", made, functional.silu(exact) if silu else exact


def others(dtype: torch.dtype) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
    image, residual = (laid(random(2, 96, 7, 5, seed=i), dtype) for i in (1, 2))
    bias = random(96, seed=3).to(dtype)
    exact = image.double() + residual.double() + bias.double()[:, None, None]
    yield "add_bias", fused_ops.add_bias_cuda(image, residual, bias), exact
    for width in (320, 1280):
        x, more = ((random(2, 5, width, seed=i) + 100).to(dtype) for i in (1, 2))
        weight, bias = (random(width, seed=i).to(dtype) for i in (3, 4))
        total, normed = fused_ops.add_layer_norm_cuda(x, more, weight, bias, 1e-5)
        yield f"sum {width}", total, x.double() + more.double()
        rounded = total.double()
        exact = functional.layer_norm(rounded, (width,), weight.double(), bias.double(), 1e-5)
        yield f"layer_norm {width}", normed, exact
    x = (3 * random(3, 7, 2 * 320, seed=1)).to(dtype)
    value, gate = x.double().chunk(2, dim=-1)
    yield "geglu", fused_ops.geglu_cuda(x), value * functional.gelu(gate)
    x[0, 0] = 0.0
    rows = x.flatten(0, 1)
    made, scale = fp8_rows.quantize_rows_cuda(rows)
    expected, exact = fp8_rows.quantize_rows(rows)
    yield "scales", scale, exact.double()
    yield "fp8", made.float(), expected.double()


def in_fp8(dtype: torch.dtype) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
    """Norms and gates that write FP8, against the plain kernels and then the quantizing one."""
    for width in (320, 1280):
        x, more = ((3 * random(2, 5, width, seed=i)).to(dtype) for i in (1, 2))
        weight, bias = (random(width, seed=i).to(dtype) for i in (3, 4))
        total, normed = fused_ops.add_layer_norm_cuda(x, more, weight, bias, 1e-5)
        made, *rows = fused_fp8.add_layer_norm_fp8_cuda(x, more, weight, bias, 1e-5)
        yield "same total", made, total.double()
        yield from quantized(rows, normed)
        rows = list(fused_fp8.layer_norm_fp8_cuda(total, weight, bias, 1e-5))
        yield from quantized(rows, normed)
    x = (3 * random(3, 7, 2 * 320, seed=1)).to(dtype)
    x[0, 0] = 0.0
    yield from quantized(fused_fp8.geglu_fp8_cuda(x), fused_ops.geglu_cuda(x))


def quantized(
    rows: Sequence[torch.Tensor], plain: torch.Tensor
) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
    values, scale = fp8_rows.quantize_rows_cuda(plain.flatten(0, -2))
    yield "same fp8", rows[0].flatten(0, -2).float(), values.double()
    yield "same scales", rows[1].flatten(0, -2), scale.double()


def laid(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return x.to(dtype).to(memory_format=LAST)


def build() -> Iterator[dict[str, Any]]:
    """Registers, spilled bytes and the widths of loads and stores, as on an H200."""
    tile = {"WIDTH": CHANNELS, "ROWS": PIXELS}
    combined = {"WIDTH": SPAN, "CHUNK": CHUNK}
    for kernel, constants in (
        (kernels.moments, {**tile, "ROUNDS": 1}),
        (kernels.moments, {**tile, "ROUNDS": 64}),
        (kernels.combine, {**combined, "SHIFTED": True, "CHUNKS": 2}),
        (kernels.combine, {**combined, "SHIFTED": False, "CHUNKS": 16}),
        (kernels.apply, {**tile, "SILU": True, "TILES": TILES}),
        (kernels.sum_of_three, {**tile, "TILES": TILES}),
        (kernels.sum_and_norm, {"WIDTH": 2048, "ROWS": 1}),
        (kernels.sum_and_norm, {"WIDTH": 512, "ROWS": 4}),
        (kernels.gated, {"WIDTH": GEGLU_CHANNELS, "ROWS": TILE // GEGLU_CHANNELS}),
        (fp8_kernels.to_fp8, {"WIDTH": 2048, "ROWS": 1}),
        (fp8_kernels.to_fp8, {"WIDTH": 8192, "ROWS": 1}),
        (fp8_kernels.norm_to_fp8, {"WIDTH": 512, "ROWS": 4, "SUMMED": True}),
        (fp8_kernels.norm_to_fp8, {"WIDTH": 2048, "ROWS": 1, "SUMMED": True}),
        (fp8_kernels.norm_to_fp8, {"WIDTH": 2048, "ROWS": 1, "SUMMED": False}),
        (fp8_kernels.gated_to_fp8, {"WIDTH": 2048, "ROWS": 1}),
        (fp8_kernels.gated_to_fp8, {"WIDTH": 8192, "ROWS": 1}),
    ):
        yield {"what": kernel.fn.__name__, **disassembled(compiled(kernel, constants))}


def compiled(kernel: Any, constants: dict[str, Any]) -> Any:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    wide = {"partials": "*fp32", "table": "*fp32", "eps": "fp32", "scales": "*fp32"}
    if kernel.fn.__name__ in FP8_KERNELS:
        wide["y"] = "*fp8e4nv"
    whole = ("pixels", "channels", "rows", "parts", "span", "stretch", "shift_stride")
    signature = {
        name: "constexpr"
        if name in constants
        else wide.get(name, "i32" if name in whole else "*bf16")
        for name in kernel.arg_names
    }
    # What Triton finds out by itself at a launch: pointers, channels and pixels are multiples of
    # 16. Without it each element would be loaded by itself, two bytes wide.
    even = [
        i
        for i, name in enumerate(kernel.arg_names)
        if signature[name].startswith("*") or name in ("pixels", "channels", "rows")
    ]
    source = ASTSource(
        fn=kernel,
        signature=signature,
        constexprs=constants,
        attrs={(i,): [["tt.divisibility", 16]] for i in even},
    )
    is_combining = kernel is kernels.combine
    options = {"num_warps": COMBINING_WARPS if is_combining else warps_of(constants["WIDTH"])}
    built = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    return built.asm


def disassembled(built: Any) -> dict[str, Any]:
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(built["cubin"])
        file.flush()
        used, code = (
            subprocess.run([tool, flag, file.name], capture_output=True, text=True, check=True)
            for flag in ("-res-usage", "-sass")
        )
    registers, stack, local = (
        int(re.findall(rf"{name}:(\d+)", used.stdout + used.stderr)[0])
        for name in ("REG", "STACK", "LOCAL")
    )
    return {
        "registers": registers,
        "spilled": stack + local,
        "loads": re.findall(r"\bLDG\.E\.(\w+)", code.stdout),
        "stores": re.findall(r"\bSTG\.E\.(\w+)", code.stdout),
        "rounding": sorted(set(re.findall(r"cvt\.(\S*e4m3\S*)", built["ptx"]))),
        "spills": len(re.findall(r"\b(?:LDL|STL)\b", code.stdout)),
    }


if __name__ == "__main__":
    print(json.dumps(list({"numbers": numbers, "build": build}[sys.argv[1]]())))
