"""How much of what the device can do the images took: FLOP/s against its limits. Pure.

    f  = FLOP of ok images / those images          FLOP an image, as the server told (2 x MAC)
    a  = FLOP of ok images done in the load / (T n)    achieved FLOP/s a device
    a' = FLOP of ok images done in the peak / (w n)    the same during the peak of the curve
    100 a / l, 100 a / d                           percent of the measured and the datasheet limit

T is the load window in s, w the peak's length in s, n the devices (GPUs, or the replicas of a CPU
server), l the matmul rate measured on one of them, d the vendor's dense figure. `utilization` says
that some kernel ran; this says how full the device was. a is a mean over the load: where the node
idled, it had no work.
"""

import msgspec
import numpy as np

from profiles.record.columns import Requests
from profiles.requests.peak import Peak
from profiles.requests.rates import LoadWindow
from profiles.requests.target import gpus_in_use, target_shares_machine
from profiles.schema import DeviceLimits, Outcome, RunManifest
from profiles.telemetry.datasheet import Datasheet, datasheet

TERA = 1e12
DATASHEET_DTYPE = "bfloat16"  # the datasheet figure a run is compared with


class Attained(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a Summary about FLOP, under their names there; None where unknown."""

    tflop_per_image: float | None = None
    achieved_devices: int | None = None
    achieved_tflops: float | None = None
    peak_achieved_tflops: float | None = None
    limit_tflops: float | None = None
    limit_basis: str | None = None
    limit_percent: float | None = None
    peak_limit_percent: float | None = None
    datasheet_tflops: float | None = None
    datasheet_basis: str | None = None
    datasheet_percent: float | None = None


def attained(
    requests: Requests,
    manifest: RunManifest,
    window: LoadWindow | None,
    peak: Peak | None,
) -> Attained:
    """What the images took of the target's devices.

    An ok image done in the load whose FLOP the server did not tell leaves what was achieved
    unknown: a sum without it would be too small.
    """
    devices = devices_in_use(manifest)
    mean, at_peak = _achieved(requests, window, peak, devices)
    limits = manifest.target.limits
    limit = limits.matmul_flop_per_s if limits else None
    sheet = _sheet(manifest)
    sheet_flop_per_s = sheet.bf16_flop_per_s if sheet else None
    return Attained(
        tflop_per_image=_tera(flop_per_image(requests)),
        achieved_devices=devices if mean is not None else None,
        achieved_tflops=_tera(mean),
        peak_achieved_tflops=_tera(at_peak),
        limit_tflops=_tera(limit),
        limit_basis=limit_basis(limits) if limits and limit is not None else None,
        limit_percent=percent_of(mean, limit),
        peak_limit_percent=percent_of(at_peak, limit),
        datasheet_tflops=_tera(sheet_flop_per_s),
        datasheet_basis=f"dense bfloat16, {sheet.source}" if sheet else None,
        datasheet_percent=percent_of(mean, sheet_flop_per_s),
    )


def flop_per_image(requests: Requests) -> float | None:
    """Mean FLOP an ok image took, over those whose FLOP was told."""
    told = requests.where(Outcome.OK) & ~np.isnan(requests.flop)
    images = float(requests.images[told].sum())
    return float(requests.flop[told].sum()) / images if images else None


def devices_in_use(manifest: RunManifest) -> int | None:
    """How many devices made the images: one a replica, else this machine's GPUs; None if unknown.

    A server that tells no replicas and whose GPUs were sampled is taken to use them all.
    """
    target = manifest.target
    if manifest.gpus and target.device != "cpu" and target_shares_machine(manifest):
        return gpus_in_use(manifest) if target.embedded else target.replicas or len(manifest.gpus)
    return target.replicas


def percent_of(value: float | None, limit: float | None) -> float | None:
    """100 value / limit; None where either is unknown."""
    return None if value is None or not limit else 100.0 * value / limit


def limit_basis(limits: DeviceLimits) -> str:
    """What the measured limit is of: `bfloat16 matmul measured on NVIDIA H200`."""
    on = f" on {limits.device_name}" if limits.device_name else ""
    count = limits.threads
    threads = f", {count} CPU thread{'' if count == 1 else 's'}" if count else ""
    dtype = f"{limits.matmul_dtype} " if limits.matmul_dtype else ""
    return f"{dtype}matmul measured{on}{threads}"


def _achieved(
    requests: Requests,
    window: LoadWindow | None,
    peak: Peak | None,
    devices: int | None,
) -> tuple[float | None, float | None]:
    """FLOP/s a device over the load window, and during the peak of the curve."""
    if window is None or window.duration_s <= 0 or not devices:
        return None, None
    done = window.inside(requests.done_s) & requests.where(Outcome.OK)
    flop = requests.flop[done]
    if not flop.size or np.isnan(flop).any():
        return None, None
    mean = float(flop.sum()) / window.duration_s / devices
    if peak is None:
        return mean, None
    since_load_s = requests.done_s[done] - window.start_s
    inside = (since_load_s >= peak.start_s) & (since_load_s <= peak.end_s)
    return mean, float(flop[inside].sum()) / peak.duration_s / devices


def _sheet(manifest: RunManifest) -> Datasheet | None:
    """The datasheet of the one GPU model the images were made on; None for a CPU or a stub.

    A datasheet is compared only where the model runs in its precision, which the server's own
    measurement tells; without one, the GPUs that NVML named are taken to run bfloat16.
    """
    target, limits = manifest.target, manifest.target.limits
    if target.device == "cpu" or target.is_stub:
        return None
    if limits is not None and limits.device_name is not None:
        fits = limits.matmul_dtype in (None, DATASHEET_DTYPE)
        return datasheet(limits.device_name) if fits else None
    names = {gpu.name for gpu in manifest.gpus} if target_shares_machine(manifest) else set()
    return datasheet(names.pop()) if len(names) == 1 else None


def _tera(flop: float | None) -> float | None:
    return None if flop is None else flop / TERA
