"""What a run leaves behind: marked processes, their folders, shared memory."""

import contextlib
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil

from benchmarks.chaos_roles import Process

MARK = "VIRALLOAD_CHAOS_MARK"
TEMPORARY = re.compile(r"/tmp/viralload-\w+")  # noqa: S108 - the server's, whatever TMPDIR is
SHARED = Path("/dev/shm")  # noqa: S108 - only looked at
PATIENCE_S = 15.0  # of those that end by themselves after their parent
LOOK_S = 0.25


def everyone() -> list[Process]:
    """Every living process of this machine that can be seen."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error), process.oneshot():
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(
                    Process(
                        pid=process.pid,
                        parent=process.ppid(),
                        name=process.name(),
                        words=tuple(process.cmdline()),
                    )
                )
    return found


def marked(mark: str) -> list[psutil.Process]:
    """Every living process whose environment carries the mark."""
    return [process for process in psutil.process_iter() if _carries(process, mark)]


def _carries(process: psutil.Process, mark: str) -> bool:
    try:
        is_alive = process.status() != psutil.STATUS_ZOMBIE
        return is_alive and process.environ().get(MARK) == mark
    except psutil.Error:
        return False


class Traces:
    """What belongs to one command, gathered while it runs and looked for afterwards.

    Args:
        mark: That its processes carry.
        scratch: Its TMPDIR.
    """

    def __init__(self, mark: str, scratch: Path) -> None:
        self._mark = mark
        self._scratch = scratch
        self._known: dict[int, float] = {}  # processes by id, with when they began
        self._folders: set[str] = set()
        self._shared = set(_names(SHARED))

    def look(self) -> None:
        """Note who is there now, and the folders they name."""
        for process in marked(self._mark):
            with contextlib.suppress(psutil.Error):
                self._known[process.pid] = process.create_time()
                for word in process.cmdline():
                    self._folders.update(TEMPORARY.findall(word))

    def left(self, patience_s: float = PATIENCE_S) -> list[str]:
        """What is still there, once all that goes by itself has had the time to."""
        until_s = time.monotonic() + patience_s
        while (found := [*self._living(), *self._files()]) and time.monotonic() < until_s:
            time.sleep(LOOK_S)
        return found

    def end(self) -> None:
        """Kill whoever is left."""
        for process in self._left():
            with contextlib.suppress(psutil.Error):
                process.kill()

    def _left(self) -> Iterator[psutil.Process]:
        seen = {process.pid: process for process in marked(self._mark)}
        for pid, began_s in self._known.items():  # should one have lost its mark
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(pid)
                is_same = process.create_time() == began_s
                if is_same and process.status() != psutil.STATUS_ZOMBIE:
                    seen[pid] = process
        yield from seen.values()

    def _living(self) -> Iterator[str]:
        for process in self._left():
            with contextlib.suppress(psutil.Error):
                yield f"process {process.pid}: {' '.join(process.cmdline())[:120]}"

    def _files(self) -> Iterator[str]:
        yield from (folder for folder in sorted(self._folders) if Path(folder).exists())
        yield from (str(self._scratch / name) for name in _names(self._scratch))
        for name in set(_names(SHARED)) - self._shared:
            if not _is_open(SHARED / name):  # another's, who is still at work
                yield str(SHARED / name)


def _names(folder: Path) -> Iterable[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError:
        return []


def _is_open(path: Path) -> bool:
    """Whether some living process maps or opens it."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if str(path) in Path(f"/proc/{process.pid}/maps").read_text(errors="replace"):
                return True
            if any(one.path == str(path) for one in process.open_files()):
                return True
    return False
