"""The processes of a run, found and read from /proc while it goes on."""

import contextlib
import re
import resource
from collections.abc import Iterator
from pathlib import Path

import psutil

from benchmarks.soak_judge import Look

# The first that is in its command line names a process.
NAMES = (
    ("ray::ServeReplica", "replica"),
    ("ray::ServeController", "controller"),
    ("ray::ProxyActor", "proxy"),
    ("ray::DashboardAgent", "dashboard-agent"),
    ("ray::RuntimeEnvAgent", "runtime-env-agent"),
    ("ray::", "worker"),
    ("loadtest.system.own_locust", "generator"),
    ("profiles.sampler", "sampler"),
    ("serve.app", "server"),
    ("/bin/haproxy", "haproxy"),
    ("/gcs_server", "gcs"),
    ("/raylet ", "raylet"),
    ("log_monitor.py", "log-monitor"),
    ("monitor.py", "autoscaler"),
    ("dashboard.py", "dashboard"),
    ("loadtest.cli", "driver"),
)
SHARED = ("/tmp", "/dev/shm")  # noqa: S108 - where what is open may be left behind
RAYS_FOLDER = re.compile(r"/tmp/viralload-[^/]+")  # noqa: S108
_ROLLUP = re.compile(r"^(Rss|Anonymous):\s+(\d+) kB$", re.MULTILINE)


class Watch:
    """Looks at a process and all below it.

    Attributes:
        opened: Files in shared places that any of them had a name for and open.

    Args:
        pid: Of the root.
    """

    def __init__(self, pid: int) -> None:
        self.opened: set[str] = set()
        self._root = psutil.Process(pid)
        self._names: dict[psutil.Process, str] = {}

    def look(self, t_s: float) -> list[Look]:
        """All that live now and have a name of ours, as of `t_s`."""
        looks: list[Look] = []
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in [self._root, *self._root.children(recursive=True)]:
                with contextlib.suppress(psutil.NoSuchProcess, OSError):
                    looks += self._read(process, t_s)
        return looks

    def called(self, name: str) -> list[psutil.Process]:
        """The processes with that name, numbered or not, that were ever looked at."""
        pattern = re.compile(rf"{name}(-\d+)?")
        return [process for process, own in self._names.items() if pattern.fullmatch(own)]

    def on_disk_bytes(self) -> int:
        """What lies in the folders that Ray keeps of this run."""
        size = 0
        for name in {match[0] for match in map(RAYS_FOLDER.match, self.opened) if match}:
            for path in Path(name).rglob("*"):
                with contextlib.suppress(OSError):
                    size += path.lstat().st_size if path.is_file() else 0
        return size

    def _read(self, process: psutil.Process, t_s: float) -> Iterator[Look]:
        name = self._name(process)
        if name is None:
            return
        folder = Path(f"/proc/{process.pid}")
        sizes = dict(_ROLLUP.findall((folder / "smaps_rollup").read_text()))
        if not sizes:  # it is about to end
            return
        files = [_target(link) for link in (folder / "fd").iterdir()]
        self.opened |= {name for name in files if name.startswith(SHARED)}
        yield Look(
            t_s=t_s,
            process=name,
            rss_bytes=1024 * int(sizes["Rss"]),
            anonymous_bytes=1024 * int(sizes["Anonymous"]),
            threads=process.num_threads(),
            files=len(files),
            files_limit=process.rlimit(resource.RLIMIT_NOFILE)[0],
        )

    def _name(self, process: psutil.Process) -> str | None:
        """Its name, with a number from the second of a kind on; None: none of ours."""
        if process not in self._names:
            kind = name_of(" ".join(process.cmdline()))
            if kind is None:
                return None
            taken = set(self._names.values())
            numbered = (kind if n == 1 else f"{kind}-{n}" for n in range(1, len(taken) + 2))
            self._names[process] = next(name for name in numbered if name not in taken)
        return self._names[process]


def name_of(command: str) -> str | None:
    """What a process with that command line is in a run; None: nothing that is known."""
    return next((name for words, name in NAMES if words in command), None)


def _target(link: Path) -> str:
    """What an open file is called; empty where it has no name any more."""
    with contextlib.suppress(OSError):
        name = str(link.readlink())
        return "" if name.endswith(" (deleted)") else name
    return ""
