"""What a sampler tells Prometheus: names, units and labels of its metrics. Pure.

By Prometheus' conventions: base units in the name (watts, joules, bytes, seconds, hertz, celsius),
shares as ratios from 0 to 1, counters end in `_total`. A reading that is null has no series: an
absent series is unknown, never 0.
"""

from typing import NamedTuple

from profiles.schema import GpuInfo, GpuSample, HostSample, SamplerSample

PERCENT = 0.01
MEGA = 1e6
GPU_LABELS = ("node", "index", "uuid")
NODE_LABELS = ("node",)

Sample = GpuSample | HostSample | SamplerSample | GpuInfo


class Metric(NamedTuple):
    """One attribute of a sample as a metric; `extra` are the labels beside those of its kind."""

    name: str
    attribute: str
    help: str
    scale: float = 1.0  # from the attribute's unit to the metric's
    extra: tuple[tuple[str, str], ...] = ()

    @property
    def is_counter(self) -> bool:
        """Whether it only grows."""
        return self.name.endswith("_total")


def _throttled(cause: str) -> Metric:
    return Metric(
        "viralload_gpu_throttled_seconds_total",
        f"throttle_{cause}_s",
        "Time the GPU ran below the wanted clock, by cause.",
        extra=(("cause", cause),),
    )


GPU = (
    Metric("viralload_gpu_power_watts", "power_w", "Power the GPU draws."),
    Metric("viralload_gpu_power_average_watts", "power_average_w", "Power over the second before."),
    Metric("viralload_gpu_energy_joules_total", "energy_j", "The driver's energy counter."),
    Metric(
        "viralload_gpu_utilization_ratio",
        "util_pct",
        "Share of time some kernel ran; not how full the GPU was.",
        PERCENT,
    ),
    Metric(
        "viralload_gpu_sm_active_ratio", "sm_active_pct", "SM time with work resident.", PERCENT
    ),
    Metric("viralload_gpu_sm_occupancy_ratio", "sm_occupancy_pct", "Warps resident.", PERCENT),
    Metric("viralload_gpu_tensor_active_ratio", "tensor_pct", "SM time in tensor work.", PERCENT),
    Metric("viralload_gpu_dram_bandwidth_ratio", "dram_pct", "Of the memory's bandwidth.", PERCENT),
    Metric("viralload_gpu_memory_used_bytes", "mem_used_bytes", "Memory in use."),
    Metric("viralload_gpu_sm_clock_hertz", "sm_clock_mhz", "Clock of the SMs.", MEGA),
    Metric("viralload_gpu_memory_clock_hertz", "mem_clock_mhz", "Clock of the memory.", MEGA),
    Metric("viralload_gpu_temperature_celsius", "temp_c", "Temperature of the GPU."),
    Metric("viralload_gpu_memory_temperature_celsius", "mem_temp_c", "Of its memory."),
    *map(_throttled, ("power", "thermal", "hw_thermal", "brake")),
    Metric("viralload_gpu_pcie_receive_bytes_total", "pcie_rx_bytes", "Received over PCIe."),
    Metric("viralload_gpu_pcie_transmit_bytes_total", "pcie_tx_bytes", "Sent over PCIe."),
    Metric("viralload_gpu_sample_lag_seconds", "lag_s", "How late the last sample was taken."),
)
GPU_INFO = (
    Metric("viralload_gpu_memory_total_bytes", "mem_total_bytes", "Memory there is."),
    Metric("viralload_gpu_power_limit_watts", "power_limit_w", "The power limit enforced."),
)
HOST = (
    Metric("viralload_host_cpu_ratio", "cpu_pct", "CPU busy, of all cores together.", PERCENT),
    Metric("viralload_host_memory_used_bytes", "mem_used_bytes", "Memory that is not available."),
    Metric(
        "viralload_host_cpu_energy_joules_total",
        "cpu_energy_j",
        "Energy of the processors' packages (RAPL).",
    ),
    Metric(
        "viralload_host_dram_energy_joules_total", "dram_energy_j", "Energy of the memory (RAPL)."
    ),
)
SAMPLER = (
    Metric("viralload_sampler_cycles_total", "cycles", "Sampling cycles done."),
    Metric("viralload_sampler_missed_cycles_total", "missed", "Cycles due that got no sample."),
    Metric("viralload_sampler_lag_seconds", "lag_max_s", "The latest cycle of the last seconds."),
    Metric("viralload_sampler_cpu_ratio", "cpu_pct", "CPU of the sampler, of one core.", PERCENT),
)
INFO = "viralload_gpu_info"  # 1, with the GPU's name and driver for labels

KINDS: dict[type[Sample], tuple[tuple[Metric, ...], tuple[str, ...]]] = {
    GpuSample: (GPU, GPU_LABELS),
    GpuInfo: (GPU_INFO, GPU_LABELS),
    HostSample: (HOST, NODE_LABELS),
    SamplerSample: (SAMPLER, NODE_LABELS),
}


def names() -> set[str]:
    """Every metric's name."""
    return {metric.name for metrics, _ in KINDS.values() for metric in metrics} | {INFO}
