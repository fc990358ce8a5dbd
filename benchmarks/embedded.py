"""The server that benchmarks start: `python -m serve.app` with settings of theirs."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent
STOP_S = 30.0


class BenchmarkError(RuntimeError):
    """A benchmark cannot go on; the text says why."""


@contextlib.contextmanager
def embedded(
    settings: dict[str, Any], stderr: IO[str] | None = None, *, stop_s: float = STOP_S
) -> Iterator["subprocess.Popen[str]"]:
    """A server that is ready, for the time of the block.

    Args:
        settings: Its own.
        stderr: Where it says what is wrong; None: where this process does.
        stop_s: How long it may take to end.

    Raises:
        BenchmarkError: It does not start.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "serve.app", "--settings", json.dumps(settings)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )
    assert process.stdout is not None
    try:
        with process.stdout:
            is_ready = process.stdout.readline()
        if not is_ready:
            raise BenchmarkError("the server did not start; its reason is above")
        yield process
    finally:
        process.terminate()
        process.wait(stop_s)
