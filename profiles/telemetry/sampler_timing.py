"""How well the samplers kept their time over the load: planned against actual, gaps, cost. Pure."""

import numpy as np

from profiles.record.columns import Gpu, Host, Recorded
from profiles.requests.rates import LoadWindow
from profiles.schema import SamplerSample, SamplerSummary
from profiles.stats import arrays
from profiles.telemetry.device_means import window


def summarize_samplers(recorded: Recorded, load: LoadWindow | None) -> list[SamplerSummary]:
    """One a machine, by its own account and by the times of its samples."""
    if load is None or load.duration_s <= 0:
        return []
    nodes = sorted({line.node for line in recorded.sampler})
    return [_one(recorded, node, load) for node in nodes]


def _one(recorded: Recorded, node: str, load: LoadWindow) -> SamplerSummary:
    lines = [line for line in recorded.sampler if line.node == node]
    over = _over(lines, load)
    devices: list[Gpu | Host] = [one for one in recorded.gpus if one.node == node]
    devices += [one for one in recorded.hosts if one.node == node]
    gpus = [gpu for gpu in recorded.gpus if gpu.node == node]
    parts = [one.lag_s[window(one.t_s, load.start_s, load.end_s)] for one in devices]
    reads = [gpu.read_s[window(gpu.t_s, load.start_s, load.end_s)] for gpu in gpus]
    lags = np.concatenate(parts) if parts else np.empty(0)
    p50_s, p99_s = arrays.quantiles(lags, (0.5, 0.99))
    gaps = [arrays.longest_gap(one.t_s, load.start_s, load.end_s) for one in gpus or devices]
    cpu = [line.cpu_pct for line in over[1:] if line.cpu_pct is not None]
    return SamplerSummary(
        node=node,
        hz=over[-1].hz,
        planned=round(over[-1].hz * load.duration_s),
        missed=over[-1].missed - over[0].missed,
        lateness_p50_s=p50_s,
        lateness_p99_s=p99_s,
        gap_max_s=max(gaps, default=None),
        read_p99_s=arrays.quantile(np.concatenate(reads), 0.99) if reads else None,
        cpu_pct=sum(cpu) / len(cpu) if cpu else None,
        calls=_mean_calls(over[1:]),
    )


def _over(lines: list[SamplerSample], load: LoadWindow) -> list[SamplerSample]:
    """The lines from the last before the load to the first after it."""
    before = [at for at, line in enumerate(lines) if line.t_s <= load.start_s]
    after = [at for at, line in enumerate(lines) if line.t_s >= load.end_s]
    first, last = (before or [0])[-1], (after or [len(lines) - 1])[0]
    return lines[first : last + 1] or lines


def _mean_calls(lines: list[SamplerSample]) -> dict[str, float]:
    sums: dict[str, tuple[int, float]] = {}
    for line in lines:
        for name, cost in line.calls.items():
            count, total = sums.get(name, (0, 0.0))
            sums[name] = (count + cost.count, total + cost.count * cost.mean_s)
    return {name: total / count for name, (count, total) in sorted(sums.items())}
