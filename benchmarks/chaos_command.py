"""The commands of a run as processes with a mark, a TMPDIR and a folder of their own."""

import os
import resource
import subprocess
import sys
import time
import uuid
from pathlib import Path

from benchmarks.chaos_left import MARK, Traces
from serve.ingress.haproxy import free_port

ROOT = Path(__file__).resolve().parent.parent
REPLICAS = 2
SETTINGS = ("--model", "stub", "--set", f"replicas={REPLICAS}")
LOOK_S = 0.05
SERVER_STARTS_S = 180.0  # on a machine that others use
SERVER_ENDS_S = 60.0


class Command:
    """A command of viralload's as a process, with a mark, a TMPDIR and a folder of its own."""

    def __init__(
        self, words: list[str], folder: Path, before: list[str] | None = None,
        file_bytes: int | None = None,
    ) -> None:  # fmt: skip
        scratch = folder / "tmp"
        scratch.mkdir(parents=True)
        mark = uuid.uuid4().hex
        self.traces = Traces(mark, scratch)
        self.out, self.err = folder / "stdout", folder / "stderr"
        self.began_s = time.monotonic()
        limit = resource.RLIM_INFINITY if file_bytes is None else file_bytes
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                [*(before or []), sys.executable, "-m", "loadtest.cli", *words],
                cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                env={**os.environ, MARK: mark, "TMPDIR": str(scratch)},
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
            )  # fmt: skip

    @property
    def pid(self) -> int:
        """Of the command itself."""
        return self.process.pid

    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.process.poll() is not None

    def end(self) -> None:
        """Have nothing of it run any more."""
        if not self.is_over():
            self.process.kill()
            self.process.wait()
        self.traces.end()


class NoServerError(RuntimeError):
    """The server did not start, so nothing can be played at it."""


class Server:
    """Somebody else's server: `viralload serve`, kept over several runs until one has hit it.

    Raises:
        NoServerError: It does not start.
    """

    def __init__(self, folder: Path) -> None:
        port = free_port()
        self.command = Command(["serve", *SETTINGS, "--port", str(port)], folder)
        self.url = f"http://127.0.0.1:{port}"
        while b'"ready"' not in self.command.out.read_bytes():
            waited_s = time.monotonic() - self.command.began_s
            if self.command.is_over() or waited_s > SERVER_STARTS_S:
                self.command.end()
                told = self.command.err.read_text(errors="replace")[-500:]
                raise NoServerError(f"the server did not start in {waited_s:.0f} s: {told}")
            time.sleep(LOOK_S)
        self.command.traces.look()

    def close(self) -> list[str]:
        """End it; what it leaves behind."""
        self.command.process.terminate()
        try:
            self.command.process.wait(SERVER_ENDS_S)
        except subprocess.TimeoutExpired:
            self.command.end()
            return [f"the server, which did not end in {SERVER_ENDS_S:.0f} s"]
        left = self.command.traces.left()
        self.command.traces.end()
        return [f"{one} (the server's)" for one in left]
