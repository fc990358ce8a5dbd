"""The doctor's findings as a table for a terminal. Pure: values in, text out."""

import textwrap

from loadtest.doctor.diagnosis import PACKAGES, Diagnosis, Driver, Measured
from profiles import formats
from profiles.report.text.limits import percent

WIDTH = 100
LABEL = 12


def doctor_text(found: Diagnosis) -> str:
    """Every finding, ending in a newline."""
    lines: list[str] = []
    for index, measured in enumerate(found.measured):
        lines += [*_device(index, measured), ""]
    lines += _driver(found.driver)
    lines += _row("torch", _torch(found))
    for index, card in enumerate(found.checkup.gpus):
        room = f"{formats.data(card.mem_free_bytes)} of {formats.data(card.mem_total_bytes)} free"
        told = f"{card.name}, compute capability {card.capability}, {room}, {card.uuid}"
        lines += _row(f"cuda:{index}", told)
    lines += _row("versions", _versions(found))
    lines += _row("machine", _machine(found))
    lines += _row("disk", _disk(found))
    lines += _row("ports", _ports(found))
    lines.append("")
    if not found.faults:
        lines += _row("faults", "none found")
    for place, fault in enumerate(found.faults):
        lines += _row("" if place else "faults", f"! {fault}")
    return "\n".join(lines) + "\n"


def _device(index: int, measured: Measured) -> list[str]:
    limits, sheet = measured.limits, measured.datasheet
    name = limits.device_name or formats.UNKNOWN
    if limits.threads is not None:
        name += f", {limits.threads} CPU thread{'' if limits.threads == 1 else 's'}"
    matmul = (
        f"{limits.matmul_dtype or formats.UNKNOWN} matmul",
        _flop_per_s(limits.matmul_flop_per_s),
        _of(measured.matmul_percent, _flop_per_s(sheet.bf16_flop_per_s) if sheet else ""),
    )
    fp8 = (
        "float8 matmul",
        _flop_per_s(limits.fp8_flop_per_s),
        _of(measured.fp8_percent, _flop_per_s(sheet.fp8_flop_per_s) if sheet else ""),
    )
    copy = (
        "copy, read + written",
        _bytes_per_s(limits.copy_bytes_per_s),
        _of(measured.copy_percent, _bytes_per_s(sheet.memory_bytes_per_s) if sheet else ""),
    )
    told = [matmul, *([] if limits.fp8_flop_per_s is None else [fp8]), copy]
    lines = _row(f"device {index}", name)
    lines += [
        f"{'':{LABEL}}{what:<22}{value:>14}   {share}".rstrip() for what, value, share in told
    ]
    how = f"measured in {formats.seconds(limits.measured_s)} on random data"
    return lines + _row("", f"{how}; datasheet: {sheet.source}" if sheet else how)


def _driver(driver: Driver) -> list[str]:
    if driver.fault:
        return _row("driver", "cannot be asked; see below")
    if driver.absent:
        return _row("driver", f"no NVIDIA driver here (NVML: {driver.absent})")
    version = next((gpu.driver for gpu in driver.gpus if gpu.driver), None)
    told = f"{version or formats.UNKNOWN}, CUDA up to {driver.cuda or formats.UNKNOWN}"
    lines = _row("driver", f"{told}; NVML reached")
    for gpu in driver.gpus:
        memory, limit = formats.data(gpu.mem_total_bytes), formats.watts(gpu.power_limit_w)
        lines += _row(f"GPU {gpu.index}", f"{gpu.name}, {memory}, limit {limit}, {gpu.uuid}")
        cut = driver.instances.get(gpu.uuid)
        lines += _row("", f"in MIG mode, cut into {', '.join(cut)}") if cut else []
    return lines


def _torch(found: Diagnosis) -> str:
    checkup = found.checkup
    version = checkup.torch_version or found.versions.get("torch", "not installed")
    if checkup.torch_version is None:
        return version
    if checkup.cuda_build is None:
        return f"{version}, built without CUDA"
    return f"{version}, built for CUDA {checkup.cuda_build}; used on {checkup.device}"


def _versions(found: Diagnosis) -> str:
    told = [f"{name} {found.versions.get(name, 'not installed')}" for name in PACKAGES]
    return ", ".join([f"python {found.versions.get('python', formats.UNKNOWN)}", *told])


def _machine(found: Diagnosis) -> str:
    host = found.host
    memory, room = formats.data(host.mem_total_bytes), formats.data(found.mem_available_bytes)
    return (
        f"{host.node}: {host.os}; {host.cpu or 'CPU unknown'}, {host.cores} cores "
        f"({found.cores_usable} usable); {memory} memory, {room} available"
    )


def _disk(found: Diagnosis) -> str:
    told = f"{formats.data(found.disk_free_bytes)} free for {found.runs_folder}"
    if found.shm_free_bytes is None:
        return told
    return f"{told}; {formats.data(found.shm_free_bytes)} free in /dev/shm (Ray)"


def _ports(found: Diagnosis) -> str:
    return ", ".join(
        f"{port.number} ({port.use}) {'taken' if port.fault else 'free'}" for port in found.ports
    )


def _flop_per_s(value: float | None) -> str:
    return formats.tflops(None if value is None else value / 1e12)


def _bytes_per_s(value: float | None) -> str:
    return formats.UNKNOWN if value is None else f"{formats.data(value)}/s"


def _of(share: float | None, limit: str) -> str:
    return "" if share is None else f"{percent(share)} of {limit}"


def _row(label: str, text: str) -> list[str]:
    parts = textwrap.wrap(text, WIDTH - LABEL, break_on_hyphens=False) or [""]
    return [f"{'' if place else label:<{LABEL}}{part}" for place, part in enumerate(parts)]
