"""Several replicas behind either ingress. One server serves the tests of an ingress."""

import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from serve.ingress.haproxy import free_port
from tests.serve.conftest import Server, is_loopback

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

GENERATIONS = "/v1/images/generations"
STEP_S = 0.01
METRICS_S = 30.0  # Ray reports every ten seconds


BOTH = ["haproxy", pytest.param("proxy", marks=pytest.mark.slow)]


@pytest.fixture(scope="module", params=BOTH)
def server(start_server: Callable[..., Server], request: pytest.FixtureRequest) -> Iterator[Server]:
    """Two replicas, batches of one, 10 ms a step; at an address that Ray would not choose (F13)."""
    metrics_port = free_port()
    server = start_server(
        model="stub",
        host="127.0.0.2",
        policy="none",
        replicas=2,
        ingress=request.param,
        stub_fixed_s=0,
        stub_step_s=STEP_S,
        default_steps=1,
        metrics_port=metrics_port,
    )
    server.metrics_url = f"http://127.0.0.1:{metrics_port}/metrics"
    yield server
    server.stop()


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


def is_haproxy(server: Server) -> bool:
    return any("haproxy" in process.name() for process in server.family())


def ask(http: httpx.Client, steps: int = 1, timeout_s: float = 60.0) -> httpx.Response:
    body = {"prompt": "x", "num_inference_steps": steps}
    return http.post(GENERATIONS, json=body, timeout=timeout_s)


def wait_for(done: Callable[[], bool], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def test_both_replicas_take_their_share(server: Server, http: httpx.Client) -> None:
    assert http.get("/health").json() == {"status": "ok", "replicas_ready": 2, "replicas": 2}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(http, steps=10), range(40)))
    assert {answer.status_code for answer in answers} == {200}
    shares = [answer.headers["X-Replica"] for answer in answers]
    first, second = (shares.count(replica) for replica in set(shares))
    assert min(first, second) >= 12


def test_only_the_door_listens_where_it_is_told(server: Server) -> None:
    """F13: what `host` opens is HTTP, not Ray."""
    sockets = server.open_sockets()
    assert {ip for _, ip in sockets if is_loopback(ip)} >= {"127.0.0.1", "127.0.0.2"}
    assert len([ip for _, ip in sockets if ip == "127.0.0.2"]) == 1
    assert server.open_sockets(beyond_loopback=True) == []


@pytest.mark.parametrize(
    "header",
    ["X-Request-ID", "serve_multiplexed_model_id", "X-Request-Timeout-Seconds", "X-Session-Id"],
)
def test_headers_of_rays_harm_nothing(http: httpx.Client, header: str) -> None:
    """F15: with a byte that is no UTF-8, each was a 500."""
    answer = http.post(GENERATIONS, json={"prompt": "x"}, headers=[(header.encode(), b"\xff")])
    assert answer.status_code == 200
    assert answer.headers["x-request-id"].isascii()


def test_a_client_that_hangs_up_cancels_its_request(server: Server, http: httpx.Client) -> None:
    def cancelled() -> float:
        lines = httpx.get(server.metrics_url).text.splitlines()
        told = [li for li in lines if "image_requests_total{" in li and '"cancelled"' in li]
        return sum(float(line.rsplit(" ", 1)[1]) for line in told)

    before = cancelled()
    with ThreadPoolExecutor(2) as pool:
        held = [pool.submit(ask, http, 100) for _ in range(2)]  # both replicas are busy for 1 s
        time.sleep(0.2)
        with pytest.raises(httpx.ReadTimeout):
            ask(http, timeout_s=0.3)
        assert {each.result().status_code for each in held} == {200}
    wait_for(lambda: cancelled() == before + 1, METRICS_S)


def test_a_replica_that_dies_leaves_the_rest_to_the_other(
    server: Server, http: httpx.Client
) -> None:
    victim = next(p for p in server.family() if "ServeReplica" in p.name())
    with ThreadPoolExecutor(4) as pool:
        held = [pool.submit(ask, http, 100) for _ in range(4)]
        time.sleep(0.3)
        victim.kill()
        told = [each.result() for each in held]
    lost = [answer for answer in told if answer.status_code != 200]
    assert lost
    assert len(lost) < len(told)
    for answer in lost:
        assert answer.status_code in (500, 503)
        assert answer.json()["error"]["message"]
    if is_haproxy(server):  # Ray's proxy may still believe in the dead one for a moment
        assert {ask(http).status_code for _ in range(20)} == {200}
    wait_for(lambda: http.get("/health").status_code == 200, 60)


def test_a_kill_leaves_nothing_behind(server: Server) -> None:
    """The last test of a server: it ends it."""
    family, folder = server.family(), server.ray_folder()
    server.stop(signal.SIGKILL)
    _, alive = psutil.wait_procs(family, timeout=10)
    assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []
    wait_for(lambda: not folder.exists(), 10)
