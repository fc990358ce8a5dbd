"""The hardware in words: clocks held down, energy, phases, and how well it was read. Pure."""

from profiles import formats
from profiles.schema import GpuSummary, HostSummary, PhaseSummary, SamplerSummary, Summary

Row = tuple[str, str]

HELD = {  # of GpuSummary and PhaseSummary, in words
    "power_capped_share": "SW power cap",
    "thermal_share": "SW thermal slowdown",
    "hw_thermal_share": "HW thermal slowdown",
    "brake_share": "HW power brake",
}
MIN_HELD = 0.005  # a share below this is not worth a sentence
MAX_FAULTS = 20
EVENTS = {"xid": "XID", "gpu_lost": "GPU lost", "gpu_back": "GPU back"}


def held_sentence(summary: Summary) -> str | None:
    """`SW power cap 31% of the peak, SW thermal slowdown 2% of it`; None where not told.

    Of the peak of the curve where there is one, else of the longest phase.
    """
    if not summary.phases:
        return None
    longest = max(summary.phases, key=lambda one: one.end_s - one.start_s)
    phase = next((one for one in summary.phases if one.name == "peak"), longest)
    shares = {name: getattr(phase, name) for name in HELD}
    if all(share is None for share in shares.values()):
        return None
    held = [(HELD[name], share) for name, share in shares.items() if (share or 0.0) >= MIN_HELD]
    if not held:
        return f"no clock throttling in the {phase.name}"
    told = [f"{words} {formats.share(min(share, 1.0))} of it" for words, share in held]
    told[0] = told[0].removesuffix("it") + f"the {phase.name}"
    return ", ".join(told)


def energy_text(summary: Summary) -> str | None:
    """`331 J per image, gross (320 to 342 J; counter); 212 J above idle`; None where unknown."""
    if summary.energy_j_per_image is None:
        return None
    gross = formats.joules(summary.energy_j_per_image)
    between = _between(summary.energy_low_j_per_image, summary.energy_high_j_per_image)
    told = f"{gross} per image, gross ({between}{summary.energy_basis})"
    if summary.energy_net_j_per_image is not None:
        told += _above_idle(
            summary.energy_net_j_per_image,
            summary.energy_net_low_j_per_image,
            summary.energy_net_high_j_per_image,
            summary.idle_power_w,
        )
    if summary.carbon_g_per_image is not None:
        told += _carbon(summary.carbon_g_per_image, summary.carbon_g_per_kwh)
    return told


def _above_idle(
    net_j: float, low_j: float | None, high_j: float | None, idle_w: float | None
) -> str:
    """What the images added to idling; in words where the power before the load was no idling."""
    if net_j < 0:
        return (
            f"; none above idle: the {formats.watts(idle_w)} drawn before the load were more than "
            "during it, so the machine was not idling then"
        )
    between = _between(low_j, high_j).removesuffix("; ")
    if low_j is not None and low_j < 0:
        between += ", so it may be none"
    return f"; {formats.joules(net_j)} above idle{f' ({between})' if between else ''}"


def host_energy_text(summary: Summary) -> str | None:
    """`12 J per image, gross (11 to 13 J), ... of the machine's processors`; None where unknown."""
    of = summary.host_energy
    if of is None or of.j_per_image is None:
        return None
    between = _between(of.low_j_per_image, of.high_j_per_image).removesuffix("; ")
    told = f"{formats.joules(of.j_per_image)} per image, gross{f' ({between})' if between else ''}"
    if of.net_j_per_image is not None:
        told += _above_idle(of.net_j_per_image, None, None, of.idle_power_w)
    if of.carbon_g_per_image is not None:
        told += _carbon(of.carbon_g_per_image, of.carbon_g_per_kwh)
    return (
        f"{told}; of the machine's {' and '.join(of.parts)} (RAPL), the load generator's work too"
    )


def host_used(host: HostSummary) -> str:
    """`; 4.0 kJ processors, 1.2 kJ DRAM`; empty where it cannot be read."""
    known = [
        f"{formats.joules(joules)} {part}"
        for part, joules in (("processors", host.cpu_energy_j), ("DRAM", host.dram_energy_j))
        if joules is not None
    ]
    return f"; {', '.join(known)}" if known else ""


def energy_rows(summary: Summary) -> list[Row]:
    """Energy twice, with what each figure is of; empty where none is known."""
    told, of_host = energy_text(summary), host_energy_text(summary)
    rows = [("Per image", told)] if told else []
    rows += [("Per image, no GPU's energy", of_host)] if of_host else []
    if summary.host_energy is not None and summary.host_energy.idle_power_w is not None:
        idle = formats.watts(summary.host_energy.idle_power_w)
        rows.append(("Idling", f"{idle}, the processors, median before the load"))
    if summary.idle_power_w is not None:
        rows.append(
            ("Idling", f"{formats.watts(summary.idle_power_w)}, all GPUs, median before the load")
        )
    if summary.energy_disagreement is not None:
        apart = formats.share(summary.energy_disagreement)
        rows.append(("Counter against integrated power", f"{apart} apart, the worst GPU"))
    return rows


def phase_table(summary: Summary) -> list[list[str]]:
    """A header and a row per phase; empty without GPUs."""
    if not summary.gpus or not summary.phases:
        return []
    header = (
        "Phase,Time,Images/s,TFLOP/s,Tensor,SM active,DRAM,Utilization,Power,Power cap,"
        "Energy per image"
    )
    return [header.split(","), *(_phase_row(one) for one in summary.phases)]


def work_table(summary: Summary) -> list[list[str]]:
    """A header and a row per GPU or MIG instance: what it made beside how full it was."""
    devices = [*summary.gpus, *summary.instances]
    if not devices:
        return []
    header = (
        "GPU,Replicas,Images/s,TFLOP/s,Tensor,SM active,Occupancy,DRAM,Power cap,"
        "Energy (counter),Energy (power),Memory of replicas"
    )
    return [header.split(","), *(_work_row(one) for one in devices)]


def reading_rows(summary: Summary, load_start_s: float | None = None) -> list[Row]:
    """How well the hardware was read: cadence and cost, what could not be told, what befell."""
    rows = [_sampler_row(one) for one in summary.samplers]
    for gpu in summary.gpus:
        by_reason: dict[str, list[str]] = {}
        for name, why in gpu.unable.items():
            by_reason.setdefault(why, []).append(name)
        for why, names in by_reason.items():
            rows.append(
                (f"GPU {gpu.index} · {gpu.node} does not report", f"{', '.join(names)}: {why}")
            )
        counts = [
            f"{getattr(gpu, name):,} {name.replace('_', ' ')}"
            for name in ("ecc_corrected", "ecc_uncorrected", "rows_corrected", "rows_uncorrected")
            if getattr(gpu, name)
        ]
        if counts:
            rows.append((f"GPU {gpu.index} · {gpu.node}, new errors", ", ".join(counts)))
    rows += [
        (
            ", ".join((_kind(event.kind), formats.load_time(event.t_s, load_start_s))),
            event.detail,
        )
        for event in summary.faults[:MAX_FAULTS]
    ]
    left = len(summary.faults) - MAX_FAULTS
    return [*rows, ("… and", f"{left:,} more events")] if left > 0 else rows


def _kind(kind: str) -> str:
    return EVENTS.get(kind, kind.replace("_", " "))


def _sampler_row(one: SamplerSummary) -> Row:
    told = (
        f"{formats.number(one.hz)} cycles a second, {formats.count(one.missed)} of "
        f"{formats.count(one.planned)} missed, late by {formats.seconds(one.lateness_p50_s)}"
        f" (p50) and {formats.seconds(one.lateness_p99_s)} (p99), longest gap "
        f"{formats.seconds(one.gap_max_s)}; "
    )
    if one.read_p99_s is not None:
        told += f"one GPU read in {formats.seconds(one.read_p99_s)} (p99); "
    told += f"{formats.number(one.cpu_pct)}% of a core"
    calls = ", ".join(f"{name} {formats.seconds(mean_s)}" for name, mean_s in one.calls.items())
    return f"Sampler · {one.node}", f"{told}; a call: {calls}" if calls else told


def _phase_row(one: PhaseSummary) -> list[str]:
    return [
        one.name,
        f"{formats.seconds(one.start_s)} to {formats.seconds(one.end_s)}",
        formats.number(one.images_per_s),
        formats.number(one.tflops),
        formats.percent(one.tensor_mean_pct),
        formats.percent(one.sm_active_mean_pct),
        formats.percent(one.dram_mean_pct),
        formats.percent(one.util_mean_pct),
        formats.watts(one.power_mean_w),
        formats.share(one.power_capped_share),
        formats.joules(one.energy_j_per_image),
    ]


def _work_row(gpu: GpuSummary) -> list[str]:
    part = " (MIG)" if gpu.parent_uuid else ""
    return [
        f"{gpu.index} · {gpu.node}{part}",
        ", ".join(gpu.replicas) or formats.UNKNOWN,
        formats.number(gpu.images_per_s),
        formats.number(gpu.tflops),
        formats.percent(gpu.tensor_mean_pct),
        formats.percent(gpu.sm_active_mean_pct),
        formats.percent(gpu.sm_occupancy_mean_pct),
        formats.percent(gpu.dram_mean_pct),
        formats.share(gpu.power_capped_share),
        formats.joules(gpu.energy_counter_j),
        formats.joules(gpu.energy_integrated_j),
        formats.data(gpu.replica_mem_max_bytes),
    ]


def _carbon(grams: float, per_kwh: float | None) -> str:
    return f"; {formats.number(grams)} g CO2e at {formats.number(per_kwh)} g/kWh"


def _between(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return ""
    least, unit = formats.joules(low).split(" ")
    most = formats.joules(high)
    return f"{least if most.endswith(f' {unit}') else f'{least} {unit}'} to {most}; "
