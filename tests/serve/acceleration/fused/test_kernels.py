"""The Triton kernels: their numbers in Triton's interpreter, their machine code for an H200, a GPU.

`make test-slow` installs Triton apart, in .venv/triton; without it these tests skip.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from serve.acceleration.fp8_rows import FP8, quantize_rows, quantize_rows_op
from serve.acceleration.fused import fp8 as fused_fp8
from serve.acceleration.fused import ops as fused_ops
from serve.acceleration.fused.ops import why_plain
from tests.serve.acceleration.fused.test_ops import several
from tests.serve.conftest import ROOT

APART = Path(sys.prefix) / "triton"
# Registers a thread may have with 1,024 threads on a multiprocessor of 65,536, so that loads hide
# behind each other.
REGISTERS = 64


def ask(what: str, **environment: str) -> list[dict[str, Any]]:
    path = os.pathsep.join([str(ROOT), str(APART), os.environ.get("PYTHONPATH", "")])
    told = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, **environment}
    known = subprocess.run(
        [sys.executable, "-c", "import triton"], env=told, check=False, stderr=subprocess.DEVNULL
    )
    if known.returncode:
        pytest.skip("Triton is not installed; `make test-slow` puts it into .venv/triton")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.serve.triton_checks", what],
        cwd=ROOT,
        env=told,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: list[dict[str, Any]] = json.loads(done.stdout)
    return answer


@pytest.mark.slow
def test_the_kernels_numbers() -> None:
    found = ask("numbers", TRITON_INTERPRET="1")
    assert len(found) == 2 * (5 + 8 + 2 * 5 + 2) + 1
    for each in found:
        # float32 keeps 24 bits, and 9 fewer of a distance from a mean of 300 deviations; where the
        # mean is in no moment's way, all. bf16 keeps 8, which the interpreter cuts, not rounds.
        is_far = "96, 96" in each["what"] or "layer_norm" in each["what"]
        most = 2**-8 if each["dtype"] == "bfloat16" else 2**-15 if is_far else 2**-20
        # Nor does it round to FP8: up to 2^-3 is cut off.
        most = {"fp8": 0.07}.get(each["what"], most)
        if each["what"] == "alone" or each["what"].startswith("same"):
            most = 0.0
        assert each["off"] <= most, each


@pytest.mark.slow
def test_the_kernels_machine_code(tmp_path: Path) -> None:
    """For sm_90, ahead of time: nothing spilled, 16 bytes a load, few registers."""
    found = ask("build", TRITON_CACHE_DIR=str(tmp_path))
    assert len(found) == 16
    for each in found:
        assert (each["spilled"], each["spills"]) == (0, 0), each
        assert each["registers"] <= REGISTERS, each
        if each["what"] == "combine":  # its table is small, and a group's channels start anywhere
            continue
        # A row's weights are fewer than its elements, and moments are stored 4 bytes a channel.
        assert set(each["loads"]) <= {"128", "64"}, each
        assert each["loads"].count("128") > each["loads"].count("64"), each
        assert set(each["stores"]) <= {"128", "64"}, each
        to_fp8 = ["rn.satfinite.e4m3x2.f32"] if each["what"].endswith("to_fp8") else []
        assert each["rounding"] == to_fp8, each  # to nearest, as torch rounds


CUDA = torch.device("cuda")
ON_GPU = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU"),
]


@pytest.mark.parametrize(
    ("images", "channels", "side"),
    [
        pytest.param(*case, marks=ON_GPU)
        for case in ((2, 320, 128), (16, 1280, 32), (16, 2560, 32), (2, 960, 64), (1, 128, 1024))
    ],
)
def test_a_gpu_runs_the_kernels(images: int, channels: int, side: int) -> None:
    assert why_plain(CUDA) is None
    generator = torch.Generator("cuda").manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, device="cuda", generator=generator).bfloat16()

    x, residual = (
        (3 * random(images, channels, side, side) + 2).to(memory_format=fused_ops.LAST)
        for _ in range(2)
    )
    shift, weight, bias = random(images, channels), random(channels), random(channels)
    tokens = random(images, side * side, channels)
    cases: list[tuple[Any, Any, tuple[Any, ...]]] = [
        (
            fused_ops.group_norm_op,
            fused_ops.plain_group_norm,
            (x, shift, weight, bias, 32, 1e-5, True),
        ),
        (fused_ops.add_bias_op, fused_ops.plain_add_bias, (x, residual, bias)),
        (
            fused_ops.add_layer_norm_op,
            fused_ops.plain_add_layer_norm,
            (tokens, tokens.flip(0), weight, bias, 1e-5),
        ),
        (fused_ops.geglu_op, fused_ops.plain_geglu, (tokens,)),
        (quantize_rows_op, quantize_rows, (tokens[0],)),
        (
            fused_fp8.layer_norm_fp8_op,
            fused_fp8.plain_layer_norm_fp8,
            (tokens, weight, bias, 1e-5),
        ),
        (
            fused_fp8.add_layer_norm_fp8_op,
            fused_fp8.plain_add_layer_norm_fp8,
            (tokens, tokens.flip(0), weight, bias, 1e-5),
        ),
        (fused_fp8.geglu_fp8_op, fused_fp8.plain_geglu_fp8, (tokens,)),
    ]
    for op, plain, arguments in cases:
        exact = plain(*(a.float() if isinstance(a, torch.Tensor) else a for a in arguments))
        for made, expected in zip(several(op(*arguments)), several(exact), strict=True):
            # One rounding to bf16, 2^-9 at most; the norm of a rounded sum has two. Either may move
            # one to FP8, by 2^-3 of an element, in some of them.
            most = 2**-5 if made.dtype == FP8 else 2**-7
            assert float((made.float() - expected.float()).norm() / expected.float().norm()) < most
            assert made.stride() == expected.stride()
