"""How the kernels of `fused.kernels` are launched: grids, tiles, and memory between them."""

# mypy: disable-error-code="no-untyped-call"
# Triton has no types.

import torch
import triton

from serve.acceleration.fused.fp8_kernels import gated_to_fp8, norm_to_fp8, to_fp8
from serve.acceleration.fused.kernels import (
    apply,
    combine,
    gated,
    moments,
    sum_and_norm,
    sum_of_three,
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
    rows, channels, tile = _whole_rows(x)
    to_fp8[(triton.cdiv(rows, tile["ROWS"]),)](x, y, scale, rows, channels, **tile)


def layer_norm_fp8(
    x: torch.Tensor,
    residual: torch.Tensor | None,
    weight: torch.Tensor,
    bias: torch.Tensor,
    eps: float,
    total: torch.Tensor | None,
    y: torch.Tensor,
    scale: torch.Tensor,
) -> None:
    """Launch: all but weight and bias (..., c), contiguous; residual and total, or neither."""
    rows, channels, tile = _whole_rows(x)
    norm_to_fp8[(triton.cdiv(rows, tile["ROWS"]),)](
        x,
        x if residual is None else residual,  # some pointer: it is not read
        weight,
        bias,
        x if total is None else total,  # nor this one written
        y,
        scale,
        rows,
        channels,
        eps,
        SUMMED=total is not None,
        **tile,
    )


def geglu_fp8(x: torch.Tensor, y: torch.Tensor, scale: torch.Tensor) -> None:
    """Launch: x (..., 2 c), y (..., c) and scale (..., 1), contiguous."""
    rows, channels, tile = _whole_rows(y)
    gated_to_fp8[(triton.cdiv(rows, tile["ROWS"]),)](x, y, scale, rows, channels, **tile)


def _whole_rows(x: torch.Tensor) -> tuple[int, int, dict[str, int]]:
    """Rows, channels, and the tile of a program that holds whole rows."""
    channels = x.shape[-1]
    width = triton.next_power_of_2(channels)
    tile = {"WIDTH": width, "ROWS": max(1, TILE // width), "num_warps": warps_of(width)}
    return x.numel() // channels, channels, tile


def warps_of(width: int) -> int:
    """Warps for a program that holds a row of so many elements: 16 a thread, at least 4 warps."""
    return max(4, min(16, width // 512))
