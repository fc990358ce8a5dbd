"""Published rates as evidence: published.toml."""

from functools import cache
from pathlib import Path
from typing import Annotated

import msgspec

from profiles.capacity.evidence import GOODPUT, Evidence
from profiles.capacity.factors import known
from profiles.requests.slo import EvidenceError, Slo

FILE = Path(__file__).with_name("published.toml")
Positive = Annotated[float, msgspec.Meta(gt=0)]
Words = Annotated[str, msgspec.Meta(min_length=1)]


class Published(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Images/s of so many GPUs together, as published."""

    gpu: Words
    gpus: Annotated[int, msgspec.Meta(ge=1)]
    images_per_s: Positive
    slo_s: Positive | None = None  # None: measured without one, at full load
    slo_share: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    images: Words
    joules_per_image: Positive | None = None
    source: Words


@cache
def published() -> dict[str, Published]:
    """Every published rate, by name."""
    return msgspec.toml.decode(FILE.read_bytes(), type=dict[str, Published])


def evidence_of(name: str, slo: Slo | None = None) -> Evidence:
    """A published rate as evidence, at the SLO it was published for.

    Raises:
        EvidenceError: no such name; or an SLO is asked that the rate was not measured at, for a
            published figure cannot be counted afresh.
    """
    found = published().get(name)
    if found is None:
        raise EvidenceError(
            f"no published rate is called {name!r}; there are: {', '.join(published())}"
        )
    told = None
    if found.slo_s is not None and found.slo_share is not None:
        share = 100.0 * found.slo_share
        told = Slo(found.slo_s, found.slo_share, f"p({share:g}) < {found.slo_s:g}s")
    if slo is not None and (
        told is None or (slo.latency_s, slo.share) != (told.latency_s, told.share)
    ):
        at = f"at {told.text}" if told else "without an SLO"
        raise EvidenceError(
            f"{name} was published {at}: it cannot be counted afresh for {slo.text}. Measure a run"
        )
    rate = found.images_per_s / found.gpus
    loud = [f"Not measured here: {found.images} on {found.gpu}, {found.source}."]
    if told is None:
        loud.append("Published without an SLO: what a full GPU makes, not what it makes in time.")
    return Evidence(
        rate=known(
            GOODPUT,
            rate,
            0.0,
            "published",
            f"{found.images_per_s:g} images/s on {found.gpus} × {found.gpu}: {found.images}; "
            f"{found.source}",
        ),
        tested_gpus=found.gpus,
        repeats=1,
        saturated=False,
        slo=told or Slo(60.0, 0.95, "no SLO"),
        has_slo=told is not None,
        slack=(told.latency_s if told else 60.0) * rate,
        loud=loud,
    )
