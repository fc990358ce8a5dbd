"""Other people's clients drive our server: openai, Locust's own FastHttpUser, wrk. One server."""

import base64
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import openai
import pytest
from PIL import Image

from tests.serve.conftest import Server

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

LOCUSTFILE = """
from locust import FastHttpUser, constant, task

class Painter(FastHttpUser):
    wait_time = constant(0.05)

    @task
    def paint(self):
        body = {"prompt": "a red fox", "n": 2, "size": "64x64"}
        with self.client.post("/v1/images/generations", json=body, catch_response=True) as answer:
            images = answer.json()["data"] if answer.status_code == 200 else []
            if len(images) != 2 or not all(image["b64_json"] for image in images):
                answer.failure(f"{answer.status_code}: {len(images)} images")
"""

WRK_SCRIPT = """
wrk.method = "POST"
wrk.body = '{"prompt": "a red fox", "n": 2, "size": "64x64"}'
wrk.headers["Content-Type"] = "application/json"

local threads = {}
function setup(thread) table.insert(threads, thread) end

function init(args) good, bad = 0, 0 end

function response(status, headers, body)
  local _, images = string.gsub(body, '"b64_json":"', "")
  if status == 200 and images == 2 then good = good + 1 else bad = bad + 1 end
end

function done(summary, latency, requests)
  local all_good, all_bad = 0, 0
  for _, thread in ipairs(threads) do
    all_good, all_bad = all_good + thread:get("good"), all_bad + thread:get("bad")
  end
  print(string.format("good=%d bad=%d", all_good, all_bad))
end
"""


@pytest.fixture(scope="module")
def server(start_server: Callable[..., Server]) -> Server:
    """5 ms a step, four images at once, room for everyone who waits."""
    return start_server(
        model="stub", max_batch=4, max_queue=64, stub_fixed_s=0, stub_step_s=0.005, default_steps=2
    )


def test_the_openai_client(server: Server) -> None:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0) as client:
        [model] = client.models.list().data
        told = client.images.generate(
            model=model.id, prompt="a red fox", n=4, size="64x64", output_format="webp"
        )
    files = [io.BytesIO(base64.b64decode(image.b64_json or "")) for image in told.data or []]
    images = [Image.open(file) for file in files]
    assert [(image.format, image.size) for image in images] == [("WEBP", (64, 64))] * 4


def test_locusts_own_fast_http_user(server: Server, tmp_path: Path) -> None:
    (tmp_path / "locustfile.py").write_text(LOCUSTFILE)
    done = subprocess.run(
        [sys.executable, "-m", "locust", "--headless", "--host", server.url, "--users", "4",
         "--spawn-rate", "4", "--run-time", "3s", "--stop-timeout", "5", "--json"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    [stats] = json.loads(done.stdout)
    assert stats["num_failures"] == 0, done.stderr
    assert stats["num_requests"] > 20


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not on the PATH")
def test_wrk(server: Server, tmp_path: Path) -> None:
    script = tmp_path / "images.lua"
    script.write_text(WRK_SCRIPT)
    done = subprocess.run(
        ["wrk", "--threads", "1", "--connections", "4", "--duration", "2s", "--timeout", "10s",
         "--script", str(script), f"{server.url}/v1/images/generations"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    counted = re.search(r"good=(\d+) bad=(\d+)", done.stdout)
    assert counted is not None, done.stdout
    assert int(counted[1]) > 20
    assert int(counted[2]) == 0, done.stdout
    assert "Socket errors" not in done.stdout
