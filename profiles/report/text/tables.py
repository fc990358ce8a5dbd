"""The report's tables as rows of words. Pure."""

import shlex
from dataclasses import dataclass

from profiles import formats
from profiles.capacity import factors
from profiles.capacity.evidence import SATURATED
from profiles.schema import Capacity, Factor, LoadPlan, RunManifest, Summary, Traffic
from profiles.summary.validity import COMPRESSION_LIMIT

Row = tuple[str, str]
EVENT = "the event"  # where it has no name


def gpu_table(summary: Summary) -> list[list[str]]:
    """A header and a row per GPU, over the load; empty without GPUs."""
    header = "GPU,Name,Utilization,Power,Power (max),Memory (max),Clock,Temperature (max),Energy"
    rows = [
        [
            f"{gpu.index} · {gpu.node}",
            gpu.name or gpu.uuid,
            formats.percent(gpu.util_mean_pct),
            formats.watts(gpu.power_mean_w),
            formats.watts(gpu.power_max_w),
            formats.data(gpu.mem_used_max_bytes),
            formats.megahertz(gpu.sm_clock_mean_mhz),
            formats.celsius(gpu.temp_max_c),
            formats.joules(gpu.energy_j),
        ]
        for gpu in summary.gpus
    ]
    return [header.split(","), *rows] if rows else []


def host_table(summary: Summary) -> list[list[str]]:
    """A header and a row per machine, over the load; empty without readings."""
    header = ["Machine", "What", "CPU", "CPU (max)", "Memory (max)"]
    rows = [
        [
            host.node,
            "host readings, no GPU" if not summary.gpus else "host readings",
            formats.percent(host.cpu_mean_pct),
            formats.percent(host.cpu_max_pct),
            formats.data(host.mem_used_max_bytes),
        ]
        for host in summary.hosts
    ]
    if any(host.cpu_energy_j is not None for host in summary.hosts):
        header += ["Energy, processors", "Energy, DRAM"]
        for row, host in zip(rows, summary.hosts, strict=True):
            row += [formats.joules(host.cpu_energy_j), formats.joules(host.dram_energy_j)]
    return [header, *rows] if rows else []


@dataclass(frozen=True)
class Swing:
    """How far one factor alone moves the block's figure, for a line of a tornado."""

    name: str
    stand: str
    told: str  # "-15% to +18%"
    left_percent: float  # of the drawing's width, where the bar begins ...
    width_percent: float  # ... and how long it is; the middle, 50%, is the figure itself


def swings(capacity: Capacity) -> list[Swing]:
    """Every factor that moves the figure, widest first, drawn to one scale."""
    moved = factors.tornado(capacity.factors, capacity.level)
    most = max((max(-low, high) for _, low, high in moved), default=1.0)
    return [
        Swing(
            name=factor.name,
            stand=factor.stand,
            told=f"{_signed(low)} to {_signed(high)}",
            left_percent=50.0 + 50.0 * low / most,
            width_percent=50.0 * (high - low) / most,
        )
        for factor, low, high in moved
    ]


def _signed(share: float) -> str:
    percent = 100.0 * abs(share)
    digits = 0 if percent >= 9.5 else 1
    return f"{'−' if share < 0 else '+'}{percent:.{digits}f}%"


def stands(capacity: Capacity) -> list[Row]:
    """All that the figure stands on: each factor's value and source, then what was assumed."""
    told = []
    for one in capacity.factors:
        value = factor_told(one, capacity.level)
        told.append((one.stand, f"{one.name[:1].upper()}{one.name[1:]} {value}: {one.source}."))
    return told + tagged(capacity.assumptions)


def factor_told(factor: Factor, level: float) -> str:
    """Its value and, where it has a spread, its interval: `0.95 (0.946 to 0.954)`."""
    value = formats.number(factor.value)
    if not factor.log_sd:
        return value
    span = factors.alone(factor, level)
    return f"{value} ({formats.number(span.low)} to {formats.number(span.high)})"


def reach(capacity: Capacity) -> str:
    """The interval in words: 95% between 60,000 and 90,000."""
    low = formats.number(capacity.block_low_images_per_s)
    high = formats.number(capacity.block_high_images_per_s)
    return f"{formats.share(capacity.level)} between {low} and {high}"


def capacity_rows(capacity: Capacity) -> list[Row]:
    """The block's figures; empty where they are withheld."""
    if capacity.withheld is not None:
        return []
    rows = [
        (
            f"A block of {formats.count(capacity.block_gpus)} GPUs",
            formats.images_per_s(capacity.block_images_per_s),
        ),
        (f"{formats.share(capacity.level)} interval of the next such block", _interval(capacity)),
        (f"One GPU, {one_gpu(capacity)}", formats.images_per_s(capacity.images_per_s_per_gpu)),
        (
            f"1,000 images at {formats.dollars(capacity.price_usd_per_gpu_h)} per GPU-hour",
            formats.dollars(capacity.usd_per_1000_images),
        ),
    ]
    if capacity.blocks_for_peak is not None:
        rows += [
            (f"The peak of {peak_of(capacity)} needs", blocks(capacity)),
            (
                f"All images of {capacity.event or EVENT} take",
                f"{formats.count(capacity.event_gpu_hours)} GPU-hours",
            ),
        ]
    return rows


def _interval(capacity: Capacity) -> str:
    low = formats.number(capacity.block_low_images_per_s)
    return f"{low} to {formats.images_per_s(capacity.block_high_images_per_s)}"


def one_gpu(capacity: Capacity) -> str:
    """What the rate of one GPU is: a full one's, or an SLO's."""
    saturated = bool(capacity.factors) and capacity.factors[0].name == SATURATED
    return "saturated" if saturated else "at the SLO"


def peak_of(capacity: Capacity) -> str:
    """The event and its peak: `ghibli-hour, 1,362 images/s,`."""
    return f"{capacity.event or EVENT}, {formats.images_per_s(capacity.event_peak_images_per_s)},"


def blocks(capacity: Capacity) -> str:
    """What the event's peak needs: 618 GPUs (0.62% of a block), or 2.4 blocks."""
    needed = capacity.blocks_for_peak
    gpus = f"{formats.count(capacity.gpus_for_peak)} GPUs"
    if needed is not None and needed < 0.995:
        return f"{gpus} ({formats.share(needed)} of a block)"
    return f"{formats.number(needed)} blocks ({gpus})"


def tagged(sentences: list[str]) -> list[Row]:
    """Assumptions split into what they stand on (measured, assumed, published) and the rest."""
    rows = []
    for sentence in sentences:
        stand, colon, rest = sentence.partition(": ")
        if colon and stand.split(",")[0] in {"Measured", "Assumed", "Published"}:
            rows.append((stand.split(",")[0].lower(), rest[:1].upper() + rest[1:]))
        else:
            rows.append(("", sentence))
    return rows


def replayed(manifest: RunManifest) -> list[Row]:
    """What was replayed, and how it relates to the event."""
    rows = [("Scenario", f"{manifest.scenario} — {manifest.title}")]
    if manifest.plan is not None:
        rows += _plan_rows(manifest.plan)
    if manifest.demand is not None:
        demand = manifest.demand
        rows.append(
            (
                "The event, full size",
                (
                    f"{formats.count(float(f'{demand.images:.4g}'))} images in "
                    f"{formats.seconds(demand.duration_s)}, peak "
                    f"{formats.images_per_s(demand.peak_images_per_s)} ({demand.basis})"
                ),
            )
        )
    rows.append(("Seed", str(manifest.seed)))
    if manifest.plan is not None:
        rows.append(("Schedule, SHA-256", manifest.plan.schedule_sha256))
    return rows


def environment(manifest: RunManifest) -> list[Row]:
    """Where and with what the run was made."""
    target = manifest.target
    model = f"{target.model or formats.UNKNOWN}{' (no model: stub)' if target.is_stub else ''}"
    rows = [
        ("Run", manifest.run_id),
        ("Started", manifest.start_utc),
        ("Ended", f"{manifest.end_utc or formats.UNKNOWN} ({_end(manifest)})"),
        ("Command", shlex.join(manifest.command)),
        ("Target", f"{target.url} ({'started by this run' if target.embedded else 'existing'})"),
        ("Model", model),
        ("Device", f"{target.device or formats.UNKNOWN}, {_replicas(target.replicas)}"),
    ]
    if target.flop_per_image is not None:
        told = formats.tflop(target.flop_per_image / 1e12)
        rows.append(
            (
                "FLOP per image, as the server reports",
                f"{told} at the target's default size and steps",
            )
        )
    if target.settings:
        told = ", ".join(f"{key} = {value}" for key, value in sorted(target.settings.items()))
        rows.append(("Server settings", told))
    rows += _machine_rows(manifest)
    rows.append(("Source", _source(manifest)))
    if manifest.versions:
        versions = sorted(manifest.versions.items())
        rows.append(("Versions", ", ".join(f"{name} {version}" for name, version in versions)))
    if manifest.labels:
        labels = sorted(manifest.labels.items())
        rows.append(("Tags", ", ".join(f"{key} = {value}" for key, value in labels)))
    return rows


def _machine_rows(manifest: RunManifest) -> list[Row]:
    alike: dict[tuple[str, str], list[int]] = {}  # those of a node that are the same in a row
    for gpu in manifest.gpus:
        memory, limit = formats.data(gpu.mem_total_bytes), formats.watts(gpu.power_limit_w)
        driver = gpu.driver or formats.UNKNOWN
        told = f"{gpu.name}, {memory}, limit {limit}, driver {driver}"
        alike.setdefault((gpu.node, told), []).append(gpu.index)
    gpus = [(f"{_numbered(of)} · {node}", told) for (node, told), of in alike.items()]
    hosts = []
    for host in manifest.hosts:
        memory, cpu = formats.data(host.mem_total_bytes), host.cpu or "CPU unknown"
        hosts.append((f"Host · {host.node}", f"{host.os}, {cpu}, {host.cores} cores, {memory}"))
    return gpus + hosts


def _numbered(indices: list[int]) -> str:
    """`GPU 3`, `8 GPUs, 0 to 7`, or each of them."""
    if len(indices) == 1:
        return f"GPU {indices[0]}"
    first, last = min(indices), max(indices)
    if sorted(indices) == list(range(first, last + 1)):
        return f"{len(indices)} GPUs, {first} to {last}"
    return f"{len(indices)} GPUs: {', '.join(map(str, indices))}"


def _plan_rows(plan: LoadPlan) -> list[Row]:
    caveat = (
        "; above 10 times, autoscaling looks worse than it is"
        if plan.time_compression > COMPRESSION_LIMIT
        else ""
    )
    who = "" if plan.people is None else f" of {formats.count(plan.people)} people"
    rows = [
        (
            "Load",
            (
                f"{formats.count(plan.requests)} requests{who} for {formats.count(plan.images)} "
                f"images in {formats.seconds(plan.duration_s)}, arrivals: {plan.arrivals}"
            ),
        ),
        (
            "Peak and mean of the curve",
            (
                f"{formats.images_per_s(plan.peak_images_per_s)} ({plan.peak_basis}) and "
                f"{formats.images_per_s(plan.mean_images_per_s)}"
            ),
        ),
        (
            "Time compression",
            (
                f"{formats.number(plan.time_compression)} ({formats.seconds(plan.real_duration_s)} "
                f"replayed in {formats.seconds(plan.duration_s)}){caveat}"
            ),
        ),
    ]
    rows += traffic_rows(plan)
    if plan.scale is not None:
        rows.append(("Scale", f"{formats.number(plan.scale)} of the event's own rate"))
    if plan.capacity_images_per_s is not None:
        rows.append(("Capacity before the load", formats.images_per_s(plan.capacity_images_per_s)))
    return rows


def traffic_rows(plan: LoadPlan) -> list[Row]:
    """How a trace's requests came, and how what is sent of it comes; empty where there is none."""
    if plan.recorded is None or plan.sent is None:
        return []
    rows = [("Trace as recorded", _traffic(plan.recorded))]
    if plan.window is not None:
        rows.append(("Window", plan.window))
    return [*rows, ("Trace as sent", _traffic(plan.sent))]


def _traffic(traffic: Traffic) -> str:
    requests = formats.count(traffic.requests)
    told = (
        f"{requests} requests in {formats.seconds(traffic.duration_s)}, "
        f"{formats.number(traffic.mean_per_s)}/s, peak {formats.number(traffic.peak_per_s)}/s "
        f"over {formats.seconds(traffic.peak_over_s)}"
    )
    if traffic.gap_cv is None:
        return told
    return (
        f"{told}; gap CV {formats.number(traffic.gap_cv)}, index of dispersion "
        f"{formats.number(traffic.dispersion_1s)} at 1 s, "
        f"{formats.number(traffic.dispersion_60s)} at 1 min (Poisson: 1)"
    )


def _end(manifest: RunManifest) -> str:
    reason = manifest.end_reason.value.replace("_", " ") if manifest.end_reason else "driver killed"
    return f"{reason}: {manifest.end_detail}" if manifest.end_detail else reason


def _replicas(replicas: int | None) -> str:
    if replicas is None:
        return "replicas unknown"
    return f"{replicas} replica{'' if replicas == 1 else 's'}"


def _source(manifest: RunManifest) -> str:
    if manifest.git_commit is None:
        return formats.UNKNOWN
    return f"git {manifest.git_commit}{' with local changes' if manifest.git_dirty else ''}"
