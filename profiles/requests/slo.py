"""An SLO as a share of latencies below a limit, and the errors of evidence. Pure.

EvidenceError
├── MixedError      runs of different scenarios, models, settings or GPUs in one estimate
├── SloError        an SLO that is none, or that no run ever met
└── TooLittleError  evidence that cannot bear a figure, such as one window
"""

import math
from dataclasses import dataclass

from profiles.requests import threshold
from profiles.requests.threshold import Threshold, ThresholdError
from profiles.schema import RunManifest


class EvidenceError(ValueError):
    """Runs from which no figure follows; the text says why and what would help."""


class MixedError(EvidenceError):
    """Runs that do not measure one thing."""


class SloError(EvidenceError):
    """An SLO that cannot be read, or was never met."""


class TooLittleError(EvidenceError):
    """Too few or too short measurements."""


@dataclass(frozen=True)
class Slo:
    """At least `share` of the ok requests within `latency_s`."""

    latency_s: float
    share: float  # 0.95 of p(95); 1 of max
    text: str


def parse_slo(text: str) -> Slo:
    """`p(95) < 30s`, `max < 30s` or `med < 30s`: a share of the latencies below a limit.

    Raises:
        SloError: not the grammar of thresholds, or no such share.
    """
    try:
        read = threshold.parse("latency", text)
    except ThresholdError as err:
        raise SloError(f"--slo: {str(err).removeprefix('thresholds.latency: ')}") from err
    share = _share(read)
    if share is None or read.operator not in ("<", "<=") or read.limit <= 0.0:
        raise SloError(
            f'--slo: "{text}" is no share of latencies below a limit above 0; write "p(95) < 30s"'
        )
    return _slo(read.limit, share, read.operator)


def _slo(latency_s: float, share: float, operator: str = "<") -> Slo:
    """Spelled in one way whatever was written: the text tells one SLO from another."""
    what = {1.0: "max", 0.5: "med"}.get(share, f"p({100.0 * share:.12g})")
    return Slo(latency_s, share, f"{what} {operator} {latency_s:.12g}s")


def _share(read: Threshold) -> float | None:
    if read.percent is not None:
        return read.percent / 100.0
    return {"max": 1.0, "med": 0.5}.get(read.aggregator)


def own_slo(manifest: RunManifest) -> Slo:
    """The run's own: its latency, at 95% unless a threshold of it says another share."""
    for text in manifest.thresholds.get("latency", []):
        read = threshold.parse("latency", text)
        share = _share(read)
        if share is not None and math.isclose(read.limit, manifest.slo_latency_s):
            return _slo(manifest.slo_latency_s, share, read.operator)
    return _slo(manifest.slo_latency_s, 0.95)
