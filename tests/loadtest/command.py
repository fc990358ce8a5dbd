"""The real `viralload` command as a process, for end-to-end tests."""

import os
import resource
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import psutil

from profiles.record.folder import RunFolder
from profiles.schema import Summary

MARK = "VIRALLOAD_TEST_MARK"

SCENARIO = """
name = "short"
title = "Four seconds of even arrivals"
[curve]
kind = "constant"
rate_per_s = {rate}
duration = "{duration}s"
[load]
arrivals = "even"
drain = "{timeout}s"
[request]
size = "64x64"
timeout = "{timeout}s"
prompts = ["a"]
[slo]
latency = "2s"
[thresholds]
failed = ["rate < 1%"]
rejected = ["rate < 50%"]
"""


class Viralload:
    """One invocation; `mark` is in the environment of every process it starts."""

    def __init__(
        self,
        folder: Path,
        arguments: list[str],
        environ: Mapping[str, str] | None = None,
        file_limit_bytes: int | None = None,
        before: list[str] | None = None,  # a command that runs ours
    ) -> None:
        self.out = folder / "runs"
        self.mark = uuid.uuid4().hex
        env = {k: v for k, v in os.environ.items() if k != "OPENAI_API_KEY"}
        env |= {MARK: self.mark, **(environ or {})}
        command = [*(before or []), sys.executable, "-m", "loadtest.cli", *arguments]
        if arguments and arguments[0] in ("run", "find"):
            command += ["--out", str(self.out)]
        limit = file_limit_bytes or resource.RLIM_INFINITY
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=env,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        )
        self.stdout = self.stderr = ""

    def finish(self, timeout_s: float = 120.0) -> int:
        """Wait for its end; the exit code."""
        try:
            self.stdout, self.stderr = self.process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            for process in self.processes():
                process.kill()
            self.stdout, self.stderr = self.process.communicate()
            raise
        return self.process.returncode

    @property
    def folder(self) -> RunFolder:
        """The run folder it made."""
        (path,) = (one for one in self.out.iterdir() if one.is_dir())  # a ledger may lie beside it
        return RunFolder(path)

    @property
    def summary(self) -> Summary:
        """What --json printed."""
        return msgspec.json.decode(self.stdout, type=Summary)

    def processes(self) -> list[psutil.Process]:
        """Every living process of this invocation, itself included."""
        found = []
        for process in psutil.process_iter():
            try:
                alive = process.status() != psutil.STATUS_ZOMBIE
                if alive and process.environ().get(MARK) == self.mark:
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def child(self, words: str) -> psutil.Process:
        """The process of this invocation whose command line holds `words`; the oldest if many."""
        found = [p for p in self.processes() if words in " ".join(p.cmdline())]
        return min(found, key=lambda p: p.create_time())

    def wait_for(self, done: Callable[[], bool], timeout_s: float = 60.0) -> None:
        """Wait until `done()`; a test's only way of waiting."""
        deadline = time.monotonic() + timeout_s
        while not done():
            assert self.process.poll() is None, self.finish()
            assert time.monotonic() < deadline, "waited too long"
            time.sleep(0.05)

    def wait_for_records(self, count: int) -> None:
        """Wait until so many requests are on disk."""
        self.wait_for(lambda: self.out.is_dir() and any(self.out.iterdir()))
        records = self.folder.requests()
        seen = 0

        def enough() -> bool:
            nonlocal seen
            seen += len(records.read())
            return seen >= count

        self.wait_for(enough)

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)


def scenario(folder: Path, rate: float = 20, duration: float = 4, timeout: float = 5) -> str:
    """A short scenario on disk; its path."""
    path = folder / "short.toml"
    path.write_text(SCENARIO.format(rate=rate, duration=duration, timeout=timeout))
    return str(path)
