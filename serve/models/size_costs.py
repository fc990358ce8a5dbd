"""What a size costs, told exactly by what other sizes cost. Pure.

A denoiser or a VAE does three kinds of work at each of its resolutions: some per image (texts and
timesteps), some per position (convolutions, linear layers, attention to the text), some per pair of
positions (attention of an image to itself). A UNet halves its latents a few times, rounding up. So
the FLOPs of latents of h x w are

    f(h, w) = c + sum over l of (a_l p_l + b_l p_l^2),   p_l = ceil(h / 2^l) ceil(w / 2^l)

with whole numbers c, a_l and b_l that nobody needs to know: f is linear in the terms 1, p_l, p_l^2,
so what holds for terms holds for FLOPs. Where the terms of a size are a sum of multiples of other
sizes' terms, its FLOPs are the same sum of theirs. After nine sizes at most, every size is.
"""

from collections.abc import Sequence
from fractions import Fraction

LEVELS = 4  # resolutions of the UNets; transformers have the second one alone


def terms(height: int, width: int) -> tuple[int, ...]:
    """The terms of latents of that size: 1, and p_l and p_l^2 of each resolution l."""
    positions = [-(-height // 2**level) * -(-width // 2**level) for level in range(LEVELS)]
    return (1, *positions, *(p * p for p in positions))


def combination(known: Sequence[Sequence[int]], wanted: Sequence[int]) -> list[Fraction] | None:
    """The multiples of the known vectors that add up to the wanted one; None: there are none.

    Args:
        known: Linearly independent vectors.
        wanted: Another, of the same length.

    By Gauss and Jordan in whole numbers (Bareiss, Math. Comp. 22, 1968): each division is exact,
    and nothing is rounded.
    """
    rows = [[vector[i] for vector in known] + [value] for i, value in enumerate(wanted)]
    before = 1
    for column in range(len(known)):
        pivot = next(i for i in range(column, len(rows)) if rows[i][column])
        rows[column], rows[pivot] = rows[pivot], rows[column]
        lead = rows[column][column]
        for i, row in enumerate(rows):
            if i != column:
                pairs = zip(row, rows[column], strict=True)
                rows[i] = [(lead * a - row[column] * b) // before for a, b in pairs]
        before = lead
    if any(row[-1] for row in rows[len(known) :]):
        return None
    return [Fraction(row[-1], row[i]) for i, row in enumerate(rows[: len(known)])]


def total(multiples: Sequence[Fraction], values: Sequence[int]) -> int | None:
    """The sum of those multiples of the values; None where it is no whole number above 0."""
    told = sum((m * value for m, value in zip(multiples, values, strict=True)), Fraction())
    return int(told) if told.denominator == 1 and told > 0 else None
