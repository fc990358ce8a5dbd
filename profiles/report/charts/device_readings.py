"""Which readings of GPUs and of the machine the report draws, in which chart, and how."""

from dataclasses import dataclass

from profiles.report.charts.device_series import Kind


@dataclass(frozen=True)
class Curve:
    """One reading of a panel."""

    column: str
    label: str
    colour: str
    how: str = ""  # what it is, and how to read it
    dashed: bool = False


@dataclass(frozen=True)
class Reading:
    """One chart of readings that share a unit."""

    name: str
    title: str
    unit: str
    how: str  # said after what its curves say
    curves: tuple[Curve, ...]
    kind: Kind = "level"
    scale: float = 1.0  # SI to the unit drawn
    high: float | None = None  # fixed upper end of the axis
    from_zero: bool = True
    limit: str | None = None  # GpuInfo's attribute
    limit_word: str = ""


GPU_READINGS = (
    Reading(
        "gpu-busy",
        "GPU utilization",
        "%",
        "",
        (
            Curve(
                "util_pct",
                "utilized",
                "c-g6",
                "Utilized: some kernel ran, which says nothing of how full the GPU was.",
            ),
            Curve("sm_active_pct", "SM active", "c-g0", "SM active: the SMs had work."),
            Curve(
                "sm_occupancy_pct",
                "SM occupancy",
                "c-g4",
                "Occupancy: of all warps that could be resident.",
            ),
            Curve("dram_pct", "DRAM bandwidth", "c-g1", "DRAM: of its bandwidth."),
        ),
        high=100.0,
    ),
    Reading(
        "gpu-power",
        "GPU power",
        "watts per GPU",
        "Board power; its floor is what idling costs.",
        (
            Curve("power_w", "instant", "c-g0"),
            Curve(
                "power_average_w",
                "averaged",
                "c-g3",
                "Averaged is over the second before, by the driver; it hides short peaks.",
                dashed=True,
            ),
        ),
        limit="power_limit_w",
        limit_word="limit",
    ),
    Reading(
        "gpu-clock",
        "GPU clocks",
        "MHz",
        "A fall of the SM clock under load is the power or temperature limit. The axis does not "
        "start at 0.",
        (Curve("sm_clock_mhz", "SM", "c-g0"), Curve("mem_clock_mhz", "memory", "c-g1")),
        from_zero=False,
    ),
    Reading(
        "gpu-temperature",
        "GPU temperature",
        "°C",
        "The axis does not start at 0.",
        (
            Curve(
                "mem_temp_c",
                "memory",
                "c-g1",
                "Memory often reaches its limit before the core does.",
            ),
            Curve("temp_c", "core", "c-g0"),
        ),
        from_zero=False,
    ),
    Reading(
        "gpu-memory",
        "GPU memory",
        "GB per GPU",
        "Weights, and what the largest batch so far needed; caches keep it up.",
        (Curve("mem_used_bytes", "in use", "c-g0"),),
        scale=1e-9,
        limit="mem_total_bytes",
        limit_word="holds",
    ),
    Reading(
        "gpu-pcie",
        "PCIe",
        "GB/s per GPU",
        "Between the host and the GPU: finished images go out, prompts and weights come in.",
        (
            Curve("pcie_tx_bytes", "from the GPU", "c-g0"),
            Curve("pcie_rx_bytes", "to the GPU", "c-g1"),
        ),
        kind="rate",
        scale=1e-9,
    ),
)
CAUSES = {  # of clocks held down: GpuSample's counter -> words and colour
    "throttle_power_s": ("SW power cap", "c-g1"),
    "throttle_thermal_s": ("SW thermal slowdown", "c-g5"),
    "throttle_hw_thermal_s": ("HW thermal slowdown", "c-g3"),
    "throttle_brake_s": ("HW power brake", "c-g6"),
}
HOST_READINGS = (
    Reading(
        "host-cpu",
        "Host CPU",
        "% of all cores",
        "A reading of the machine, not of a GPU; server and load generator share it.",
        (Curve("cpu_pct", "busy", "c-g0"),),
        high=100.0,
    ),
    Reading(
        "host-memory",
        "Host memory",
        "GB",
        "A reading of the machine, not of a GPU: all its processes together.",
        (Curve("mem_used_bytes", "in use", "c-g0"),),
        scale=1e-9,
    ),
    Reading(
        "host-power",
        "Host power",
        "watts",
        "Of the processors and of their memory (RAPL); the GPUs are not in it.",
        (
            Curve("cpu_energy_j", "processors", "c-g0"),
            Curve("dram_energy_j", "DRAM", "c-g1"),
        ),
        kind="rate",
    ),
)
