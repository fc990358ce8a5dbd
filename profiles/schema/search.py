"""A search's planned windows, a line each, and `find.json`."""

from enum import StrEnum

import msgspec

from profiles.schema.common import SCHEMA_VERSION


class WindowRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of Poisson arrivals at a constant rate, as planned: a line of `windows.jsonl`.

    Its requests are those of `first_seq` and the `requests - 1` after it.
    """

    index: int
    rate_per_s: float  # requests
    start_s: float  # on the run's clock
    duration_s: float
    first_seq: int
    requests: int
    images: int
    seed: int
    short: bool  # of the ramp: tells where to look, and nothing of the capacity
    fresh: bool  # it began on an idle server; else in the queue the one before had left


class FindVerdict(StrEnum):
    """What a search says."""

    FOUND = "found"  # the interval is as narrow as asked
    WIDE = "wide"  # time was out first; the interval reached is given
    UNKNOWN = "unknown"  # there is no interval; the rate is a guess
    UNMET = "unmet"  # the SLO is missed at every rate
    AT_LEAST = "at least"  # the SLO was met at every rate the generator can send


class FindWindow(msgspec.Struct, frozen=True, kw_only=True):
    """A window as it went, after its warm-up."""

    index: int
    rate_per_s: float
    start_s: float
    duration_s: float
    short: bool
    warm_up_s: float
    requests: int  # after the warm-up
    missed: int  # late, refused, failed or without an answer
    completed_images_per_s: float | None = None  # ok images due after the warm-up, a second
    latency_p50_s: float | None = None  # of ok requests
    latency_p95_s: float | None = None
    latency_p99_s: float | None = None
    lateness_p99_s: float | None = None
    thrown_out: str | None = None  # why it does not count

    @property
    def miss_share(self) -> float | None:
        """Of its requests."""
        return self.missed / self.requests if self.requests else None


class FindResult(msgspec.Struct, frozen=True, kw_only=True):
    """`find.json`: the highest rate that meets the SLO, with its 95% interval."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    scenario: str
    verdict: FindVerdict
    interrupted: bool = False
    valid: bool
    reasons: list[str]  # why not valid; empty if valid
    warnings: list[str] = []
    slo: str
    limit_s: float
    allowed_share: float
    precision: float  # asked
    half_width: float | None = None  # reached, relative
    requests_per_s: float | None = None  # the capacity ...
    low_requests_per_s: float | None = None  # ... and its interval
    high_requests_per_s: float | None = None
    images_per_s: float | None = None
    low_images_per_s: float | None = None
    high_images_per_s: float | None = None
    slope: float | None = None  # of ln miss share over ln rate
    windows_used: int | None = None
    took_s: float | None = None
    is_stub: bool = False
    device: str | None = None
    windows: list[FindWindow] = []
