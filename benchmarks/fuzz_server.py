"""The server under hostile requests, as its users start it: its processes and its logs."""

import contextlib
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil

from benchmarks.embedded import BenchmarkError, embedded
from serve.ingress.haproxy import free_port

STOP_S = 60.0
# A process's role by what its name or command line holds, the first that fits
ROLES = (
    ("haproxy", "haproxy"),
    ("ProxyActor", "proxy"),
    ("ServeReplica", "replicas"),
    ("ServeController", "controller"),
)
LOGS = (".log", ".err", ".out")
MAX_LOG_CHARS = 1 << 28


class ServerError(RuntimeError):
    """The server does not start; the message says why."""


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """What the processes of one role hold."""

    rss_mib: float
    open_files: int


class Server:
    """A running server.

    Args:
        process: `python -m serve.app`, which has said that it is ready.
        port: Of loopback.
        log: Its stderr.
    """

    def __init__(self, process: "subprocess.Popen[str]", port: int, log: Path) -> None:
        self.port = port
        self._process = process
        self._log = log
        self._family = [(each, _role(each)) for each in _tree(process.pid)]
        lines = " ".join(word for each, _ in self._family for word in each.cmdline())
        found = re.search(r"/tmp/viralload-\w+", lines)  # noqa: S108
        self._ray = None if found is None else Path(found[0])

    def sizes(self) -> dict[str, Size]:
        """Memory and descriptors by role; a role whose processes are gone is missing."""
        found: dict[str, Size] = {}
        for process, role in self._family:
            if role is None:
                continue
            with contextlib.suppress(psutil.NoSuchProcess):
                was = found.get(role, Size(rss_mib=0.0, open_files=0))
                found[role] = Size(
                    rss_mib=round(was.rss_mib + process.memory_info().rss / 2**20, 1),
                    open_files=was.open_files + process.num_fds(),
                )
        return found

    def gone(self) -> list[str]:
        """Roles of which a process has ended."""
        return [role for process, role in self._family if role and not process.is_running()]

    def exceptions(self) -> Counter[str]:
        """Tracebacks in the logs so far, by their last line."""
        found = exceptions_in(self._log.read_text(errors="replace"))
        return found if self._ray is None else found + exceptions_under(self._ray)


def exceptions_under(folder: Path) -> Counter[str]:
    """Tracebacks in all logs of Ray's folder, by their last line."""
    found: Counter[str] = Counter()
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            if path.suffix in LOGS and path.is_file() and not path.is_symlink():
                found += exceptions_in(path.read_text(errors="replace")[-MAX_LOG_CHARS:])
    return found


def exceptions_in(text: str) -> Counter[str]:
    """Tracebacks in a log, by the line that ends them."""
    found: Counter[str] = Counter()
    lines = iter(text.split("\n"))
    for line in lines:
        if "Traceback (most recent call last)" in line:
            end = next((each for each in lines if each and not each.startswith((" ", "|"))), "")
            found[end[:200]] += 1
    return found


@contextlib.contextmanager
def running(model: str, ingress: str, log: Path) -> Iterator[Server]:
    """The server with its default settings for the time of the block.

    Raises:
        ServerError: It does not start.
    """
    port = free_port()
    settings = {"model": model, "port": port, "ingress": ingress}
    with log.open("w") as stderr, contextlib.ExitStack() as stack:
        try:
            process = stack.enter_context(embedded(settings, stderr, stop_s=STOP_S))
        except BenchmarkError as err:
            raise ServerError(log.read_text()[-500:] or "it gave no reason") from err
        yield Server(process, port, log)


def _tree(pid: int) -> list[psutil.Process]:
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def _role(process: psutil.Process) -> str | None:
    name = process.name() + " ".join(process.cmdline()[:1])
    return next((role for word, role in ROLES if word in name), None)
