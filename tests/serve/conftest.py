"""Fixtures: the server as its users start it, `python -m serve.app`, on a port of its own."""

import ipaddress
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from serve.ingress.haproxy import free_port as find_free_port

ROOT = Path(__file__).resolve().parents[2]
START_UP_S = 120
STOP_S = 30

# Where a hub would be, nobody listens: reaching for it fails at once instead of succeeding.
UNREACHABLE = "http://127.0.0.1:9"
NO_NETWORK = {
    "HF_ENDPOINT": UNREACHABLE,
    "http_proxy": UNREACHABLE,
    "https_proxy": UNREACHABLE,
    "no_proxy": "127.0.0.1,localhost",
}


class Server:
    """A server process that has said it is ready."""

    def __init__(self, process: "subprocess.Popen[str]", ready: dict[str, Any]) -> None:
        self.process = process
        self.ready = ready
        self.url: str = ready["url"]
        self.port = int(self.url.rpartition(":")[2])
        self.metrics_url = ""

    def family(self) -> list[psutil.Process]:
        """The server's process and every one below it."""
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def open_sockets(self, *, beyond_loopback: bool = False) -> list[tuple[str, str]]:
        """Who listens, at which address."""
        return [
            (process.name(), connection.laddr.ip)
            for process in self.family()
            for connection in process.net_connections(kind="inet")
            if connection.status in (psutil.CONN_LISTEN, psutil.CONN_NONE) and connection.laddr
            if not (beyond_loopback and is_loopback(connection.laddr.ip))
        ]

    def ray_folder(self) -> Path:
        """Where Ray keeps its files."""
        words = [word for process in self.family() for word in process.cmdline()]
        paths = {match[0] for word in words if (match := re.search(r"/tmp/viralload-\w+", word))}
        (path,) = paths
        return Path(path)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout=STOP_S)


def is_loopback(text: str) -> bool:
    address = ipaddress.ip_address(text)
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def command(settings: dict[str, Any]) -> list[str]:
    return [sys.executable, "-m", "serve.app", "--settings", json.dumps(settings)]


def environment() -> dict[str, str]:
    return {**os.environ, **NO_NETWORK}


@pytest.fixture
def inference() -> Iterator[None]:
    """As the model's threads compute: torch tracks no gradients."""
    import torch

    with torch.inference_mode():
        yield


@pytest.fixture
def free_port() -> int:
    return find_free_port()


@pytest.fixture(scope="module")
def start_server(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., Server]]:
    """Starts a server with the given settings; all end with the module."""
    running: list[Server] = []

    def start(**settings: Any) -> Server:
        log = tmp_path_factory.mktemp("server") / "stderr.txt"
        with log.open("w") as stderr:
            process = subprocess.Popen(
                command({"port": find_free_port(), **settings}),
                cwd=ROOT,
                env=environment(),
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        assert process.stdout is not None
        line = process.stdout.readline()
        process.stdout.close()
        if not line:
            pytest.fail(f"the server did not start: {log.read_text()}")
        running.append(Server(process, json.loads(line)))
        return running[-1]

    yield start
    for server in running:
        server.stop()
