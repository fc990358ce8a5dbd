"""Fixtures: somebody else's image server, and the `viralload` command, each a real process."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

StartServer = Callable[..., str]

TRACES = Path(__file__).parents[3] / "shared" / "traces"


@pytest.fixture
def image_server() -> Iterator[StartServer]:
    """Starts servers; `image_server(fault="short")` gives a base URL."""
    started: list[subprocess.Popen[bytes]] = []

    def start(**options: Any) -> str:
        command = [sys.executable, "-m", "tests.loadtest.image_server", json.dumps(options)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None
        return f"http://127.0.0.1:{int(process.stdout.readline())}"

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def traces() -> Path:
    """The folder of real traces; the test is skipped where it is not there."""
    if not TRACES.is_dir():
        pytest.skip("no folder of real traces beside the checkout")
    return TRACES
