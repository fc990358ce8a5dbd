"""Triton kernels behind `fused.ops`: norms over channels_last without a copy, and the like.

Only imported where Triton is; `serve.acceleration.fused.launches` says with what sizes they run.
Every kernel reads and writes runs of channels, 16 bytes a thread, since those lie side by side in
channels_last; sums are in float32, and none is atomic, so that an image comes out the same whatever
shares its batch.

A group norm takes three: the moments of each channel over a stretch of pixels, those combined to
the moments of a group (a table, small), and the norm applied. The moments are Welford's, joined by
the rule of Chan, Golub and LeVeque ("Updating Formulae and a Pairwise Algorithm for Computing
Sample Variances", 1979):

    δ = b.mean − a.mean,  M2 = a.M2 + b.M2 + δ² a.n b.n / (a.n + b.n)

so that a mean a thousand times the deviation costs no digits, as E[x²] − E[x]² would.
"""

# mypy: disable-error-code="untyped-decorator,no-untyped-def,no-untyped-call"
# Triton is not installed where types are checked, and its functions have none.

import triton
import triton.language as tl


@triton.jit
def moments(
    x, partials, pixels, channels, parts,
    WIDTH: tl.constexpr, ROWS: tl.constexpr, ROUNDS: tl.constexpr,
):  # fmt: skip
    """Write partials[image, part]: the mean and M2 of each channel over a stretch of pixels."""
    part, block, image = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    c = block * WIDTH + tl.arange(0, WIDTH)
    first = part * (ROWS * ROUNDS)
    start = x + image.to(tl.int64) * pixels * channels
    mean = tl.zeros((ROWS, WIDTH), tl.float32)
    m2 = tl.zeros((ROWS, WIDTH), tl.float32)
    for turn in range(ROUNDS):
        p = first + turn * ROWS + tl.arange(0, ROWS)
        inside = (p < pixels)[:, None] & (c < channels)[None, :]
        value = tl.load(start + p[:, None] * channels + c[None, :], mask=inside, other=0.0)
        # A lane past the end stays past it: whoever gets here has met a value in every turn.
        off = tl.where(inside, value.to(tl.float32) - mean, 0.0)
        step = off / (turn + 1.0)
        mean += step
        m2 += off * (off - step)
    lane = tl.arange(0, ROWS)
    count = tl.minimum(tl.maximum((pixels - first - lane + ROWS - 1) // ROWS, 0), ROUNDS)
    count = count.to(tl.float32)[:, None]
    middle = tl.sum(mean * count, axis=0) / tl.sum(count)
    off = mean - middle[None, :]
    spread = tl.sum(m2 + off * off * count, axis=0)
    place = partials + (image.to(tl.int64) * parts + part) * 2 * channels + c
    tl.store(place, middle, mask=c < channels)
    tl.store(place + channels, spread, mask=c < channels)


@triton.jit(do_not_specialize=["parts", "span", "stretch", "shift_stride"])
def combine(
    partials, shift, weight, table, pixels, channels, parts, span, stretch, shift_stride, eps,
    SHIFTED: tl.constexpr, WIDTH: tl.constexpr, CHUNK: tl.constexpr, CHUNKS: tl.constexpr,
):  # fmt: skip
    """Write table[image]: what to take off each channel of a group, and its factor."""
    group, image = tl.program_id(0), tl.program_id(1)
    lane = tl.arange(0, WIDTH)
    c = group * span + lane
    known = lane < span
    added = tl.zeros((WIDTH,), tl.float32)
    if SHIFTED:
        added += tl.load(shift + image * shift_stride + c, mask=known, other=0.0).to(tl.float32)
    start = partials + image.to(tl.int64) * parts * 2 * channels
    total = tl.zeros((CHUNK, WIDTH), tl.float32)
    for turn in range(CHUNKS):
        part = turn * CHUNK + tl.arange(0, CHUNK)
        inside = (part < parts)[:, None] & known[None, :]
        place = start + part[:, None] * 2 * channels + c[None, :]
        count = tl.minimum(pixels - part * stretch, stretch).to(tl.float32)[:, None]
        middle = tl.load(place, mask=inside, other=0.0) + added[None, :]
        total += tl.where(inside, middle * count, 0.0)
    values = 1.0 * pixels * span
    mean = tl.sum(total) / values
    spread = tl.zeros((CHUNK, WIDTH), tl.float32)
    for turn in range(CHUNKS):
        part = turn * CHUNK + tl.arange(0, CHUNK)
        inside = (part < parts)[:, None] & known[None, :]
        place = start + part[:, None] * 2 * channels + c[None, :]
        count = tl.minimum(pixels - part * stretch, stretch).to(tl.float32)[:, None]
        off = tl.load(place, mask=inside, other=0.0) + added[None, :] - mean
        within = tl.load(place + channels, mask=inside, other=0.0)
        spread += tl.where(inside, within + off * off * count, 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(spread) / values + eps)
    weights = tl.load(weight + c, mask=known, other=0.0).to(tl.float32)
    place = table + image.to(tl.int64) * 2 * channels + c
    tl.store(place, mean - added, mask=known)
    tl.store(place + channels, weights * scale, mask=known)


@triton.jit
def apply(
    x, y, table, bias, pixels, channels,
    SILU: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr, TILES: tl.constexpr,
):  # fmt: skip
    """Write y = (x − center) scale + bias, and SiLU of it where asked."""
    part, block, image = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    c = block * WIDTH + tl.arange(0, WIDTH)
    known = c < channels
    row = table + image.to(tl.int64) * 2 * channels + c
    center = tl.load(row, mask=known, other=0.0)[None, :]
    scale = tl.load(row + channels, mask=known, other=0.0)[None, :]
    offset = tl.load(bias + c, mask=known, other=0.0).to(tl.float32)[None, :]
    start = image.to(tl.int64) * pixels * channels
    for turn in range(TILES):
        p = (part * TILES + turn) * ROWS + tl.arange(0, ROWS)
        inside = (p < pixels)[:, None] & known[None, :]
        at = start + (p[:, None] * channels + c[None, :])
        value = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
        value = (value - center) * scale + offset
        if SILU:
            value = value / (1.0 + tl.exp(-value))
        tl.store(y + at, value.to(y.dtype.element_ty), mask=inside)


@triton.jit
def sum_of_three(
    x, residual, bias, y, rows, channels,
    WIDTH: tl.constexpr, ROWS: tl.constexpr, TILES: tl.constexpr,
):  # fmt: skip
    """Write y = x + residual + bias, a bias a channel; rows are pixels of all images."""
    part, block = tl.program_id(0), tl.program_id(1)
    c = block * WIDTH + tl.arange(0, WIDTH)
    known = c < channels
    offset = tl.load(bias + c, mask=known, other=0.0).to(tl.float32)[None, :]
    for turn in range(TILES):
        p = (part * TILES + turn) * ROWS + tl.arange(0, ROWS)
        inside = (p < rows)[:, None] & known[None, :]
        at = p.to(tl.int64)[:, None] * channels + c[None, :]
        value = tl.load(x + at, mask=inside, other=0.0).to(tl.float32) + offset
        value += tl.load(residual + at, mask=inside, other=0.0).to(tl.float32)
        tl.store(y + at, value.to(y.dtype.element_ty), mask=inside)


@triton.jit
def sum_and_norm(
    x, residual, weight, bias, total, y, rows, channels, eps,
    WIDTH: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Write total = x + residual and y, its layer norm; WIDTH holds a whole row."""
    p = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    c = tl.arange(0, WIDTH)
    inside = (p < rows)[:, None] & (c < channels)[None, :]
    at = p.to(tl.int64)[:, None] * channels + c[None, :]
    value = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    value += tl.load(residual + at, mask=inside, other=0.0).to(tl.float32)
    rounded = value.to(total.dtype.element_ty)
    tl.store(total + at, rounded, mask=inside)
    made = normed(rounded.to(tl.float32), weight, bias, c, channels, eps)
    tl.store(y + at, made.to(y.dtype.element_ty), mask=inside)


@triton.jit
def normed(value, weight, bias, c, channels, eps):
    """The layer norm of rows in registers, (ROWS, WIDTH) in float32; zeros past a row's end."""
    known = c < channels
    mean = (tl.sum(value, axis=1) / channels)[:, None]
    off = tl.where(known[None, :], value - mean, 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(off * off, axis=1) / channels + eps)
    weights = tl.load(weight + c, mask=known, other=0.0).to(tl.float32)[None, :]
    offset = tl.load(bias + c, mask=known, other=0.0).to(tl.float32)[None, :]
    return off * scale[:, None] * weights + offset


@triton.jit
def gated(x, y, rows, channels, WIDTH: tl.constexpr, ROWS: tl.constexpr):
    """Write y = value · gelu(gate); a row of x holds the values, then the gates."""
    p = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    c = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    inside = (p < rows)[:, None] & (c < channels)[None, :]
    wide = p.to(tl.int64)[:, None] * channels
    at = 2 * wide + c[None, :]
    value = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    gate = tl.load(x + at + channels, mask=inside, other=0.0).to(tl.float32)
    made = times_gelu(value, gate)
    tl.store(y + wide + c[None, :], made.to(y.dtype.element_ty), mask=inside)


@triton.jit
def times_gelu(value, gate):
    """The product value · gelu(gate), in registers and in float32."""
    return value * (0.5 * gate * (1.0 + tl.erf(gate * 0.7071067811865476)))
