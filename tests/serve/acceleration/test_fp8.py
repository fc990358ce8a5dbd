"""Which layers of a model are quantized, and what that does to its output."""

# mypy: disallow-untyped-calls=False

import math
from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import nn

from serve.acceleration.fp8 import (
    H200,
    Gpu,
    Quantized,
    is_supported,
    pays,
    quantize,
    relative_error,
)
from serve.acceleration.fp8_layers import Fp8Conv1x1, Fp8Linear, Matmul, scaled_matmul
from serve.models.architectures import sd15, sdxl
from serve.models.random_weights import materialize
from tests.serve.fp8_reference import dequantized_matmul, runs_on_cpu

CUDA = torch.device("cuda")
# FP8 as if it cost nothing: whatever may be quantized is.
FREE = Gpu(bf16_flop_per_s=1.0, fp8_flop_per_s=2.0, bytes_per_s=math.inf, launch_s=0.0)
MATMUL: Matmul = scaled_matmul if runs_on_cpu(scaled_matmul) else dequantized_matmul


@pytest.mark.parametrize(
    ("rows", "in_features", "out_features", "is_paid"),
    [
        # On an H200 an output feature saves 1.2e-15 s an element, and an element costs 7.0e-13 s.
        (math.inf, 1280, 576, False),
        (math.inf, 1280, 592, True),
        (math.inf, 1280, 600, False),  # 600 = 37.5 · 16
        (math.inf, 1284, 1280, False),  # 1284 = 80.25 · 16
        # SDXL's feed-forward on a 32 x 32 grid: 1024 · 1280 · (1.23e-11 - 7.0e-13) = 15 µs > 2 µs
        (1024, 1280, 10240, True),
        # its queries there: 1024 · 1280 · (1.53e-12 - 7.0e-13) = 1.1 µs, twice that with guidance
        (1024, 1280, 1280, False),
        (2048, 1280, 1280, True),
        # its text keys, and its time embedding
        (2 * 77, 2048, 1280, False),
        (16, 1280, 1280, False),
        (0, 1280, 1280, False),
    ],
)
def test_where_fp8_pays(rows: float, in_features: int, out_features: int, is_paid: bool) -> None:
    assert pays(rows, in_features, out_features, H200) is is_paid


@pytest.mark.parametrize(
    ("reference", "other", "error"),
    [
        ([3.0, 4.0], [3.0, 4.0], 0.0),
        ([3.0, 4.0], [3.0, 3.5], 0.1),  # 0.5 / 5
        ([0.0, 0.0], [0.0, 0.0], 0.0),
        ([0.0, 0.0], [0.0, 1.0], math.inf),
    ],
)
def test_relative_error(reference: list[float], other: list[float], error: float) -> None:
    assert relative_error(torch.tensor(reference), torch.tensor(other)) == pytest.approx(error)


class Zoo(nn.Module):
    """A layer of each kind, FP8 for three of them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(32, 48)
        self.again = self.first  # the same layer under a second name
        self.pointwise = nn.Conv2d(32, 64, 1, bias=False)
        self.odd = nn.Linear(32, 40)
        self.conv = nn.Conv2d(32, 32, 3, padding=1)
        self.strided = nn.Conv2d(32, 32, 1, stride=2)
        self.grouped = nn.Conv2d(32, 32, 1, groups=2)
        self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(48, 16))])
        self.attention = nn.MultiheadAttention(32, 2)  # its out_proj is a Linear of another kind
        self.unused = nn.Linear(32, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.first(x) + self.again(x)
        image = self.conv(x.t()[None, :, :, None])
        result: torch.Tensor = self.blocks[0](tokens) + self.pointwise(image).mean()
        return result


def zoo() -> Zoo:
    torch.manual_seed(0)
    return Zoo().bfloat16().eval()


def test_layers_are_replaced_in_place_and_others_left_alone() -> None:
    module: Any = zoo()
    done = quantize(module, convolutions=True, gpu=FREE, matmul=MATMUL)
    assert isinstance(module.first, Fp8Linear)
    assert module.again is module.first
    assert isinstance(module.pointwise, Fp8Conv1x1)
    assert isinstance(module.blocks[0][0], Fp8Linear)
    assert isinstance(module.unused, Fp8Linear)
    for layer in (module.odd, module.conv, module.strided, module.grouped):
        assert type(layer) in (nn.Linear, nn.Conv2d)
    assert type(module.attention.out_proj).__name__ == "NonDynamicallyQuantizableLinear"
    # Weights, in units of 256: first 6, pointwise 8, block 3, unused 4; odd 5, conv 36, strided 4
    # and grouped 2.
    assert done.parameter_share == pytest.approx(21 / 68)
    assert (done.layers, done.of_layers) == (4, 8)
    assert (done.flop_share, done.relative_error) == (None, None)


def test_a_run_tells_rows_and_error() -> None:
    module, x = zoo(), torch.randn(10, 32).bfloat16()
    calls: list[None] = []

    def run() -> torch.Tensor:
        calls.append(None)
        return cast("torch.Tensor", module(x))

    done = quantize(module, run, convolutions=True, gpu=FREE, matmul=MATMUL)
    assert len(calls) == 2
    assert type(module.unused) is nn.Linear  # the run does not reach it
    assert done.layers == 3
    # Rows 10 each, in units of 256 · 2 · 10: first twice 12, pointwise 8, block 3; conv 36
    assert done.flop_share == pytest.approx(23 / 59)
    assert done.relative_error is not None
    assert 0 < done.relative_error < 0.1
    assert not module.conv._forward_hooks


def test_few_rows_stay_bf16() -> None:
    """With a kernel of 1 ns 10 rows of 32 · 48 elements, saving 1.2e-15 s each, do not pay."""
    module, x = zoo(), torch.randn(10, 32).bfloat16()
    gpu = Gpu(bf16_flop_per_s=790e12, fp8_flop_per_s=1.5e15, bytes_per_s=1e18, launch_s=1e-9)
    assert quantize(module, lambda: module(x), gpu=gpu, matmul=MATMUL).layers == 0
    x = x.repeat(1000, 1)
    assert quantize(module, lambda: module(x), gpu=gpu, matmul=MATMUL).layers == 2


def test_nothing_to_quantize() -> None:
    x = torch.ones(2, 3)
    done = quantize(nn.ReLU(), lambda: x)
    assert done == Quantized(
        layers=0, of_layers=0, parameter_share=0.0, flop_share=0.0, relative_error=0.0
    )


def unet() -> Any:
    """A UNet of the tiny model's build, in bf16, with features in multiples of 16."""
    with torch.device("meta"):
        module: Any = UNet2DConditionModel(
            sample_size=8,
            layers_per_block=1,
            block_out_channels=(32, 64),
            norm_num_groups=8,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=32,
            attention_head_dim=8,
        )
    cpu = torch.device("cpu")
    materialize(module, cpu, torch.bfloat16, torch.Generator(cpu).manual_seed(0))
    return module


def closure(module: Any, device: str = "cpu") -> Callable[[], torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    latents, text = (
        torch.randn(*shape, generator=generator).bfloat16().to(device)
        for shape in ((2, 4, 8, 8), (2, 77, 32))
    )
    times = torch.tensor([981.0, 41.0], device=device)

    @torch.inference_mode()
    def run() -> torch.Tensor:
        noise: torch.Tensor = module(latents, times, text, return_dict=False)[0]
        return noise

    return run


@pytest.mark.parametrize(
    ("convolutions", "most"),
    # Each rounding is off by 2.6% of its layer's output. Shortcuts carry all that came before.
    [(False, 0.10), (True, 0.16)],
)
def test_a_denoiser_end_to_end(convolutions: bool, most: float) -> None:
    module = unet()
    run = closure(module)
    before = run()
    done = quantize(module, run, convolutions=convolutions, gpu=FREE, matmul=MATMUL)
    kinds = [type(layer) for layer in module.modules()]
    assert kinds.count(Fp8Linear) == done.layers  # a 1x1 convolution holds one
    assert kinds.count(Fp8Conv1x1) == (13 if convolutions else 0)
    assert done.flop_share is not None
    assert 0.2 < done.flop_share < 0.5
    assert done.relative_error is not None
    assert 0.02 < done.relative_error < most
    assert relative_error(before, run()) == done.relative_error
    assert module.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("build", "samples", "layers", "flop_share"),
    [
        # SDXL: 0.64 of the UNet's FLOPs are in Linear layers, 0.12 in none of either kind
        (sdxl, 2, 502, 0.66),
        (sdxl, 16, 702, 0.73),
        (sd15, 16, 57, 0.24),
    ],
)
def test_shares_of_the_real_models(
    build: Callable[[], dict[str, Any]], samples: int, layers: int, flop_share: float
) -> None:
    """The rule on the real shapes, by a run on the meta device."""
    with torch.device("meta"):
        module = build()["unet"].bfloat16().eval()
        side, width = module.config.sample_size, module.config.cross_attention_dim
        shapes = (samples, 4, side, side), (samples, 77, width), (samples, 1280), (samples, 6)
        latents, text, pooled, sizes = (torch.empty(s, dtype=torch.bfloat16) for s in shapes)
        added = {"text_embeds": pooled, "time_ids": sizes}

        def run() -> torch.Tensor:
            module(latents, torch.ones(()), text, added_cond_kwargs=added)
            return torch.zeros((), device="cpu")

        done = quantize(module, run)
    assert done.layers == layers
    assert done.flop_share == pytest.approx(flop_share, abs=0.01)


@pytest.mark.parametrize(
    ("device", "reason"), [("cpu", "the device is 'cpu'"), ("mps", "the device is 'mps'")]
)
def test_devices_without_fp8(device: str, reason: str) -> None:
    told = is_supported(torch.device(device))
    assert told is not None
    assert reason in told


@pytest.mark.parametrize(
    ("capability", "is_enough"), [((8, 0), False), ((8, 9), True), ((9, 0), True), ((10, 0), True)]
)
def test_gpus_by_capability(
    capability: tuple[int, int], is_enough: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A GPU")
    monkeypatch.setattr(torch.version, "hip", None)
    told = is_supported(CUDA)
    assert (told is None) is is_enough
    if told is not None:
        assert "A GPU has 8.0" in told


def test_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert is_supported(CUDA) == "fp8 needs a CUDA GPU and torch sees none: leave fp8 off"


@pytest.mark.gpu
@pytest.mark.skipif(is_supported(CUDA) is not None, reason=str(is_supported(CUDA)))
def test_a_denoiser_on_a_gpu() -> None:
    module = unet().to(CUDA)
    done = quantize(module, closure(module, "cuda"), gpu=FREE)
    assert done.layers > 20
    assert done.relative_error is not None
    assert 0.005 < done.relative_error < 0.08
