"""Hostile clients before the ingress: every one is answered or cut off, and nobody else suffers."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest

from serve.ingress.haproxy import HAProxy, find_haproxy, free_port, own_haproxy
from serve.settings import Settings
from tests.serve.small_replica import Reader, Writer, replica

pytestmark = pytest.mark.skipif(find_haproxy() is None, reason="there is no haproxy here")

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
LIMIT = 1000
HEAD = b"POST /v1/images/generations HTTP/1.1\r\nHost: x\r\n"
WEBSOCKET = b"\r\n".join(
    [
        b"GET / HTTP/1.1",
        b"Host: x",
        b"Connection: Upgrade",
        b"Upgrade: WebSocket",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        b"\r\n",
    ]
)
PATIENCE_S = 0.3
IN_TIME_S = 10.0


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[HAProxy, int]]:
    """An ingress with little patience for what ought to come, and for bodies up to 1,000."""
    port = free_port()
    settings = Settings(model="stub", port=port, replicas=1, max_body_bytes=LIMIT)
    with own_haproxy(settings, patience_s=PATIENCE_S) as ingress:
        yield ingress, port


class Door:
    """A door with one replica behind it, which notes the heads of what it is asked."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.heads: list[bytes] = []
        self.answer = OK
        self.pause_s = 0.0
        self.cut = asyncio.Event()

    async def reply(self, reader: Reader, writer: Writer) -> None:
        await asyncio.sleep(self.pause_s)
        writer.write(self.answer)
        try:
            await writer.drain()
        except ConnectionError:
            self.cut.set()
            raise

    async def ask(self, *pieces: bytes, gap_s: float = 0.0) -> tuple[int, dict[str, str], bytes]:
        """Send pieces with gaps between them; status, headers and body of the first answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)

        async def send() -> None:
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(gap_s)

        sending = asyncio.create_task(send())
        try:
            async with asyncio.timeout(IN_TIME_S):
                head = await reader.readuntil(b"\r\n\r\n")
                lines = head.decode("latin-1").lower().split("\r\n")
                headers = dict(line.split(": ", 1) for line in lines[1:] if line)
                body = await reader.readexactly(int(headers["content-length"]))
        finally:
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await sending
            writer.close()
        return int(lines[0].split()[1]), headers, body


@contextlib.asynccontextmanager
async def open_door(running: tuple[HAProxy, int]) -> AsyncIterator[Door]:
    door = Door(running[1])

    async with replica(door.reply, door.heads.append) as port:
        running[0].route([port])
        yield door
        running[0].route([])


def play(running: tuple[HAProxy, int], scene: Callable[[Door], Coroutine[Any, Any, None]]) -> None:
    async def with_door() -> None:
        async with open_door(running) as door:
            await scene(door)

    asyncio.run(with_door())


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /-/routes HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /-/healthz HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /%2d/routes HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /%2D%2Fhealthz HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET http://x/-/routes HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n", 405),
        (b"TRACE / HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (WEBSOCKET, 400),
        (HEAD + b"Connection: upgrade\r\nUpgrade: TLS/1.0\r\ncontent-length: 0\r\n\r\n", 400),
        (HEAD + b"content-length: 1001\r\n\r\n", 413),
        (HEAD + b"content-length: 99999999999\r\n\r\n", 413),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n", 413),
        (HEAD + b"content-length: 30\r\n\r\n", 408),
        (HEAD + b"Expect: 100-continue\r\ncontent-length: 1001\r\n\r\n", 413),
    ],
)  # fmt: skip
def test_what_no_replica_is_to_see_is_refused_in_openais_form(
    running: tuple[HAProxy, int], request_: bytes, status: int
) -> None:
    """F11, F16, F17."""

    async def scene(door: Door) -> None:
        answered, headers, body = await door.ask(request_)
        assert (answered, headers["content-type"]) == (status, "application/json")
        assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
        assert door.heads == []

    play(running, scene)


@pytest.mark.parametrize("size", [0, 1, LIMIT])
@pytest.mark.parametrize("is_chunked", [True, False])
def test_bodies_up_to_the_limit_pass(
    running: tuple[HAProxy, int], size: int, *, is_chunked: bool
) -> None:
    body = b"x" * size
    plain = b"content-length: %d\r\n\r\n%b" % (size, body)
    chunk = b"%x\r\n%b\r\n" % (size, body) if size else b""
    chunks = b"transfer-encoding: chunked\r\n\r\n" + chunk + b"0\r\n\r\n"

    async def scene(door: Door) -> None:
        assert (await door.ask(HEAD + (chunks if is_chunked else plain)))[0] == 200

    play(running, scene)


@pytest.mark.parametrize(
    "pieces",
    [
        [HEAD + b"content-length: 900\r\n\r\n", *[b"x"] * 900],
        [HEAD + b"transfer-encoding: chunked\r\n\r\n", *[b"1\r\nx\r\n"] * 900],
    ],
)
def test_a_body_that_trickles_is_cut_off_and_no_replica_sees_it(
    running: tuple[HAProxy, int], pieces: list[bytes]
) -> None:
    """F11: a byte every 50 ms would take 45 s."""

    async def scene(door: Door) -> None:
        status, _, body = await door.ask(*pieces, gap_s=0.05)
        assert (status, json.loads(body)["error"]["code"]) == (408, "too_slow")
        assert door.heads == []

    play(running, scene)


def test_an_answer_that_nobody_reads_is_cut_off(running: tuple[HAProxy, int]) -> None:
    """F11: the replica is rid of it soon after its client stopped reading."""

    async def scene(door: Door) -> None:
        size = 20_000_000
        door.answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + b"x" * size
        _, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(HEAD + b"content-length: 0\r\n\r\n")
        await asyncio.wait_for(door.cut.wait(), IN_TIME_S)
        writer.close()

    play(running, scene)


def test_a_client_may_wait_as_long_as_it_likes(running: tuple[HAProxy, int]) -> None:
    """The patience with what a client ought to do is none with what it waits for."""

    async def scene(door: Door) -> None:
        door.pause_s = 3 * PATIENCE_S
        assert (await door.ask(HEAD + b"content-length: 2\r\n\r\nhi"))[0] == 200

    play(running, scene)


@pytest.mark.parametrize(
    ("header", "passes"),
    [
        (b"X-Request-ID: \xff", False),
        (b"x-request-id: " + b"a" * 129, False),
        (b"X-Request-ID: fine\r\nX-Request-ID: \xfe", False),
        (b"X-Request-ID: 0d9f-A", True),
        (b"serve_multiplexed_model_id: \xff", False),
        (b"Serve-Multiplexed_Model-ID: x", False),
        (b"X-Request-Timeout-Seconds: \xff", False),
        (b"X-Request-Timeout-Seconds: 0.001", False),
        (b"X-Request-Disconnect-Disabled: ?1", False),
        (b"X-Session-Id: \xff", False),
        (b"x_session_id: a", False),
        (b"X-Serve-Router-Anything: a", False),
        (b"Connection: Upgrade\r\nUpgrade: h2c", False),  # may be ignored
        (b"Upgrade: websocket", False),  # says nothing without Connection
        (b"Authorization: Bearer x", True),
    ],
)
def test_headers_of_rays_end_at_the_door(
    running: tuple[HAProxy, int], header: bytes, *, passes: bool
) -> None:
    """F15."""

    async def scene(door: Door) -> None:
        assert (await door.ask(HEAD + header + b"\r\ncontent-length: 0\r\n\r\n"))[0] == 200
        (head,) = door.heads
        name = header.rpartition(b"\r\n")[2].partition(b":")[0].lower() + b":"
        assert (name in head.lower()) == passes

    play(running, scene)


def test_what_haproxy_cannot_read_is_answered_all_the_same(running: tuple[HAProxy, int]) -> None:
    """In its own words, which nothing can replace; a WebSocket by POST is of these (F16)."""

    async def scene(door: Door) -> None:
        upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\ncontent-length: 0\r\n\r\n"
        for request in (HEAD + upgrade, b"\x16\x03\x01\r\n\r\n", HEAD + b"a b: c\r\n\r\n"):
            assert (await door.ask(request))[0] == 400
        assert (await door.ask(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))[0] == 400  # no HTTP/2
        assert (await door.ask(b"GET / HTTP/1.1\r\n"))[0] == 408
        assert door.heads == []

    play(running, scene)
