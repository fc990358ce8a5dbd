"""The whole server over HTTP, with the stub for a model. One server serves the module."""

import base64
import io
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import psutil
import pytest
from PIL import Image

from tests.serve.conftest import Server

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

GENERATIONS = "/v1/images/generations"
STEP_S = 0.01


@pytest.fixture(scope="module")
def server(start_server: Callable[..., Server]) -> Server:
    """Batches of one, 10 ms a step, at most 4 images waiting."""
    return start_server(
        model="stub",
        policy="none",
        max_queue=4,
        stub_fixed_s=0,
        stub_step_s=STEP_S,
        default_steps=2,
        max_body_bytes=20_000,
    )


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0) as client:
        yield client


def decoded(image: str | None) -> Image.Image:
    picture = Image.open(io.BytesIO(base64.b64decode(image or "", validate=True)))
    picture.load()
    return picture


def test_the_ready_line(server: Server) -> None:
    assert server.ready == {
        "ready": True,
        "url": f"http://127.0.0.1:{server.port}",
        "model": "stub",
        "replicas": 1,
        "device": "cpu",
    }


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
def test_the_openai_client_gets_its_images(client: openai.OpenAI, output_format: Any) -> None:
    told = client.images.generate(
        prompt="a red fox",
        model="stub",
        n=2,
        size="128x96",
        response_format="b64_json",
        output_format=output_format,
        user="u-1",
        extra_body={"seed": 7, "num_inference_steps": 1, "guidance_scale": 5.0},
    )
    pictures = [decoded(image.b64_json) for image in told.data or []]
    assert [picture.size for picture in pictures] == [(128, 96)] * 2
    assert {picture.format for picture in pictures} == {output_format.upper()}
    assert (told.output_format, told.size) == (output_format, "128x96")


def test_the_openai_client_lists_the_model(client: openai.OpenAI) -> None:
    (model,) = client.models.list().data
    assert model.id == "stub"
    assert model.model_dump()["viralload"]["is_stub"] is True


def test_the_openai_client_understands_errors(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.generate(prompt="a red fox", n=0)
    assert caught.value.param == "n"


def test_headers_tell_where_the_time_went(http: httpx.Client) -> None:
    answer = http.post(GENERATIONS, json={"prompt": "x", "num_inference_steps": 20})
    stages = dict(stage.split(";dur=") for stage in answer.headers["Server-Timing"].split(", "))
    assert list(stages) == ["queue", "text", "denoise", "decode", "encode"]
    assert float(stages["denoise"]) == 20 * STEP_S * 1e3
    assert answer.headers["X-Batch-Mean"] == "1"
    assert answer.headers["X-Replica"]
    assert "X-Gpu-Uuid" not in answer.headers
    assert len(answer.headers.get_list("X-Request-Id")) == 1


def test_a_clients_request_id_comes_back(http: httpx.Client) -> None:
    answer = http.post(GENERATIONS, json={"prompt": "x"}, headers={"X-Request-Id": "abc-1"})
    assert answer.headers.get_list("X-Request-Id") == ["abc-1"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "param"),
    [
        ("POST", GENERATIONS, b'{"prompt": "x", "n": 0}', 400, "n"),
        ("POST", GENERATIONS, b'{"prompt": "x", "size": "9x9"}', 400, "size"),
        ("POST", GENERATIONS, b"not json", 400, None),
        ("POST", GENERATIONS, b"", 400, None),
        ("POST", GENERATIONS, b" " * 20_001, 413, None),
        ("GET", GENERATIONS, b"", 405, None),
        ("POST", "/v1/models", b"", 405, None),
        ("GET", "/nowhere", b"", 404, None),
        ("POST", "/v1/images/edits", b"{}", 404, None),
    ],
)
def test_every_error_has_openais_body(
    http: httpx.Client, method: str, path: str, body: bytes, status: int, param: str | None
) -> None:
    answer = http.request(method, path, content=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param
    assert error["message"]


def test_health_is_good(http: httpx.Client) -> None:
    answer = http.get("/health")
    assert answer.status_code == 200
    assert answer.json() == {"status": "ok", "replicas_ready": 1, "replicas": 1}


def test_a_full_queue_answers_429_and_when_to_come_back(http: httpx.Client) -> None:
    def ask(images: int) -> httpx.Response:
        return http.post(GENERATIONS, json={"prompt": "x", "n": images, "num_inference_steps": 50})

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(ask, 1)  # starts: 0.5 s
        time.sleep(0.2)
        second = pool.submit(ask, 4)  # fills the queue
        time.sleep(0.1)
        refused = ask(1)
        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "queue_full"
        assert int(refused.headers["Retry-After"]) >= 1
        assert [first.result().status_code, second.result().status_code] == [200, 200]


def test_a_client_that_hangs_up_is_not_computed_for(http: httpx.Client) -> None:
    def ask(steps: int, timeout_s: float = 30.0) -> httpx.Response:
        body = {"prompt": "x", "num_inference_steps": steps}
        return http.post(GENERATIONS, json=body, timeout=timeout_s)

    with ThreadPoolExecutor(2) as pool:
        started_s = time.monotonic()
        first = pool.submit(ask, 100)  # 1 s
        time.sleep(0.2)
        with pytest.raises(httpx.ReadTimeout):
            ask(150, timeout_s=0.3)  # 1.5 s, given up while it waits
        assert ask(1).status_code == 200
        assert first.result().status_code == 200
        assert time.monotonic() - started_s < 2.3  # 2.5 s and more, had it been computed


def test_ray_keeps_its_files_from_other_users(server: Server) -> None:
    """F1: Ray opens the folder that it is given to everyone, so it is given one within ours."""
    folder = server.ray_folder()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (logs,) = folder.glob("*/session_2*/logs")
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    for path in (folder, logs, logs / "debug_state.txt"):
        look = f"import os; os.setgroups([]); os.setuid(65534); os.stat({str(path)!r} + '/.')"
        told = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True)
        assert "PermissionError" in told.stderr


@pytest.mark.parametrize("model", ["stub", "nobody", "stub/x"])
def test_a_model_can_be_asked_for(http: httpx.Client, client: openai.OpenAI, model: str) -> None:
    """As openai's `models.retrieve`."""
    if model == "stub":
        assert client.models.retrieve(model).id == "stub"
        return
    answer = http.get(f"/v1/models/{model}")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"


def test_nothing_listens_beyond_loopback(server: Server) -> None:
    assert server.open_sockets()
    assert server.open_sockets(beyond_loopback=True) == []


def test_a_killed_replica_is_told_in_openais_words_and_comes_back(
    server: Server, http: httpx.Client
) -> None:
    (replica,) = (p for p in server.family() if "ServeReplica" in p.name())
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(http.post, GENERATIONS, json={"prompt": "x", "num_inference_steps": 150})
        time.sleep(0.3)
        replica.kill()
        answer = held.result()
    assert answer.status_code in (500, 503)
    assert answer.json()["error"]["message"]
    deadline = time.monotonic() + 60
    while http.get("/health").status_code == 200 and time.monotonic() < deadline:
        time.sleep(0.1)
    while http.get("/health").status_code != 200 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert http.post(GENERATIONS, json={"prompt": "x"}).status_code == 200


def test_sigterm_ends_it_with_0_and_leaves_nothing(server: Server) -> None:
    """The last test of the module: it ends the server."""
    family = server.family()
    started_s = time.monotonic()
    assert server.stop(signal.SIGTERM) == 0
    assert time.monotonic() - started_s < 15
    _, alive = psutil.wait_procs(family, timeout=2)
    assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []
