"""Policy `step` over HTTP, with the stub for a model. One server serves the module."""

import base64
import io
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest
from openai.types import ImageGenCompletedEvent, ImageGenPartialImageEvent
from PIL import Image

from serve.ingress.haproxy import free_port
from tests.serve.conftest import Server

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

GENERATIONS = "/v1/images/generations"
METRICS_PORT = free_port()
STEP_S = 0.02
LONG = 150  # steps: 3 s


@pytest.fixture(scope="module")
def server(start_server: Callable[..., Server]) -> Server:
    """Two slots, 20 ms a step, at most 4 images waiting."""
    return start_server(
        model="stub",
        max_batch=2,
        max_queue=4,
        stub_fixed_s=0,
        stub_step_s=STEP_S,
        metrics_port=METRICS_PORT,
    )


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0) as client:
        yield client


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as threads:
        yield threads


def ask(http: httpx.Client, steps: int, **fields: Any) -> httpx.Response:
    timeout_s = fields.pop("timeout_s", 30.0)
    body = {"prompt": "x", "num_inference_steps": steps, **fields}
    return http.post(GENERATIONS, json=body, timeout=timeout_s)


def size_of(image: str | None) -> tuple[int, int]:
    picture = Image.open(io.BytesIO(base64.b64decode(image or "", validate=True)))
    picture.load()
    return picture.size


@pytest.mark.parametrize("previews", [0, 2])
def test_the_openai_client_gets_previews_while_steps_run(
    client: openai.OpenAI, previews: int
) -> None:
    events: list[Any] = []
    at_s: list[float] = []
    with client.images.generate(
        prompt="a red fox",
        size="128x96",
        stream=True,
        partial_images=previews,
        extra_body={"num_inference_steps": 60},  # 1.2 s; previews after 0.4 and 0.8 s
    ) as stream:
        for event in stream:
            events.append(event)
            at_s.append(time.monotonic())
    *partial, completed = events
    assert isinstance(completed, ImageGenCompletedEvent)
    assert all(isinstance(event, ImageGenPartialImageEvent) for event in partial)
    assert [event.partial_image_index for event in partial] == list(range(previews))
    assert [size_of(event.b64_json) for event in events] == [(128, 96)] * (previews + 1)
    assert at_s[-1] - at_s[0] > 0.4 * previews - 0.4  # not all at once at the end


def test_a_refused_stream_is_a_plain_error(client: openai.OpenAI) -> None:
    with pytest.raises(openai.RateLimitError) as caught:
        client.images.generate(
            prompt="x",
            stream=True,
            extra_body={"num_inference_steps": LONG, "deadline_s": 1},
        )
    assert caught.value.code == "would_be_late"


def test_an_unknown_scheduler_is_told_the_nearest(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="did you mean 'euler'") as caught:
        client.images.generate(prompt="x", extra_body={"scheduler": "eular"})
    assert caught.value.param == "scheduler"


def test_what_would_be_late_is_refused_at_once(http: httpx.Client) -> None:
    started_s = time.monotonic()
    refused = ask(http, 100, deadline_s=0.5)  # 2 s
    assert time.monotonic() - started_s < 1.0
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "would_be_late"
    assert int(refused.headers["Retry-After"]) >= 2  # 1.5 s too late, rounded up
    assert ask(http, 10, deadline_s=5).status_code == 200


def test_a_short_one_joins_a_long_one_and_leaves_it_behind(
    http: httpx.Client, pool: ThreadPoolExecutor
) -> None:
    long = pool.submit(ask, http, LONG)
    time.sleep(0.3)
    short = ask(http, 10)
    assert not long.done()
    assert float(short.headers["X-Batch-Mean"]) == 2
    assert 1 < float(long.result().headers["X-Batch-Mean"]) < 1.5
    assert "X-Flop" not in short.headers  # the stub computes nothing


def test_paying_requests_go_first_and_free_ones_are_shed_for_them(
    http: httpx.Client, pool: ThreadPoolExecutor
) -> None:
    def submit(steps: int, **fields: Any) -> "Future[httpx.Response]":
        future = pool.submit(ask, http, steps, **fields)
        future.add_done_callback(lambda done: order.append(done))
        time.sleep(0.15)
        return future

    order: list[Future[httpx.Response]] = []
    running = submit(100, n=2)  # 2 s: both slots
    free = [submit(10, n=2, priority="free") for _ in range(2)]  # the queue is full
    paying = submit(10, n=2)
    shed = free[1].result()
    assert not running.done()
    assert shed.status_code == 429
    assert shed.json()["error"]["code"] == "shed"
    assert int(shed.headers["Retry-After"]) >= 1
    assert [each.result().status_code for each in (running, paying, free[0])] == [200] * 3
    assert order == [free[1], running, paying, free[0]]


def test_a_client_that_hangs_up_frees_its_slots(http: httpx.Client) -> None:
    with pytest.raises(httpx.ReadTimeout):
        ask(http, LONG, n=2, timeout_s=0.5)
    started_s = time.monotonic()
    assert ask(http, 1).status_code == 200
    assert time.monotonic() - started_s < 1.5  # 2.5 s and more, had they gone on


def test_so_does_one_that_hangs_up_in_its_stream(http: httpx.Client) -> None:
    body = {"prompt": "x", "num_inference_steps": LONG, "stream": True, "partial_images": 3}
    streams = [http.build_request("POST", GENERATIONS, json=body) for _ in range(2)]
    answers = [http.send(request, stream=True) for request in streams]
    lines = [answer.iter_lines() for answer in answers]
    assert [next(each) for each in lines] == ["event: image_generation.partial_image"] * 2
    for answer in answers:  # 2.2 s of steps are left
        answer.close()
    started_s = time.monotonic()
    assert ask(http, 1).status_code == 200
    assert time.monotonic() - started_s < 1.5


def test_who_hung_up_is_counted() -> None:
    """After the two tests before: one request, and two streams."""
    page, tag = f"http://127.0.0.1:{METRICS_PORT}/metrics", 'outcome="cancelled"'
    deadline, count = time.monotonic() + 40, 0.0
    while count < 3 and time.monotonic() < deadline:  # Ray reports every ten seconds
        time.sleep(0.5)
        for line in httpx.get(page).text.splitlines():
            if line.startswith("ray_image_requests_total{") and tag in line:
                count = float(line.rsplit(" ", 1)[1])
    assert count == 3.0
