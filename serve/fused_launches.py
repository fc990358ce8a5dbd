"""How the kernels of `serve.fused_kernels` are launched: grids, tiles, and memory between them."""

# mypy: disable-error-code="no-untyped-call"
# Triton has no types.

import torch
import triton

from serve.fused_kernels import (
    apply,
    combine,
    gated,
    moments,
    sum_and_norm,
    sum_of_three,
    to_fp8,
)

# A tile of 64 channels is a whole line of 128 bytes in bf16, and divides all channel counts of
# SD 1.5, SDXL and their VAEs.
CHANNELS = 64
PIXELS = 32
# Stretches of pixels an image is cut into for its moments, where it has that many: few to combine,
# enough for 132 multiprocessors at one image.
STRETCHES = 64
ROUNDS_MAX = 64
# Tiles of pixels a program of `apply` and `add_bias` walks, once its numbers a channel are loaded.
TILES = 4
# Elements of a program's tile in the kernels over rows of tokens.
TILE = 2048
GEGLU_CHANNELS = 256
# Stretches and channels of a group combined at once: enough for all of a UNet's, so that one kernel
# is built, in half a second, and not one for each of its shapes.
CHUNK = 32
SPAN = 128
COMBINING_WARPS = 8


def group_norm(
    x: torch.Tensor,
    y: torch.Tensor,
    shift: torch.Tensor | None,
    weight: torch.Tensor,
    bias: torch.Tensor,
    groups: int,
    eps: float,
    silu: bool,
) -> None:
    """Launch the three kernels: x and y (n, c, h, w) in channels_last, shift (n or 1, c)."""
    n, channels, height, width = x.shape
    pixels, span = height * width, channels // groups
    rounds = rounds_of(pixels)
    parts = triton.cdiv(pixels, PIXELS * rounds)
    partials = torch.empty((n, parts, 2, channels), dtype=torch.float32, device=x.device)
    table = torch.empty((n, 2, channels), dtype=torch.float32, device=x.device)
    blocks = triton.cdiv(channels, CHANNELS)
    moments[(parts, blocks, n)](
        x, partials, pixels, channels, parts, WIDTH=CHANNELS, ROWS=PIXELS, ROUNDS=rounds
    )
    shifts = weight if shift is None else shift  # some pointer: it is not read
    combine[(groups, n)](
        partials,
        shifts,
        weight,
        table,
        pixels,
        channels,
        parts,
        span,
        PIXELS * rounds,
        channels if shift is not None and len(shift) > 1 else 0,
        eps,
        SHIFTED=shift is not None,
        WIDTH=max(SPAN, triton.next_power_of_2(span)),
        CHUNK=CHUNK,
        CHUNKS=max(STRETCHES // CHUNK, triton.cdiv(parts, CHUNK)),
        num_warps=COMBINING_WARPS,
    )
    apply[(triton.cdiv(pixels, PIXELS * TILES), blocks, n)](
        x, y, table, bias, pixels, channels, SILU=silu, WIDTH=CHANNELS, ROWS=PIXELS, TILES=TILES
    )


def rounds_of(pixels: int) -> int:
    """Tiles of pixels a program takes moments of: a power of two, so that few kernels are built."""
    rounds: int = triton.next_power_of_2(triton.cdiv(pixels, PIXELS * STRETCHES))
    return min(ROUNDS_MAX, rounds)


def add_bias(x: torch.Tensor, residual: torch.Tensor, bias: torch.Tensor, y: torch.Tensor) -> None:
    """Launch: x, residual and y (n, c, h, w) in channels_last, bias (c,)."""
    channels = x.shape[1]
    rows = x.numel() // channels
    sum_of_three[(triton.cdiv(rows, PIXELS * TILES), triton.cdiv(channels, CHANNELS))](
        x, residual, bias, y, rows, channels, WIDTH=CHANNELS, ROWS=PIXELS, TILES=TILES
    )


def add_layer_norm(
    x: torch.Tensor,
    residual: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    eps: float,
    total: torch.Tensor,
    y: torch.Tensor,
) -> None:
    """Launch: all but weight and bias (..., c), contiguous."""
    channels = x.shape[-1]
    rows = x.numel() // channels
    width = triton.next_power_of_2(channels)
    together = max(1, TILE // width)
    sum_and_norm[(triton.cdiv(rows, together),)](
        x, residual, weight, bias, total, y, rows, channels, eps, WIDTH=width, ROWS=together
    )


def geglu(x: torch.Tensor, y: torch.Tensor) -> None:
    """Launch: x (..., 2 c) and y (..., c), contiguous."""
    channels = y.shape[-1]
    rows = y.numel() // channels
    together = TILE // GEGLU_CHANNELS
    gated[(triton.cdiv(rows, together), triton.cdiv(channels, GEGLU_CHANNELS))](
        x, y, rows, channels, WIDTH=GEGLU_CHANNELS, ROWS=together
    )


def quantize_rows(x: torch.Tensor, y: torch.Tensor, scale: torch.Tensor) -> None:
    """Launch: x and y (rows, c), contiguous, and scale (rows, 1)."""
    rows, channels = x.shape
    width = triton.next_power_of_2(channels)
    together = max(1, TILE // width)
    to_fp8[(triton.cdiv(rows, together),)](
        x, y, scale, rows, channels, WIDTH=width, ROWS=together, num_warps=warps_of(width)
    )


def warps_of(width: int) -> int:
    """Warps for a program that holds a row of so many elements: 16 a thread, at least 4 warps."""
    return max(4, min(16, width // 512))
