"""How well a sampler keeps its time, and what it costs: its account of itself. Pure."""

from profiles.sampler.cadence import Tick
from profiles.schema import CallCost, SamplerSample


class Account:
    """Counts cycles, and keeps the worst of them since the last line.

    Args:
        node: this machine's name.
        hz: cycles a second, as planned.
    """

    def __init__(self, node: str, hz: float) -> None:
        self._node, self._hz = node, hz
        self._cycles = self._missed = 0
        self._lag_s: float | None = None
        self._work_s: float | None = None
        self._since: tuple[float, float] | None = None  # instant and CPU seconds of the last line

    def cycle(self, tick: Tick, work_s: float) -> None:
        """One cycle that took `work_s`."""
        self._cycles += 1
        self._missed += tick.skipped
        self._lag_s = max(tick.lag_s, self._lag_s or 0.0)
        self._work_s = max(work_s, self._work_s or 0.0)

    def tell(self, t_s: float, cpu_s: float, calls: dict[str, CallCost]) -> SamplerSample:
        """A line, and begin anew; `cpu_s` is what this process has used of the CPU."""
        cpu_pct = None
        if self._since is not None and t_s > self._since[0]:
            cpu_pct = 100.0 * (cpu_s - self._since[1]) / (t_s - self._since[0])
        line = SamplerSample(
            t_s=round(t_s, 6),
            node=self._node,
            hz=self._hz,
            cycles=self._cycles,
            missed=self._missed,
            lag_max_s=self._lag_s,
            work_max_s=self._work_s,
            cpu_pct=cpu_pct,
            calls=calls,
        )
        self._since, self._lag_s, self._work_s = (t_s, cpu_s), None, None
        return line
