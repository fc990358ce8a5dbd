"""A GPU's service times, read from what was measured: a run folder, or a file of JSON.

A run tells each answer's denoising seconds, steps and mean batch; `python -m benchmarks.engine`
tells images/s and mean batch of the baselines under a load that keeps them busy. Both give the line
of `Service` by least squares; a file may also hold a `Service` itself.
"""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from profiles.record.folder import RunError, RunFolder
from profiles.schema import Outcome, RequestRecord
from profiles.schema.fleet import FleetError, Service
from profiles.stats.arrays import Floats

MIN_RECORDS = 20
MIN_SPREAD = 0.25  # of batches, between the lowest and highest: less is noise, not a slope
FULL = 0.9  # of the batch limit: then a baseline was busy all the time
REFERENCE = "profiles/reference/engine-tiny-cpu.json"


class _Cell(msgspec.Struct):
    batch_mean: float
    images_per_s: float
    refused_share: float


class _Engine(msgspec.Struct):
    """The part of a benchmark's JSON that is read."""

    result: dict[str, dict[str, _Cell]]
    model: str
    steps: int
    max_batch: int
    facts: dict[str, Any] = {}
    date_utc: str = ""


def read_service(path: Path, batch: int | None = None) -> Service:
    """The service times at `path`, for batches of up to `batch` (None: as far as measured).

    Raises:
        FleetError: unreadable, of neither kind, or it lacks the batch sizes needed.
    """
    service = _of_run(path) if path.is_dir() else _of_file(path)
    if batch is not None and batch > service.largest_batch:
        raise FleetError(
            f"{path}: it holds batches of up to {service.largest_batch} and the fleet is to make "
            f"batches of {batch}: lower --max-batch, or measure at a higher load"
        )
    return service


def line(batches: Floats, seconds: Floats) -> tuple[float, float]:
    """Base and slope of seconds over batches, neither below 0, by least squares; shape (points,).

    Where the free fit has a negative base or slope, the best line with that one at 0.
    """
    slope, base = np.polyfit(batches, seconds, 1)
    if slope < 0:
        return float(seconds.mean()), 0.0
    if base < 0:
        return 0.0, float((batches * seconds).sum() / (batches * batches).sum())
    return float(base), float(slope)


def of_records(records: list[RequestRecord], where: str) -> Service:
    """The line through a run's ok answers that told batch, steps and stages.

    Raises:
        FleetError: too few told them, or all shared one batch size.
    """
    told = [
        one
        for one in records
        if one.outcome is Outcome.OK and one.denoise_s and one.steps and one.batch_mean
    ]
    if len(told) < MIN_RECORDS:
        raise FleetError(
            f"{where}: {len(told)} ok answers told batch, steps and denoising time, fewer than "
            f"{MIN_RECORDS}: use a run of viralload's own server with a model, and a longer one"
        )
    steps = np.array([one.steps for one in told], np.float64)
    batches = np.array([one.batch_mean for one in told])
    seconds = np.array([one.denoise_s for one in told]) / steps
    low, high = (float(value) for value in np.quantile(batches, (0.01, 0.99)))
    if high - low < MIN_SPREAD:
        base, slope, largest = float(np.median(seconds)), 0.0, max(1, round(low))
        if largest > 1:
            raise FleetError(
                f"{where}: all answers came from batches of {low:.2g}: a line over batch sizes "
                "needs at least two; run it at a varying load"
            )
    else:
        base, slope = line(batches, seconds)
        largest = max(1, round(high))
    tails = [(one.text_s or 0.0) + (one.decode_s or 0.0) + (one.encode_s or 0.0) for one in told]
    return Service(
        step_base_s=base,
        step_image_s=slope,
        tail_s=float(np.median(tails)),
        steps=round(float(np.median(steps))),
        largest_batch=largest,
        basis=f"{len(told):,} answers of {where}",
    )


def _of_run(path: Path) -> Service:
    try:
        folder = RunFolder.open(path)
        manifest = folder.manifest()
        records = list(folder.requests())
    except RunError as err:
        raise FleetError(str(err)) from err
    device = manifest.gpus[0].name if manifest.gpus else manifest.target.device or "no GPU"
    service = of_records(records, f"{folder.run_id} ({manifest.target.model or '?'}, {device})")
    target = manifest.target
    blind = target.device == "cpu" or target.is_stub or not manifest.gpus
    return msgspec.structs.replace(service, no_gpu=blind)


def _of_file(path: Path) -> Service:
    try:
        text = path.read_bytes()
    except OSError as err:
        raise FleetError(f"cannot read {path}: {err.strerror or err}") from err
    try:
        data = msgspec.json.decode(text)
        if isinstance(data, dict) and data.get("benchmark") == "engine":
            return _of_engine(msgspec.convert(data, _Engine), path)
        return msgspec.convert(data, Service)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise FleetError(
            f"{path}: neither a benchmark of the engine nor a service profile: {err}"
        ) from err


def _of_engine(told: _Engine, path: Path) -> Service:
    """The line through the busy cells of the baselines: n / (images/s) seconds a batch of n."""
    points = []
    for policy, limit in (("none", 1), ("request", told.max_batch)):
        for name, cell in told.result.get(policy, {}).items():
            busy = cell.refused_share > 0 or (limit > 1 and cell.batch_mean >= FULL * limit)
            if name != "burst" and busy and cell.images_per_s > 0:
                points.append((cell.batch_mean, cell.batch_mean / cell.images_per_s / told.steps))
    batches, seconds = (np.array(column) for column in zip(*points, strict=True)) if points else (
        np.zeros(0), np.zeros(0))  # fmt: skip
    if not points or np.ptp(batches) < MIN_SPREAD:
        raise FleetError(
            f"{path}: it has no two batch sizes at which a baseline was busy all the time: "
            "measure again with --policies none request and loads above 1"
        )
    base, slope = line(batches, seconds)
    device = (told.facts.get("limits") or {}).get("device_name", "unknown device")
    return Service(
        step_base_s=base,
        step_image_s=slope,
        steps=told.steps,
        largest_batch=round(float(batches.max())),
        basis=f"{path.name} ({told.model}, {device}), tail included in its steps",
        no_gpu=told.facts.get("device") == "cpu",
    )
