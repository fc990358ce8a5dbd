"""What the vendor says that a GPU does at most: datasheet.toml, by the name that NVML tells."""

from functools import cache
from pathlib import Path
from typing import Annotated

import msgspec

Positive = Annotated[float, msgspec.Meta(gt=0)]


class Datasheet(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One GPU's limits; FLOP/s are dense, None where the GPU has no such arithmetic."""

    bf16_flop_per_s: Positive
    fp8_flop_per_s: Positive | None = None
    memory_bytes_per_s: Positive
    source: Annotated[str, msgspec.Meta(min_length=1)]


def datasheet(name: str | None) -> Datasheet | None:
    """The datasheet of the GPU of exactly that name; None for any other."""
    return None if name is None else _datasheets().get(name)


@cache
def _datasheets() -> dict[str, Datasheet]:
    text = Path(__file__).with_name("datasheet.toml").read_bytes()
    return msgspec.toml.decode(text, type=dict[str, Datasheet])
