"""The machine itself: what it is, and how busy; all there is to sample where there is no GPU."""

import os
import platform
from pathlib import Path

import psutil

from profiles.devices.rapl import POWERCAP, Rapl
from profiles.schema import HostInfo, HostSample


def node_name() -> str:
    """This machine's name in records."""
    return platform.node() or "localhost"


class Host:
    """This machine under the name `node`. CPU readings are since the one before.

    `unreadable` says what of it may not be read, with the remedy; None where all may.
    """

    def __init__(self, node: str, powercap: Path = POWERCAP) -> None:
        self._node = node
        self._rapl = Rapl(powercap)
        self.unreadable = self._rapl.unreadable
        psutil.cpu_percent(interval=None)  # the first reading has nothing before it: drop it

    def describe(self) -> HostInfo:
        """What the machine is."""
        return HostInfo(
            node=self._node,
            os=_os_name(),
            cpu=cpu_name(Path("/proc/cpuinfo")),
            cores=psutil.cpu_count() or len(os.sched_getaffinity(0)),
            mem_total_bytes=psutil.virtual_memory().total,
        )

    def sample(self, t_s: float, lag_s: float) -> HostSample:
        """CPU use in percent of all cores since the last sample, memory not available, and energy.

        `t_s` and `lag_s` go into the record as they are. Space apart by 0.1 s or more: the kernel
        counts CPU time in ticks of 10 ms.
        """
        memory = psutil.virtual_memory()
        spent = self._rapl.read()
        return HostSample(
            t_s=round(t_s, 6),
            node=self._node,
            cpu_pct=psutil.cpu_percent(interval=None),
            mem_used_bytes=memory.total - memory.available,
            cpu_energy_j=spent.cpu_j,
            dram_energy_j=spent.dram_j,
            lag_s=round(lag_s, 6),
        )


def cpu_name(cpuinfo: Path) -> str | None:
    """The processor's name as Linux tells it, or None."""
    try:
        text = cpuinfo.read_text(errors="replace")
    except OSError:
        return platform.processor() or None
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name" and value.strip():
            return value.strip()
    return platform.processor() or None


def _os_name() -> str:
    kernel = f"{platform.system()} {platform.release()}"
    try:
        return f"{platform.freedesktop_os_release()['PRETTY_NAME']}, {kernel}"
    except (OSError, KeyError):
        return kernel
