"""Operators that do in one pass over a tensor what eager torch does in several.

Each is one operator of torch's dispatcher, `viralload::…`: the CPU computes its plain formula, a
GPU runs the Triton kernels of `serve.acceleration.fused.kernels`, and on tensors without values
(FakeTensor, meta) it gives shapes and strides. What an operator costs is said in *passes*, one
being a read or a write of the whole tensor; eagerly, in channels_last, torch 2.11's group norm
alone takes 7: it copies to NCHW (2), reads twice and writes (3), and the convolution after it
copies back (2).

Tensors of images are (n, c, h, w) in channels_last, and so are the results. Statistics are in
float32 and each result is rounded once, where the steps of the plain formula round each.
"""

import functools
from types import ModuleType

import torch
from torch.nn import functional

LAST = torch.channels_last


def plain_group_norm(
    x: torch.Tensor,
    shift: torch.Tensor | None,
    weight: torch.Tensor,
    bias: torch.Tensor,
    groups: int,
    eps: float,
    silu: bool,
) -> torch.Tensor:
    """The formula of `group_norm`, step by step."""
    if shift is not None:
        x = x + shift[:, :, None, None]
    y = functional.group_norm(x, groups, weight, bias, eps)
    return (functional.silu(y) if silu else y).contiguous(memory_format=LAST)


def plain_add_bias(x: torch.Tensor, residual: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """The formula of `add_bias`, step by step."""
    return (x + bias[:, None, None] + residual).contiguous(memory_format=LAST)


def plain_add_layer_norm(
    x: torch.Tensor,
    residual: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The formula of `add_layer_norm`, step by step."""
    total = x + residual
    return total, functional.layer_norm(total, weight.shape, weight, bias, eps)


def plain_geglu(x: torch.Tensor) -> torch.Tensor:
    """The formula of `geglu`, step by step."""
    value, gate = x.chunk(2, dim=-1)
    return value * functional.gelu(gate)


@torch.library.custom_op("viralload::group_norm", mutates_args=(), device_types="cpu")
def group_norm_op(
    x: torch.Tensor,
    shift: torch.Tensor | None,
    weight: torch.Tensor,
    bias: torch.Tensor,
    groups: int,
    eps: float,
    silu: bool,
) -> torch.Tensor:
    """(x + shift − mean) / √(variance + eps) · weight + bias by groups of channels, then SiLU.

    `viralload::group_norm(Tensor x, Tensor? shift, Tensor weight, Tensor bias, int groups, float
    eps, bool silu) -> Tensor`. Passes: reads x twice, writes y; eagerly 7, SiLU and shift 2 each
    more. 3 kernels.

    Args:
        x: (n, c, h, w).
        shift: (n, c) or (1, c), added to x before: a time embedding, a convolution's bias.
        weight: (c,).
        bias: (c,).
        groups: They divide c.
        eps: Added to the variance.
        silu: Whether the result goes through y · sigmoid(y).
    """
    return plain_group_norm(x, shift, weight, bias, groups, eps, silu)


@torch.library.custom_op("viralload::add_bias", mutates_args=(), device_types="cpu")
def add_bias_op(x: torch.Tensor, residual: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Sums x + residual + bias: images, images, and a bias (c,) a channel.

    `viralload::add_bias(Tensor x, Tensor residual, Tensor bias) -> Tensor`. Passes: reads x and
    residual, writes y; eagerly 5, since cuDNN's convolutions leave their bias to a pass of its
    own. 1 kernel.
    """
    return plain_add_bias(x, residual, bias)


@torch.library.custom_op("viralload::add_layer_norm", mutates_args=(), device_types="cpu")
def add_layer_norm_op(
    x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The sum x + residual, and the layer norm of that over the last dimension.

    `viralload::add_layer_norm(Tensor x, Tensor residual, Tensor weight, Tensor bias, float eps)
    -> (Tensor, Tensor)`. Passes: reads x and residual, writes both results; eagerly 5 or 6. 1
    kernel.

    Args:
        x: (..., c).
        residual: (..., c).
        weight: (c,).
        bias: (c,).
        eps: Added to the variance.
    """
    return plain_add_layer_norm(x, residual, weight, bias, eps)


@torch.library.custom_op("viralload::geglu", mutates_args=(), device_types="cpu")
def geglu_op(x: torch.Tensor) -> torch.Tensor:
    """The first half of the last dimension times gelu of the second: (..., 2 c) to (..., c).

    `viralload::geglu(Tensor x) -> Tensor`. Passes over the result's size: reads 2, writes 1;
    eagerly 5. 1 kernel.
    """
    return plain_geglu(x)


@group_norm_op.register_fake
def _(
    x: torch.Tensor,
    shift: torch.Tensor | None,
    weight: torch.Tensor,
    bias: torch.Tensor,
    groups: int,
    eps: float,
    silu: bool,
) -> torch.Tensor:
    return torch.empty_like(x, memory_format=LAST)


@add_bias_op.register_fake
def _(x: torch.Tensor, residual: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x, memory_format=LAST)


@add_layer_norm_op.register_fake
def _(
    x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.empty_like(x), torch.empty_like(x)


@geglu_op.register_fake
def _(x: torch.Tensor) -> torch.Tensor:
    return x.new_empty((*x.shape[:-1], x.shape[-1] // 2))


@group_norm_op.register_kernel("cuda")
def group_norm_cuda(
    x: torch.Tensor,
    shift: torch.Tensor | None,
    weight: torch.Tensor,
    bias: torch.Tensor,
    groups: int,
    eps: float,
    silu: bool,
) -> torch.Tensor:
    """What `group_norm_op` runs on a GPU."""
    launches = kernels()
    if isinstance(launches, str):
        return plain_group_norm(x, shift, weight, bias, groups, eps, silu)
    y = torch.empty_like(x, memory_format=LAST)
    launches.group_norm(x, y, shift, weight, bias, groups, eps, silu)
    return y


@add_bias_op.register_kernel("cuda")
def add_bias_cuda(x: torch.Tensor, residual: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """What `add_bias_op` runs on a GPU."""
    launches = kernels()
    if isinstance(launches, str):
        return plain_add_bias(x, residual, bias)
    y = torch.empty_like(x, memory_format=LAST)
    launches.add_bias(x, residual, bias, y)
    return y


@add_layer_norm_op.register_kernel("cuda")
def add_layer_norm_cuda(
    x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """What `add_layer_norm_op` runs on a GPU."""
    launches = kernels()
    if isinstance(launches, str):
        return plain_add_layer_norm(x, residual, weight, bias, eps)
    total, y = torch.empty_like(x), torch.empty_like(x)
    launches.add_layer_norm(x, residual, weight, bias, eps, total, y)
    return total, y


@geglu_op.register_kernel("cuda")
def geglu_cuda(x: torch.Tensor) -> torch.Tensor:
    """What `geglu_op` runs on a GPU."""
    launches = kernels()
    if isinstance(launches, str):
        return plain_geglu(x)
    y = x.new_empty((*x.shape[:-1], x.shape[-1] // 2))
    launches.geglu(x, y)
    return y


def group_norm(
    x: torch.Tensor,
    shift: torch.Tensor | None,
    weight: torch.Tensor,
    bias: torch.Tensor,
    groups: int,
    eps: float,
    *,
    silu: bool,
) -> torch.Tensor:
    """`group_norm_op` of images in any layout; another than channels_last costs a copy."""
    x = x.contiguous(memory_format=LAST)
    shift = None if shift is None else shift.contiguous()
    y: torch.Tensor = group_norm_op(x, shift, weight, bias, groups, eps, silu)
    return y


def add_bias(x: torch.Tensor, residual: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """`add_bias_op` of images in any layout; another than channels_last costs a copy."""
    wide = x.contiguous(memory_format=LAST)
    y: torch.Tensor = add_bias_op(wide, residual.contiguous(memory_format=LAST), bias)
    return y


def add_layer_norm(
    x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """`add_layer_norm_op`; what torch.compile traces is the formula, to fuse it further."""
    if torch.compiler.is_compiling():
        return plain_add_layer_norm(x, residual, weight, bias, eps)
    both: tuple[torch.Tensor, torch.Tensor] = add_layer_norm_op(
        x.contiguous(), residual.contiguous(), weight, bias, eps
    )
    return both


def geglu(x: torch.Tensor) -> torch.Tensor:
    """`geglu_op`; what torch.compile traces is the formula, to fuse it further."""
    if torch.compiler.is_compiling():
        return plain_geglu(x)
    y: torch.Tensor = geglu_op(x.contiguous())
    return y


def why_plain(device: torch.device) -> str | None:
    """None where the kernels run, else why the plain formulas do: a CPU, no Triton, no compiler."""
    if device.type != "cuda":
        return f"the device is '{device.type}'"
    launches = kernels()
    return launches if isinstance(launches, str) else None


@functools.cache
def kernels() -> ModuleType | str:
    """The kernels once one of them has been built and launched here, or why that failed.

    Triton comes with torch's CUDA builds for Linux, and needs a C compiler at the first launch.
    """
    try:
        from serve.acceleration.fused import launches as fused_launches

        x = torch.ones(1, 32, device="cuda")
        fused_launches.geglu(x, x.new_empty(1, 16))
    except Exception as err:  # noqa: BLE001 - whatever hinders it, the formulas are there
        return f"{type(err).__name__}: {' '.join(str(err).split()) or 'no reason given'}"
    return fused_launches
