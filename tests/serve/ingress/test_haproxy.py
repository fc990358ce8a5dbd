"""The ingress before replicas that are fakes: small servers of this process."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import httpx
import psutil
import pytest

from serve.ingress.haproxy import HAProxy, choose, find_haproxy, free_port, own_haproxy
from serve.ray_cluster import ServerError
from serve.settings import Settings, SettingsError
from tests.serve.conftest import ROOT
from tests.serve.small_replica import Answer, Reader, Writer, replica

needs_haproxy = pytest.mark.skipif(find_haproxy() is None, reason="there is no haproxy here")

GENERATIONS = "/v1/images/generations"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
LONG_S = 30.0


@pytest.mark.parametrize(
    ("ingress", "is_there", "chosen"),
    [
        ("auto", True, "haproxy"),
        ("auto", False, "proxy"),
        ("haproxy", True, "haproxy"),
        ("proxy", True, "proxy"),
    ],
)
def test_the_choice(
    ingress: Any, is_there: bool, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "serve.ingress.haproxy.find_haproxy", lambda: "/bin/haproxy" if is_there else None
    )
    assert choose(Settings(ingress=ingress)) == chosen


def test_haproxy_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.ingress.haproxy.find_haproxy", lambda: None)
    with pytest.raises(SettingsError, match="use ingress=proxy"):
        choose(Settings(ingress="haproxy"))


class Door:
    """The ingress, and a client of it."""

    def __init__(self, ingress: HAProxy, port: int) -> None:
        self.ingress = ingress
        self.port = port
        self.http: httpx.AsyncClient

    def play(self, scene: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a scene with a client of its own."""

        async def with_client() -> None:
            url = f"http://127.0.0.1:{self.port}"
            async with httpx.AsyncClient(base_url=url, timeout=LONG_S, trust_env=False) as http:
                self.http = http
                await scene()

        asyncio.run(with_client())

    async def ask(self, path: str = GENERATIONS) -> httpx.Response:
        return await self.http.post(path, json={"prompt": "x"})

    async def is_healthy(self) -> bool:
        return (await self.http.get("/health")).status_code == 200


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[HAProxy, int]]:
    """An ingress for two replicas."""
    port = free_port()
    with own_haproxy(Settings(model="stub", port=port, replicas=2)) as ingress:
        yield ingress, port


@pytest.fixture
def door(running: tuple[HAProxy, int]) -> Iterator[Door]:
    """The ingress without replicas."""
    running[0].route([])
    yield Door(*running)
    running[0].route([])


async def fine(reader: Reader, writer: Writer) -> None:
    writer.write(OK)


def error(answer: httpx.Response) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/json"
    told: dict[str, Any] = answer.json()["error"]
    assert set(told) == {"message", "type", "param", "code"}
    return told


@needs_haproxy
def test_health_and_refusals_while_replicas_come(door: Door) -> None:
    async def scene() -> None:
        async with replica(fine) as first, replica(fine) as second:
            refused = await door.ask()
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            assert error(refused)["type"] == "overloaded_error"
            door.ingress.route([first])
            half = await door.http.get("/health")
            assert half.status_code == 503
            assert error(half)["message"].startswith("1 of 2 replicas are warm")
            assert (await door.ask()).text == "ok"  # the warm half answers
            door.ingress.route([first, second])
            whole = await door.http.get("/health")
            assert whole.json() == {"status": "ok", "replicas_ready": 2, "replicas": 2}
            assert (await door.http.head("/health")).status_code == 200

    door.play(scene)


@needs_haproxy
def test_the_replica_with_the_fewest_requests_is_asked(door: Door) -> None:
    counts = [0, 0]
    release = asyncio.Event()

    def counting(index: int, *, holds: bool) -> Answer:
        async def answer(reader: Reader, writer: Writer) -> None:
            counts[index] += 1
            if holds:
                await release.wait()
            writer.write(OK)

        return answer

    async def scene() -> None:
        async with (
            replica(counting(0, holds=True)) as slow,
            replica(counting(1, holds=False)) as quick,
        ):
            door.ingress.route([slow])
            held = [asyncio.create_task(door.ask()) for _ in range(3)]
            while counts[0] < 3:
                await asyncio.sleep(0.01)
            door.ingress.route([slow, quick])
            for _ in range(20):
                await door.ask()
            assert counts == [3, 20]
            release.set()
            await asyncio.gather(*held)

    door.play(scene)


@needs_haproxy
def test_an_answer_streams(door: Door) -> None:
    heard = asyncio.Event()

    async def events(reader: Reader, writer: Writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await heard.wait()  # for ever, if the ingress kept the first event back
        writer.write(b"4\r\nlast\r\n0\r\n\r\n")

    async def scene() -> None:
        async with replica(events) as port:
            door.ingress.route([port])
            async with door.http.stream("POST", GENERATIONS) as answer:
                pieces = []
                async for piece in answer.aiter_bytes():
                    pieces.append(piece)
                    heard.set()
            assert pieces == [b"first", b"last"]

    door.play(scene)


@needs_haproxy
def test_a_client_that_hangs_up_is_told_to_the_replica(door: Door) -> None:
    told = asyncio.Event()

    async def waits(reader: Reader, writer: Writer) -> None:
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read(1) == b""  # the end of the connection
        told.set()

    async def scene() -> None:
        async with replica(waits) as port:
            door.ingress.route([port])
            with pytest.raises(httpx.ReadTimeout):
                await door.http.post(GENERATIONS, timeout=0.2)
            await asyncio.wait_for(told.wait(), 5)

    door.play(scene)


@needs_haproxy
def test_a_replica_that_dies_loses_its_requests_alone(door: Door) -> None:
    async def dies(reader: Reader, writer: Writer) -> None:
        writer.transport.abort()

    async def scene() -> None:
        async with replica(fine) as good:
            async with replica(dies) as bad:
                door.ingress.route([bad])
                lost = await door.ask()
                assert lost.status_code == 500
                assert "failed while it held the request" in error(lost)["message"]
                door.ingress.route([bad, good])
            # Nobody listens at the bad one's port any more, and Ray has not told yet.
            answers = [await door.ask() for _ in range(20)]
            assert {answer.status_code for answer in answers} == {200}
            assert not await door.is_healthy()

    door.play(scene)


@needs_haproxy
@pytest.mark.parametrize("megabytes", [0.1, 20])
def test_long_answers_pass(megabytes: float, door: Door) -> None:
    body = os.urandom(int(megabytes * 1e6))

    async def long(reader: Reader, writer: Writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)

    async def scene() -> None:
        async with replica(long) as port:
            door.ingress.route([port])
            answer = await door.http.post(GENERATIONS, content=body[:100_000])
            assert answer.content == body

    door.play(scene)


@needs_haproxy
def test_it_listens_at_its_address_alone(door: Door) -> None:
    (haproxy,) = [p for p in psutil.Process().children() if "haproxy" in p.name()]
    listening = [c.laddr for c in haproxy.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert set(listening) == {("127.0.0.1", door.port)}


@needs_haproxy
def test_a_port_that_is_taken_is_named(door: Door) -> None:
    with (
        pytest.raises(ServerError, match=r"(?s)HAProxy does not start: .*already in use"),
        own_haproxy(Settings(model="stub", port=door.port)),
    ):
        pass


@needs_haproxy
def test_a_haproxy_that_ends_is_noticed() -> None:
    with own_haproxy(Settings(model="stub", port=free_port())) as ingress:
        children = [p for p in psutil.Process().children() if "haproxy" in p.name()]
        max(children, key=lambda p: p.create_time()).kill()
        with pytest.raises(ServerError, match="HAProxy has ended"):
            ingress.route([])


@needs_haproxy
def test_it_dies_with_its_parent() -> None:
    program = (
        "import time\n"
        "from serve.ingress.haproxy import own_haproxy\n"
        "from serve.settings import Settings\n"
        f"with own_haproxy(Settings(model='stub', port={free_port()})):\n"
        "    print('up', flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "up\n"
        (haproxy,) = psutil.Process(parent.pid).children()
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 5
    while haproxy.is_running() and haproxy.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.02)
