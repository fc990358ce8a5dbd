"""The server's other doors: Ray's own `serve run`, and the metrics page."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest

from serve.ingress.haproxy import free_port
from tests.serve.conftest import NO_NETWORK, Server

pytestmark = pytest.mark.e2e

RAY_PORT = 8000  # `serve run` offers no other
ASK = {"prompt": "a cat", "n": 2, "size": "64x64"}


def wait_for(done: Callable[[], bool], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.2)


def test_metrics_are_told_to_prometheus(start_server: Callable[..., Server]) -> None:
    port = free_port()
    server = start_server(model="stub", port=free_port(), metrics_port=port)
    answer = httpx.post(f"{server.url}/v1/images/generations", json=ASK, timeout=30)
    assert answer.status_code == 200
    page = f"http://127.0.0.1:{port}/metrics"

    def value(name: str, tag: str = "") -> float | None:
        for line in httpx.get(page).text.splitlines():
            if line.startswith(f"ray_image_{name}{{") and tag in line:
                return float(line.rsplit(" ", 1)[1])
        return None

    wait_for(lambda: value("images_total") == 2.0, 40)  # Ray reports every ten seconds
    assert value("requests_total", 'outcome="ok"') == 1.0
    assert value("batch_size_count") == 20.0  # both images in each of 20 steps
    spent = value("denoise_seconds_sum")
    assert spent is not None
    assert 0.0 < spent < 1.0  # seconds, to a bucket's middle: the stub takes about 50 ms


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


def test_serve_run_starts_the_application(tmp_path: Path) -> None:
    base = f"http://127.0.0.1:{RAY_PORT}"
    if _answers(f"{base}/health") or any(
        c.laddr and c.laddr.port == RAY_PORT for c in psutil.net_connections("tcp")
    ):
        pytest.skip(f"port {RAY_PORT} is taken")
    env = {**os.environ, **NO_NETWORK, "RAY_USAGE_STATS_ENABLED": "0"}
    log = (tmp_path / "log").open("w")
    process = subprocess.Popen(
        [Path(sys.executable).parent / "serve", "run", "serve.app:app", "model=stub"],
        cwd=Path(__file__).resolve().parents[2], env=env, stdout=log, stderr=log,
    )  # fmt: skip
    try:
        wait_for(lambda: process.poll() is not None or _answers(f"{base}/health"), 90)
        assert process.poll() is None, (tmp_path / "log").read_text()
        answer = httpx.post(f"{base}/v1/images/generations", json=ASK, timeout=30)
        assert len(answer.json()["data"]) == 2
    finally:
        parent = psutil.Process(process.pid)
        family = [parent, *parent.children(recursive=True)]
        process.terminate()
        log.close()
        deadline = time.monotonic() + 20
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.2)
        for left in family:  # Ray's own command may take its time: this test is not about its end
            with contextlib.suppress(psutil.NoSuchProcess):
                left.kill()
        process.wait(timeout=20)
