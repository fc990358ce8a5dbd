"""Every data contract of a run folder, versioned.

`manifest.RunManifest` says what was run, `records.RequestRecord` what became of a request,
`summary.Summary` a run in numbers.

Conventions, everywhere: SI units, and the unit is in the name (`_s`, `_w`, `_j`, `_bytes`, `_pct`);
unknown is None, never 0; `t_s` and every other instant is in seconds on the *run's clock*, which is
CLOCK_MONOTONIC of the machine that drives the run minus `RunManifest.clock_zero_monotonic_s`.
Values are frozen. Readers ignore fields they do not know, so a field may be added within a version;
anything else raises SCHEMA_VERSION.
"""

from profiles.schema.common import LOCAL_ERROR, SCHEMA_VERSION, EndReason, Outcome, Stand, Verdict
from profiles.schema.manifest import (
    Approximation,
    Demand,
    DeviceLimits,
    GpuInfo,
    HostInfo,
    LoadPlan,
    RunManifest,
    SearchPlan,
    TargetInfo,
    Traffic,
)
from profiles.schema.records import (
    CallCost,
    ClockSample,
    GpuProcess,
    GpuSample,
    GpuState,
    HostSample,
    LoadSample,
    RequestRecord,
    RunEvent,
    SamplerSample,
)
from profiles.schema.search import FindResult, FindVerdict, FindWindow, WindowRecord
from profiles.schema.summary import (
    Capacity,
    Factor,
    GpuSummary,
    GroupSummary,
    HostEnergy,
    HostSummary,
    PhaseSummary,
    SamplerSummary,
    Summary,
    ThresholdResult,
)

__all__ = [
    "LOCAL_ERROR",
    "SCHEMA_VERSION",
    "Approximation",
    "CallCost",
    "Capacity",
    "ClockSample",
    "Demand",
    "DeviceLimits",
    "EndReason",
    "Factor",
    "FindResult",
    "FindVerdict",
    "FindWindow",
    "GpuInfo",
    "GpuProcess",
    "GpuSample",
    "GpuState",
    "GpuSummary",
    "GroupSummary",
    "HostEnergy",
    "HostInfo",
    "HostSample",
    "HostSummary",
    "LoadPlan",
    "LoadSample",
    "Outcome",
    "PhaseSummary",
    "RequestRecord",
    "RunEvent",
    "RunManifest",
    "SamplerSample",
    "SamplerSummary",
    "SearchPlan",
    "Stand",
    "Summary",
    "TargetInfo",
    "ThresholdResult",
    "Traffic",
    "Verdict",
    "WindowRecord",
]
