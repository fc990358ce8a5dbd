"""A search's run folder as one FindResult: the capacity, its interval, and whether to trust it.

`find` reads the folder; `conclude` is the pure core on what was read.
"""

import numpy as np

from profiles.record import columns
from profiles.record.columns import Recorded
from profiles.record.folder import RunError, RunFolder
from profiles.schema import (
    EndReason,
    FindResult,
    FindVerdict,
    FindWindow,
    RunManifest,
    SearchPlan,
    Verdict,
    WindowRecord,
)
from profiles.search.crossing import Crossing, crossing, guess
from profiles.search.windows import counts, look
from profiles.stats.arrays import Floats

MAX_THROWN_OUT = 0.5  # of the windows; more, and what is left is a selection
FAULTS = (EndReason.GENERATOR_DIED, EndReason.SAMPLER_DIED, EndReason.SERVER_DIED, EndReason.ERROR)


def find(folder: RunFolder) -> FindResult:
    """Read a search's folder, finished or not.

    Raises:
        RunError: run.json is unreadable, or the run was no search.
    """
    recorded = columns.read(folder)
    search = recorded.manifest.search
    if search is None:
        raise RunError(f"{folder.path} holds a run, no search: `viralload find` makes one")
    planned = folder.windows().read()
    return conclude(recorded, search, look_at(folder, planned, recorded, search))


def look_at(
    folder: RunFolder,
    planned: list[WindowRecord],
    recorded: Recorded,
    search: SearchPlan,
    settled_s: float = np.inf,
) -> list[FindWindow]:
    """The windows of a folder as their records tell them; see `profiles.search.windows.look`."""
    start_s = recorded.manifest.load_start_s
    if start_s is None:
        return []
    due_s: list[Floats] = [
        start_s + np.load(folder.window_path(window.index))["t_s"] for window in planned
    ]
    bound_s = recorded.manifest.lateness_bound_s
    return look(planned, due_s, recorded.requests, search, bound_s, settled_s)


def conclude(recorded: Recorded, search: SearchPlan, windows: list[FindWindow]) -> FindResult:
    """What the windows say."""
    manifest = recorded.manifest
    used = counts(windows)
    at = crossing(used, search.allowed_share)
    verdict = _verdict(windows, at, search)
    reasons = _reasons(manifest, windows)
    rate = at.rate_per_s if at is not None else None
    low, high = (at.low_per_s, at.high_per_s) if at is not None else (None, None)
    if verdict is FindVerdict.AT_LEAST:
        rate = low = max(each.rate_per_s for each in used)
    if verdict is FindVerdict.UNKNOWN:
        about = guess(used, search.allowed_share)
        rate = None if about is None else about[0]
    images = search.images_per_request
    return FindResult(
        run_id=manifest.run_id,
        scenario=manifest.scenario,
        verdict=verdict,
        interrupted=manifest.end_reason is EndReason.INTERRUPTED,
        valid=not reasons,
        reasons=reasons,
        warnings=_warnings(manifest, windows),
        slo=search.slo,
        limit_s=search.limit_s,
        allowed_share=search.allowed_share,
        precision=search.precision,
        half_width=at.half_width if at is not None else None,
        requests_per_s=rate,
        low_requests_per_s=low,
        high_requests_per_s=high,
        images_per_s=None if rate is None else rate * images,
        low_images_per_s=None if low is None else low * images,
        high_images_per_s=None if high is None else high * images,
        slope=at.slope if at is not None else None,
        windows_used=at.windows if at is not None else None,
        took_s=windows[-1].start_s + windows[-1].duration_s if windows else None,
        is_stub=manifest.target.is_stub,
        device=manifest.target.device,
        windows=windows,
    )


def exit_code(result: FindResult) -> int:
    """0 with a capacity, 99 where the SLO cannot be met, 3 INVALID, 130 interrupted."""
    from profiles.summary.run import EXIT_CODES

    if not result.valid:
        return EXIT_CODES[Verdict.INVALID]
    if result.interrupted:
        return EXIT_CODES[Verdict.INTERRUPTED]
    if result.verdict is FindVerdict.UNMET:
        return EXIT_CODES[Verdict.FAIL]
    return EXIT_CODES[Verdict.INVALID if result.verdict is FindVerdict.UNKNOWN else Verdict.PASS]


def _verdict(windows: list[FindWindow], at: Crossing | None, search: SearchPlan) -> FindVerdict:
    lone = search.lone_latency_s
    if lone and not windows and min(lone) >= search.limit_s:
        return FindVerdict.UNMET
    if at is not None:
        narrow = at.half_width <= search.precision
        return FindVerdict.FOUND if narrow else FindVerdict.WIDE
    counted = [each for each in windows if each.thrown_out is None and each.requests]
    met = [each.missed <= search.allowed_share * each.requests for each in counted]
    if counted and all(met):
        return FindVerdict.AT_LEAST
    if counted and not any(met):
        return FindVerdict.UNMET
    return FindVerdict.UNKNOWN


def _reasons(manifest: RunManifest, windows: list[FindWindow]) -> list[str]:
    reasons = []
    if manifest.end_reason is None:
        reasons.append("The search's driver was killed before it could finish; run it again.")
    if manifest.end_reason in FAULTS:
        reasons.append(f"The search ended by a fault ({manifest.end_detail}).")
    late = [each for each in windows if (each.thrown_out or "").startswith("the generator")]
    if len(late) > MAX_THROWN_OUT * len(windows):
        reasons.append(
            f"The generator was late in {len(late)} of {len(windows)} windows; use more "
            "--processes, or a machine for the generator."
        )
    return reasons


def _warnings(manifest: RunManifest, windows: list[FindWindow]) -> list[str]:
    told = []
    if manifest.target.is_stub:
        told.append("The target was a stub without a model: this is the capacity of a queue.")
    elif manifest.target.device == "cpu":
        told.append("The target computed on a CPU: this says nothing of a GPU.")
    thrown = [each for each in windows if each.thrown_out]
    if thrown:
        first = thrown[0]
        told.append(
            f"{len(thrown)} of {len(windows)} windows were thrown out; the first, at "
            f"{first.rate_per_s:.4g} requests/s: {first.thrown_out}."
        )
    return told
