import asyncio
import socket
import struct

import pytest
from uvicorn import Config
from uvicorn.protocols.http.auto import AutoHTTPProtocol
from uvicorn.server import ServerState

from serve.connections import let_go_of_lost

HOUR_S = 3600
RESET_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: on, for 0 s


@pytest.mark.parametrize("is_reset", [True, False])
def test_a_lost_connection_leaves_no_timer(
    monkeypatch: pytest.MonkeyPatch, *, is_reset: bool
) -> None:
    monkeypatch.setattr(AutoHTTPProtocol, "connection_lost", AutoHTTPProtocol.connection_lost)
    let_go_of_lost()
    served = asyncio.run(asyncio.wait_for(_serve_one(is_reset=is_reset), 30))
    assert served.timer is not None  # the connection was kept alive
    assert served.timer.cancelled()


class _Served(AutoHTTPProtocol):  # type: ignore[misc,valid-type]  # whichever there is
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
    config = Config(app, timeout_keep_alive=HOUR_S, lifespan="off", log_config=None)
    config.load()
    served = _Served(config, ServerState(), {})
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
