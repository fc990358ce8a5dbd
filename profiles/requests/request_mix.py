"""What a run asked for: how many images a request, how large, in how many steps. Pure.

An image of 1024 px in 50 steps costs many of 512 px in 20, so goodput of one mix says nothing of
another's.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from profiles.record.columns import Requests
from profiles.schema import Outcome

Kind = tuple[int, int, int, int]  # images, width, height, steps; 0: not told
PACKED = 2**15  # above every count, side and number of steps; four of them fit 63 bits
SURE = 3.0  # standard errors by which two shares may differ by chance ...
SAME = 0.05  # ... and how far they may beside


@dataclass(frozen=True)
class Mix:
    """Shares of the kinds of requests that were answered."""

    requests: int
    shares: Mapping[Kind, float]

    @property
    def images_a_request(self) -> float:
        """On average."""
        return math.fsum(share * kind[0] for kind, share in self.shares.items())

    @property
    def told(self) -> str:
        """`1 image of 512 × 512 in 20 steps a request`; of a mix, its commonest kind and share."""
        (images, width, height, steps), share = max(self.shares.items(), key=lambda one: one[1])
        words = f"{images} image{'' if images == 1 else 's'}"
        words += f" of {width} × {height}" if width and height else ""
        words += f" in {steps} steps" if steps else ""
        return f"{words} a request" + (f" in {100 * share:.0f}% of them" if share < 1.0 else "")

    def differs(self, other: "Mix") -> bool:
        """Whether any kind's share differs by more than 5% of all and chance."""
        for kind in self.shares.keys() | other.shares.keys():
            one, two = self.shares.get(kind, 0.0), other.shares.get(kind, 0.0)
            both = 0.5 * (one + two)
            chance = math.sqrt(both * (1.0 - both) * (1.0 / self.requests + 1.0 / other.requests))
            if abs(one - two) > SAME + SURE * chance:
                return True
        return False


def mix_of(requests: Requests) -> Mix | None:
    """The mix of the ok answers; None where there is none."""
    ok = requests.where(Outcome.OK)
    if not ok.any():
        return None
    columns = (requests.images, requests.width, requests.height, requests.steps)
    packed = np.zeros(int(ok.sum()), np.int64)  # a number sorts faster than a row
    for column in columns:
        told = np.clip(np.nan_to_num(column[ok]), 0, PACKED - 1).astype(np.int64)
        packed = packed * PACKED + told
    found, counts = np.unique(packed, return_counts=True)
    total = int(counts.sum())
    return Mix(
        total,
        {_kind(int(one)): int(count) / total for one, count in zip(found, counts, strict=True)},
    )


def _kind(packed: int) -> Kind:
    rest, steps = divmod(packed, PACKED)
    rest, height = divmod(rest, PACKED)
    images, width = divmod(rest, PACKED)
    return images, width, height, steps
