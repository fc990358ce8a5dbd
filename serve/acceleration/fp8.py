"""FP8 for a denoiser: which layers it pays in, and what it costs in accuracy.

What it can win: the shares of a forward pass's FLOPs, counted on the meta device.

    UNet                Linear   1x1 conv   3x3 conv   attention's own products
    SD1.5 at 512 px       29%        5%       50%       16%
    SDXL at 1024 px       64%        1%       23%       12%

**What it costs.** A deep network passes rounding errors on and adds to them, so an error says
something only beside that of bf16 against float32. One UNet call of random weights, 16 x 16
latents, on a CPU, with the layers that pay in batches of 16 at full size:

    SD1.5   57 layers, FP8 against bf16  4.7%   bf16 against float32 1.3%
    SDXL   702 layers, FP8 against bf16   42%   bf16 against float32 3.0%

An element is rounded by 2⁻⁴ at most in FP8, by 2⁻⁸ in bf16. Trained weights were not measured.

**1x1 convolutions are left out by default.** They are shortcuts, which carry the sum of all layers
before, and in SD1.5 the doors of its attention blocks: there 18 of them brought 2% more of the
FLOPs and raised the error from 4.8% to 6.7%.

**3x3 convolutions stay bf16**: torch has no FP8 convolution. By im2col, a layer of M pixels, C
channels in and N out would compute its 18·M·C·N FLOPs at the faster rate and move 18·M·C bytes
more: it writes and reads 9 bytes an element and loads 2 first, where bf16 loads 2. On an H200
(rates below) that breaks even at N = 390 channels; with the 1.2 PFLOP/s that row-wise products may
reach, at N = 540. Over all of SDXL's 3x3 layers at 1024 px it would save 0.37 ms (with 1.2 PFLOP/s
0.19 ms) of the 9.1 ms a sample takes, 4% (2%), and only if the copies ran at full bandwidth; the
copy for a layer of 960 channels takes 2.3 GB at 16 samples. By the same arithmetic the other
layers save 1.8 ms (1.1 ms). An implicit product would need a kernel of its own.
"""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec
import torch
from torch import nn

from serve.acceleration.fp8_layers import Fp8Conv1x1, Fp8Linear, Matmul, scaled_matmul

ALIGNMENT = 16  # cuBLAS and CUTLASS read FP8 operands 16 bytes at a time
CAPABILITY = (8, 9)  # Ada; Hopper is 9.0

Layer: TypeAlias = nn.Linear | nn.Conv2d


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
    """The rates that decide whether FP8 pays."""

    bf16_flop_per_s: float
    fp8_flop_per_s: float
    bytes_per_s: float
    launch_s: float


# bf16 and bandwidth as measured on an H200; FP8 as the share of the data sheet's 1.98 PFLOP/s that
# bf16 reaches of its 0.99; about what one more small kernel takes within a CUDA graph.
H200 = Gpu(bf16_flop_per_s=790e12, fp8_flop_per_s=1.5e15, bytes_per_s=4.3e12, launch_s=2e-6)


class Quantized(msgspec.Struct, frozen=True, kw_only=True):
    """What `quantize` did: shares of what all Linear and Conv2d layers hold, or compute.

    `flop_share` and `relative_error` (of the run's output, against the output before) are None
    where there was no run, the latter also where there was none after.
    """

    layers: int
    of_layers: int
    parameter_share: float
    flop_share: float | None = None
    relative_error: float | None = None


def is_supported(device: torch.device) -> str | None:
    """None where FP8 products run on this device, else the reason and the remedy."""
    if device.type != "cuda":
        return f"fp8 needs a CUDA GPU and the device is '{device.type}': leave fp8 off"
    if not torch.cuda.is_available():
        return "fp8 needs a CUDA GPU and torch sees none: leave fp8 off"
    if torch.version.hip is not None:
        return "fp8 is written for NVIDIA GPUs and this is ROCm: leave fp8 off"
    capability = torch.cuda.get_device_capability(device)
    if capability < CAPABILITY:
        name = torch.cuda.get_device_name(device)
        has = ".".join(map(str, capability))
        return f"fp8 needs CUDA capability 8.9 or later and {name} has {has}: leave fp8 off"
    return None


def pays(rows: float, in_features: int, out_features: int, gpu: Gpu = H200) -> bool:
    """Whether a product of (rows, in) and (in, out) is quantized: the one rule.

    Both feature counts must be multiples of 16. What is saved, 2·rows·in·out FLOPs at the faster
    rate, must exceed what quantizing the input costs: loading 2 bytes an element, storing 1, and a
    kernel. On an H200 that takes out_features > 582, and more the fewer the rows: time embeddings
    (a row a sample), and text keys (77 a sample) in small batches, stay bf16.

    That is the cost of `serve.acceleration.fp8_rows`' own kernel, at every layer. In fused blocks
    most layers pay less: the norm or gate before writes FP8, once for queries, keys and values. So
    do compiled ones, where the formula is part of the region for inductor to fuse. Where Triton is
    missing, the formula eagerly moves ten times as much and FP8 does not pay; `GET /v1/models`
    tells (`fused.plain`, `fp8.compiled`).
    """
    if in_features % ALIGNMENT or out_features % ALIGNMENT:
        return False
    saved_s = 2 * out_features * (1 / gpu.bf16_flop_per_s - 1 / gpu.fp8_flop_per_s)
    spent_s = 3 / gpu.bytes_per_s
    return rows * in_features * (saved_s - spent_s) > gpu.launch_s


def relative_error(reference: torch.Tensor, other: torch.Tensor) -> float:
    """‖other − reference‖ / ‖reference‖; 0 for equal tensors, be they zeros."""
    exact = reference.double()
    off = float((other.double() - exact).norm())
    norm = float(exact.norm())
    return off / norm if norm else math.inf if off else 0.0


@torch.no_grad()
def quantize(
    module: nn.Module,
    run: Callable[[], torch.Tensor] | None = None,
    *,
    convolutions: bool = False,
    gpu: Gpu = H200,
    matmul: Matmul = scaled_matmul,
    compares: bool = True,
) -> Quantized:
    """Replace the Linear layers inside a module by FP8 ones where it pays.

    Args:
        module: A model in evaluation mode, on its device, in its dtype, not compiled yet.
        run: Runs the module on fixed inputs, with the batch that is to be served, and returns its
            output. It is called before, for the rows of each layer, and after, for the error.
            Layers that it does not reach stay as they are. Without it, every layer is taken to
            have as many rows as it needs.
        convolutions: Replace 1x1 convolutions, too.
        gpu: The rates to decide by.
        matmul: The product to compute with.
        compares: Whether there is a run after, for the error.
    """
    layers: list[Layer] = [
        layer
        for layer in module.modules()
        # No subclass: those use their weights in ways of their own.
        if isinstance(layer, nn.Linear | nn.Conv2d) and type(layer) in (nn.Linear, nn.Conv2d)
    ]
    reference, rows = (None, {}) if run is None else _observe(layers, run)
    chosen = [
        layer
        for layer in layers
        if (isinstance(layer, nn.Linear) or (convolutions and _is_pointwise(layer)))
        and pays(
            math.inf if run is None else max(rows.get(layer, [0])),
            layer.weight.shape[1],
            layer.weight.shape[0],
            gpu,
        )
    ]

    def share(weigh: Callable[[Layer], int]) -> float:
        return sum(map(weigh, chosen)) / max(1, sum(map(weigh, layers)))

    parameter_share = share(lambda layer: layer.weight.numel())
    flop_share = share(lambda layer: 2 * layer.weight.numel() * sum(rows.get(layer, [])))
    _replace(module, set(chosen), matmul)
    return Quantized(
        layers=len(chosen),
        of_layers=len(layers),
        parameter_share=parameter_share,
        flop_share=None if run is None else flop_share,
        relative_error=None
        if run is None or reference is None or not compares
        else relative_error(reference, run()),
    )


def _is_pointwise(layer: nn.Conv2d) -> bool:
    """Whether a convolution is one matrix product over the channels of each pixel."""
    return (
        (layer.kernel_size, layer.stride, layer.groups) == ((1, 1), (1, 1), 1)
    ) and layer.padding in ((0, 0), "valid", "same")


def _observe(
    layers: list[Layer], run: Callable[[], torch.Tensor]
) -> tuple[torch.Tensor, dict[Layer, list[int]]]:
    """A run's output, and for each layer the rows (tokens, output pixels) of each of its calls."""
    rows: dict[Layer, list[int]] = {}

    def note(layer: Any, inputs: Any, output: torch.Tensor) -> None:
        rows.setdefault(layer, []).append(output.numel() // layer.weight.shape[0])

    hooks = [layer.register_forward_hook(note) for layer in layers]
    try:
        return run().clone(), rows
    finally:
        for hook in hooks:
            hook.remove()


def _replace(module: nn.Module, chosen: set[Layer], matmul: Matmul) -> None:
    """Put an FP8 layer in the place of each chosen one; a layer shared stays shared."""
    made: dict[Layer, nn.Module] = {}
    for parent in list(module.modules()):
        for name, layer in list(parent._modules.items()):
            if not isinstance(layer, nn.Linear | nn.Conv2d) or layer not in chosen:
                continue
            if layer not in made:
                kind = Fp8Linear if isinstance(layer, nn.Linear) else Fp8Conv1x1
                made[layer] = kind(layer.weight, layer.bias, matmul)
            setattr(parent, name, made[layer])
