"""What an H200 tells beyond the least, made up from its power: for runs that have it all."""

import msgspec

from profiles.schema import GpuSample, RunEvent
from tests.profiles.synthetic import START_S

LIMIT_W = 700.0
IDLE_W = 118.0


class Hopper:
    """Retells samples in time order: GPM once a second, throttle counters, memory's readings.

    Args:
        lost: index of a GPU that is silent from `from_s` to `until_s`, since the load began.
    """

    def __init__(self, lost: int | None = None, from_s: float = 0.0, until_s: float = 0.0) -> None:
        self._lost = (lost, START_S + from_s, START_S + until_s)
        self._before: dict[int, GpuSample] = {}
        self._gpm_s: dict[int, float] = {}

    def __call__(self, sample: GpuSample) -> GpuSample | None:
        lost, from_s, until_s = self._lost
        if sample.index == lost and from_s <= sample.t_s < until_s:
            return None
        before = self._before.get(sample.index, sample)
        step_s = sample.t_s - before.t_s
        power_w = sample.power_w or 0.0
        level = min(1.0, max(0.0, (power_w - IDLE_W - 12.0 * sample.index) / 480.0))
        average_w = before.power_average_w or power_w
        told = msgspec.structs.replace(
            sample,
            power_average_w=average_w + min(1.0, step_s) * (power_w - average_w),
            mem_clock_mhz=3201.0,
            mem_temp_c=46.0 + 34.0 * level + sample.index,
            throttle_power_s=(before.throttle_power_s or 0.0)
            + 0.6 * max(0.0, level - 0.8) * step_s,
            throttle_thermal_s=(before.throttle_thermal_s or 0.0)
            + (0.12 * step_s if level > 0.95 else 0.0),
            throttle_hw_thermal_s=0.0,
            throttle_brake_s=0.0,
            pcie_rx_bytes=int((before.pcie_rx_bytes or 0) + (0.1 + 0.9 * level) * 1e9 * step_s),
            pcie_tx_bytes=int((before.pcie_tx_bytes or 0) + (0.1 + 2.1 * level) * 1e9 * step_s),
        )
        self._before[sample.index] = told
        begun_s = self._gpm_s.setdefault(sample.index, sample.t_s)
        if sample.t_s - begun_s < 0.999:
            return told
        self._gpm_s[sample.index] = sample.t_s
        return msgspec.structs.replace(
            told,
            gpm_span_s=sample.t_s - begun_s,
            sm_active_pct=96.0 * level,
            sm_occupancy_pct=31.0 * level,
            tensor_pct=38.0 * level,
            dram_pct=44.0 * level,
        )


def befallen(index: int, from_s: float, until_s: float) -> list[RunEvent]:
    """GPU `index` fell off the bus and came back; the times are since the load began."""
    uuid = f"GPU-{index:08x}"
    told = (
        (from_s - 0.1, "xid", "XID 79: the GPU has fallen off the bus", 79),
        (from_s, "gpu_lost", "lost", None),
        (until_s, "gpu_back", "answers again", None),
    )
    return [
        RunEvent(t_s=START_S + t_s, kind=kind, source="node-a", detail=f"GPU {index}: {what}",
                 gpu_uuid=uuid, code=code)
        for t_s, kind, what, code in told
    ]  # fmt: skip
