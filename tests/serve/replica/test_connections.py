import asyncio
import contextlib
import json
import socket
import struct
from functools import partial
from typing import Any

import pytest
from uvicorn import Config
from uvicorn.protocols.http.auto import AutoHTTPProtocol
from uvicorn.server import ServerState

from serve.replica.connections import Unread, answer_as_openai, cut_off_unread, let_go_of_lost

HOUR_S = 3600
BY_POST = (
    b"POST / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
    b"Content-Length: 0\r\n\r\n"
)
RESET_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: on, for 0 s


class Bounded(AutoHTTPProtocol):  # type: ignore[misc,valid-type]  # whichever there is
    """As a server process has it, without changing this one's."""


let_go_of_lost(Bounded)
answer_as_openai(Bounded)


@pytest.mark.parametrize("is_reset", [True, False])
def test_a_lost_connection_leaves_no_timer(*, is_reset: bool) -> None:
    served = asyncio.run(asyncio.wait_for(_serve_one(is_reset=is_reset), 30))
    assert served.timer is not None  # the connection was kept alive
    assert served.timer.cancelled()


class _Served(Bounded):
    """A connection that tells when it is lost, and what its timer was."""

    timer: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        self.timer = self.timeout_keep_alive_task
        super().connection_lost(exc)
        self.lost.set_result(exc)


async def _serve_one(*, is_reset: bool) -> _Served:
    """A request over a connection that then ends; the server's side of it."""

    async def app(scope: object, receive: object, send: object) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})  # type: ignore[operator]
        await send({"type": "http.response.body"})  # type: ignore[operator]

    loop = asyncio.get_running_loop()
    served = _Served(_configured(app), ServerState(), {})
    served.lost = loop.create_future()
    server = await loop.create_server(lambda: served, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 204")
    if is_reset:
        own: socket.socket = writer.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_ONCE)
    writer.close()
    assert isinstance(await served.lost, ConnectionResetError) == is_reset
    server.close()
    return served


def _configured(app: Any) -> Config:
    config = Config(app, timeout_keep_alive=HOUR_S, lifespan="off", log_config=None)
    config.load()
    return config


class Transport:
    """A connection whose client has not taken so many bytes."""

    def __init__(self, waiting: int) -> None:
        self.waiting = waiting
        self.is_aborted = False

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def abort(self) -> None:
        self.is_aborted = True


@pytest.mark.parametrize(
    ("waiting", "cut"),
    [
        ([40, 40], []),
        ([40, 40, 40], [0]),  # the longest-waiting makes way
        ([10, 10, 95], [0, 1]),
        ([101], [0]),  # alone, and longer than the bound
        ([1] * 100, []),
    ],
)
def test_answers_that_wait_are_bounded_by_their_bytes(waiting: list[int], cut: list[int]) -> None:
    """F11."""

    async def scene() -> list[int]:
        unread = Unread(limit_bytes=100, limit_s=60.0)
        transports = [Transport(size) for size in waiting]
        for transport in transports:
            unread.add(transport)
        await asyncio.sleep(0)
        for transport in transports:
            unread.remove(transport)
        return [i for i, transport in enumerate(transports) if transport.is_aborted]

    assert asyncio.run(scene()) == cut


def test_an_answer_that_nobody_reads_is_cut_off_in_time() -> None:
    """F11: and one that is read is not."""

    lost = asyncio.Event()

    class Impatient(Bounded):
        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            lost.set()

    cut_off_unread(Impatient, Unread(limit_s=0.2))
    sizes = {"/small": 1000, "/large": 20_000_000}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        size = sizes[scope["path"]]
        headers = [(b"content-length", b"%d" % size)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": bytes(size)})

    async def scene() -> None:
        make = partial(Impatient, _configured(app), ServerState(), {})
        server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        ask = b"GET %b HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"
        reads, sends = await asyncio.open_connection(*address)
        sends.write(ask % b"/small")
        assert len(await reads.read()) > sizes["/small"]
        sends.close()
        await lost.wait()
        lost.clear()
        own = socket.create_connection(address)
        own.sendall(ask % b"/large")
        await lost.wait()
        got = await asyncio.to_thread(_drain, own)
        assert 0 < got < sizes["/large"]
        server.close()

    asyncio.run(asyncio.wait_for(scene(), 30))


def _drain(own: socket.socket) -> int:
    """Bytes that come until the connection ends, by whatever."""
    got = 0
    with own, contextlib.suppress(ConnectionError):
        while piece := own.recv(1 << 20):
            got += len(piece)
    return got


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\na b: c\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (BY_POST, 204),  # what the application says: uvicorn would never have answered
    ],
)
def test_what_uvicorn_answers_by_itself(request_: bytes, status: int) -> None:
    """F16, F17: Ray's own proxy is an uvicorn."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async def scene() -> bytes:
        make = partial(Bounded, _configured(app), ServerState(), {})
        server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(request_)
        writer.write_eof()
        told = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        server.close()
        return told

    head, _, body = asyncio.run(scene()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d" % status)
    if status == 400:
        assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
