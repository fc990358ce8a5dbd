"""Made-up GPU nodes under steady load: one with room to spare, and one that is full."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from profiles.record.columns import Recorded, read
from profiles.record.folder import RunFolder
from profiles.schema import Demand, Outcome, RequestRecord, TargetInfo
from profiles.stats.arrays import Floats
from tests.profiles.synthetic import (
    START_S,
    gpu_info,
    gpu_sample,
    manifest,
    plan,
    record,
    write_run,
)

SD15 = TargetInfo(
    url="http://127.0.0.1:8000",
    embedded=True,
    model="sd15",
    replicas=2,
    device="cuda",
    settings={"weights": "random", "port": 8000},
)
STUB = TargetInfo(
    url="http://127.0.0.1:8000",
    embedded=True,
    model="stub",
    is_stub=True,
    replicas=1,
    device="cpu",
    settings={"model": "stub", "replicas": 1},
)
DEMAND = Demand(
    peak_images_per_s=833.0, images=3_000_000.0, duration_s=3600.0, basis="3 images a user"
)


def steady_run(
    root: Path,
    run_id: str = "20260101T000000Z-steady",
    *,
    images_per_s: float = 10.0,
    duration_s: float = 30.0,
    latency_s: float = 1.0,
    seed: int = 0,
    refused: float = 0.0,
    load: dict[str, Any] | None = None,
    asked: dict[str, Any] | None = None,
    due_s: Floats | None = None,
    **changes: Any,
) -> RunFolder:
    """Poisson arrivals, each done after about `latency_s`; a share `refused` of them is not.

    `load`: of the plan, `asked`: of every request; `due_s`: the arrivals, from the load's start.
    """
    random = np.random.default_rng(seed)
    count = int(images_per_s * duration_s)
    due = START_S + np.sort(random.uniform(0.0, 0.95 * duration_s, count))
    if due_s is not None:
        count, due = due_s.size, START_S + due_s
    took = latency_s * random.uniform(0.9, 1.1, count)
    lost = random.random(count) < refused
    records: list[RequestRecord] = [
        record(
            seq,
            scheduled_s=float(due[seq]),
            done_s=float(due[seq] + (0.01 if lost[seq] else took[seq])),
            first_byte_s=None,
            outcome=Outcome.REJECTED if lost[seq] else Outcome.OK,
            denoise_s=None if lost[seq] else 0.5 * latency_s,
            **(asked or {}),
        )
        for seq in range(count)
    ]
    return _written(root, run_id, records, duration_s, {"load": load, **changes})


def full_run(
    root: Path,
    run_id: str = "20260101T000000Z-steady",
    *,
    images_per_s: float = 10.0,
    duration_s: float = 30.0,
    demand: float = 1.6,
    seed: int = 0,
    spread: float = 0.1,
    tells: bool = True,
    asked: dict[str, Any] | None = None,
    **changes: Any,
) -> RunFolder:
    """A node that answers `images_per_s` requests/s, one after the other, asked for more.

    Each is served for 1 / `images_per_s` s, `spread` more or less; a queue stands from the first
    second on, if `demand` is well above 1. `asked`: of every request.
    """
    random = np.random.default_rng(seed)
    count = int(demand * images_per_s * duration_s)
    due = np.sort(random.uniform(0.0, duration_s, count))
    took = random.uniform(1.0 - spread, 1.0 + spread, count) / images_per_s
    ended = took.cumsum() + np.maximum.accumulate(due - (took.cumsum() - took))
    records = [
        record(
            seq,
            scheduled_s=START_S + float(due[seq]),
            done_s=START_S + float(ended[seq]),
            first_byte_s=None,
            queue_s=float(ended[seq] - took[seq] - due[seq]) if tells else None,
            denoise_s=float(took[seq]) if tells else None,
            **(asked or {}),
        )
        for seq in range(count)
    ]
    return _written(root, run_id, records, duration_s, changes)


def full(root: Path, run_id: str = "20260101T000000Z-steady", **options: Any) -> Recorded:
    """The same, as it is read."""
    return read(full_run(root, run_id, **options))


def steady(root: Path, run_id: str = "20260101T000000Z-steady", **options: Any) -> Recorded:
    """The same, as it is read."""
    return read(steady_run(root, run_id, **options))


def _written(
    root: Path,
    run_id: str,
    records: Sequence[RequestRecord],
    duration_s: float,
    changes: dict[str, Any],
) -> RunFolder:
    load = changes.pop("load", None) or {}
    values: dict[str, Any] = {
        "run_id": run_id,
        "scenario": "steady",
        "target": SD15,
        "gpus": [gpu_info(0), gpu_info(1)],
        "demand": DEMAND,
    }
    about = manifest(plan(len(records), duration_s, **load), **(values | changes))
    samples = [
        gpu_sample(START_S + second / 2, gpu.index)
        for gpu in about.gpus
        for second in range(-2, int(2 * duration_s) + 3)
    ]
    return write_run(root, about, records, gpu=samples)
