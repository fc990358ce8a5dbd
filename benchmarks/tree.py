"""CPU time and memory of a process and all below it, watched from a thread while it runs."""

import threading
import time

import msgspec
import numpy as np
import psutil


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """A process tree at one instant, on CLOCK_MONOTONIC."""

    t_s: float
    cpu_s: float  # of all processes so far, those that have ended included
    rss_bytes: int  # of those that live


class Tree:
    """Looks at a process tree every `every_s` until `stop`.

    Args:
        pid: of the root.
        every_s: between two looks.
    """

    def __init__(self, pid: int, every_s: float) -> None:
        self.looks: list[Look] = []
        self._root = psutil.Process(pid)
        self._cpu_s: dict[int, float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, args=(every_s,), daemon=True)
        self._thread.start()

    def stop(self) -> list[Look]:
        """What was seen."""
        self._over.set()
        self._thread.join()
        return self.looks

    def _watch(self, every_s: float) -> None:
        while not self._over.wait(every_s):
            try:
                self._look([self._root, *self._root.children(recursive=True)])
            except psutil.NoSuchProcess:
                return

    def _look(self, processes: list[psutil.Process]) -> None:
        sizes = []
        for process in processes:
            try:
                with process.oneshot():
                    used = process.cpu_times()
                    sizes.append(process.memory_info().rss)
                self._cpu_s[process.pid] = used.user + used.system
            except psutil.NoSuchProcess:
                continue
        self.looks.append(
            Look(
                t_s=time.monotonic(),
                cpu_s=sum(self._cpu_s.values()),
                rss_bytes=sum(sizes),
            )
        )


def cpu_between(looks: list[Look], begin_s: float, end_s: float) -> float | None:
    """CPU seconds between two instants, by straight lines between the looks; None of too few."""
    if len(looks) < 2:
        return None
    times, used = [look.t_s for look in looks], [look.cpu_s for look in looks]
    at_begin, at_end = np.interp([begin_s, end_s], times, used).tolist()
    return float(at_end - at_begin)


def rss_at(looks: list[Look], t_s: float) -> int | None:
    """Bytes resident, of all processes, at the look nearest to an instant."""
    if not looks:
        return None
    return min(looks, key=lambda look: abs(look.t_s - t_s)).rss_bytes
