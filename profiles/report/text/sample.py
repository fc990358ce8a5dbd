"""What `viralload sample` saw, in words, for a terminal. Pure."""

from profiles import formats
from profiles.report.text import hardware as hardware_text
from profiles.schema import GpuSummary, Summary, Verdict
from profiles.summary.sample import SCENARIO, Sampled

LABEL = 12


def sampled_text(found: Sampled) -> str:
    """For a terminal, ending in a newline."""
    seconds = formats.seconds(found.duration_s)
    lines = [f"sampled {seconds}: {len(found.gpus)} GPUs"]
    for gpu in [*found.gpus, *found.instances]:
        held = _held(gpu)
        lines.append(
            f"{f'GPU {gpu.index}':{LABEL}}{gpu.name or gpu.uuid}: "
            f"{formats.percent(gpu.util_mean_pct)} busy, tensor "
            f"{formats.percent(gpu.tensor_mean_pct)}, {formats.watts(gpu.power_mean_w)} mean, "
            f"{formats.joules(gpu.energy_counter_j)} by the counter, "
            f"{formats.joules(gpu.energy_integrated_j)} by power, "
            f"{formats.data(gpu.mem_used_max_bytes)} at most{held}"
        )
    lines += [
        f"{'host':{LABEL}}{host.node}: CPU {formats.percent(host.cpu_mean_pct)} mean, "
        f"{formats.data(host.mem_used_max_bytes)} memory at most{hardware_text.host_used(host)}"
        for host in found.hosts
    ]
    summary = Summary(
        run_id=found.run_id, scenario=SCENARIO, valid=True, reasons=[], verdict=Verdict.PASS,
        scheduled=0, outcomes={}, scheduled_images=0, ok_images=0, slo_latency_s=0.0,
        gpus=found.gpus, samplers=found.samplers, faults=found.faults,
    )  # fmt: skip
    lines += [f"{name}: {value}" for name, value in hardware_text.reading_rows(summary)]
    lines += [f"warning: {one}" for one in found.warnings]
    return "\n".join(lines) + "\n"


def _held(gpu: GpuSummary) -> str:
    told = [
        f", {words} {formats.share(getattr(gpu, name))} of the time"
        for name, words in hardware_text.HELD.items()
        if (getattr(gpu, name) or 0.0) >= hardware_text.MIN_HELD
    ]
    return "".join(told)
