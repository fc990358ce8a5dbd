"""The hardware in the live view: what each GPU last told, which are lost, and what befell them.

A lost GPU tells nothing any more, so its last reading is not shown as if it were now.
"""

from collections.abc import Iterable

from profiles import formats
from profiles.schema import GpuSample, HostSample, RunEvent

STALE_S = 5.0  # a reading that old is of the past
NEWS = {"xid", "gpu_lost", "gpu_back", "gpu_error"}
MAX_NEWS = 20  # lines in one run; a GPU may report an error a thousand times a second
MAX_LINES = 8


class Devices:
    """Keeps the last reading of every GPU and machine."""

    def __init__(self) -> None:
        self._gpus: dict[str, GpuSample] = {}
        self._hosts: dict[str, HostSample] = {}
        self._lost_s: dict[str, float] = {}  # by UUID: since when
        self._told = 0

    def readings(self, gpus: Iterable[GpuSample], hosts: Iterable[HostSample]) -> None:
        """Take over what was read since the last look."""
        self._gpus.update((sample.uuid, sample) for sample in gpus)
        self._hosts.update((sample.node, sample) for sample in hosts)

    def befell(self, event: RunEvent, load_start_s: float | None) -> list[str]:
        """Take over an event; the line that tells it, if it is about a GPU."""
        uuid = event.gpu_uuid or ""
        if event.kind == "gpu_lost":
            self._lost_s[uuid] = event.t_s
        elif event.kind == "gpu_back":
            self._lost_s.pop(uuid, None)
        if event.kind not in NEWS:
            return []
        self._told += 1
        if self._told > MAX_NEWS:
            more = "more events of the GPUs follow: the report has them all"
            return [more] if self._told == MAX_NEWS + 1 else []
        words = event.kind.replace("_", " ").replace("gpu", "GPU").replace("xid", "XID")
        at = formats.load_time(event.t_s, load_start_s)
        detail = "".join(one if one.isprintable() else " " for one in event.detail)
        return [f"{words}, {at}: {detail}"]

    def lines(self, now_s: float) -> list[str]:
        """A line a GPU, or a machine where no GPU is read; at most MAX_LINES, lost ones first."""
        gpus = sorted(self._gpus.values(), key=lambda gpu: not self._silent(gpu, now_s))
        lines = [self._line(gpu, now_s) for gpu in gpus] or [
            _host_line(host) for host in self._hosts.values()
        ]
        left = len(lines) - MAX_LINES
        return [*lines[:MAX_LINES], f"and {left} more GPUs"] if left > 0 else lines

    def short(self, now_s: float) -> str:
        """All of them in a few words, for a line of a log."""
        if len(self._gpus) < 2:
            return "; ".join(self.lines(now_s))
        silent = [gpu for gpu in self._gpus.values() if self._silent(gpu, now_s)]
        alive = [gpu for gpu in self._gpus.values() if not self._silent(gpu, now_s)]
        parts = [f"{len(self._gpus)} GPUs"]
        busy = [gpu.util_pct for gpu in alive if gpu.util_pct is not None]
        if busy:
            span = f"{min(busy):.0f} to {max(busy):.0f}%"
            parts.append(f"{sum(busy) / len(busy):.0f}% busy ({span})")
        watts = [gpu.power_w for gpu in alive if gpu.power_w is not None]
        if watts:
            parts.append(formats.watts(sum(watts)))
        told = " ".join(parts)
        if silent:
            shown = "; ".join(self._line(gpu, now_s) for gpu in silent[:2])
            more = f" and {len(silent) - 2} more" if len(silent) > 2 else ""
            told += f"; {shown}{more}"
        return told

    def _silent(self, gpu: GpuSample, now_s: float) -> bool:
        """Lost, and not read again since; or not read for long."""
        return self._lost(gpu) or now_s - gpu.t_s > STALE_S

    def _lost(self, gpu: GpuSample) -> bool:
        return gpu.uuid in self._lost_s and gpu.t_s <= self._lost_s[gpu.uuid]

    def _line(self, gpu: GpuSample, now_s: float) -> str:
        name = f"GPU {gpu.index}"
        if self._lost(gpu):
            return f"{name} LOST for {max(0.0, now_s - self._lost_s[gpu.uuid]):.0f} s"
        if self._silent(gpu, now_s):
            return f"{name} not read for {now_s - gpu.t_s:.0f} s"
        parts = [name]
        if gpu.util_pct is not None:
            parts.append(f"{gpu.util_pct:.0f}% busy")
        if gpu.power_w is not None:
            parts.append(f"{gpu.power_w:.0f} W")
        if gpu.mem_used_bytes is not None:
            parts.append(formats.data(gpu.mem_used_bytes))
        return " ".join(parts)


def _host_line(host: HostSample) -> str:
    memory = formats.data(host.mem_used_bytes)
    return f"host CPU {host.cpu_pct:.0f}%, memory {memory} (no GPU)"
