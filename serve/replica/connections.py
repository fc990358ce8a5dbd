"""A server's HTTP connections: what is lost is let go of, what nobody reads is cut off.

uvicorn's protocol is changed in place, once a process: in each replica, and in Ray's own proxy.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http import auto

from serve.api.requests import ApiError

# Answers that wait in this process because their clients do not take them. HAProxy takes 128 KiB of
# an answer at once, so only those of slow clients wait here at all.
UNREAD_LIMIT_BYTES = 256 * 2**20
UNREAD_S = 300.0  # a client has so long to take one answer but for its last 16 KiB
NO_HTTP = ApiError(400, "this is no HTTP request that can be read", code="invalid_http").body()


def keep_connections_in_bounds() -> None:
    """Change uvicorn's protocol of this process; see the functions below. Once is enough."""
    protocol: Any = auto.AutoHTTPProtocol
    if not hasattr(protocol, "viralload_unread"):
        protocol.viralload_unread = Unread()
        let_go_of_lost(protocol)
        cut_off_unread(protocol, protocol.viralload_unread)
        answer_as_openai(protocol)


def let_go_of_lost(protocol: Any) -> None:
    """Make uvicorn cancel the keep-alive timer of every connection that is lost.

    uvicorn 0.54 leaves it be where the other end resets the connection, as HAProxy does with those
    that it keeps no longer. The timer holds on to the connection and its last request until
    `timeout_keep_alive` is over, which is an hour here: objects pile up, and each round of the
    garbage collector over them holds every request up.
    """
    original = protocol.connection_lost

    def connection_lost(self: Any, exc: Exception | None) -> None:
        self._unset_keepalive_if_required()
        original(self, exc)

    protocol.connection_lost = connection_lost


class Unread:
    """The connections whose answers wait for their clients, the longest-waiting first.

    Args:
        limit_bytes: How much may wait in all; beyond it the longest-waiting are cut off.
        limit_s: How long an answer may wait.
    """

    def __init__(self, limit_bytes: int = UNREAD_LIMIT_BYTES, limit_s: float = UNREAD_S) -> None:
        self._limit_bytes = limit_bytes
        self._limit_s = limit_s
        self._timers: dict[Any, asyncio.TimerHandle] = {}

    def add(self, transport: Any) -> None:
        """More of an answer waits than the connection takes at once."""
        if transport not in self._timers:
            loop = asyncio.get_running_loop()
            self._timers[transport] = loop.call_later(self._limit_s, self.cut_off, transport)
        waiting = sum(each.get_write_buffer_size() for each in self._timers)
        for oldest in list(self._timers):
            if waiting <= self._limit_bytes:
                break
            waiting -= oldest.get_write_buffer_size()
            self.cut_off(oldest)

    def remove(self, transport: Any) -> None:
        """Its answer has been taken, or it is lost."""
        timer = self._timers.pop(transport, None)
        if timer is not None:
            timer.cancel()

    def cut_off(self, transport: Any) -> None:
        """End a connection at once; what waits for it is dropped."""
        self.remove(transport)
        asyncio.get_running_loop().call_soon(transport.abort)  # it may be writing just now


def cut_off_unread(protocol: Any, unread: Unread) -> None:
    """Make uvicorn drop answers that are not read, in time and before they fill the memory.

    asyncio takes an answer of any length at once and keeps what the client has not taken; and a
    client that asks and never reads costs nothing but its own connection.
    """
    pause, resume, lost = (
        protocol.pause_writing,
        protocol.resume_writing,
        protocol.connection_lost,
    )

    def pause_writing(self: Any) -> None:
        pause(self)
        unread.add(self.transport)

    def resume_writing(self: Any) -> None:
        resume(self)
        unread.remove(self.transport)

    def connection_lost(self: Any, exc: Exception | None) -> None:
        unread.remove(self.transport)
        lost(self, exc)

    protocol.pause_writing = pause_writing
    protocol.resume_writing = resume_writing
    protocol.connection_lost = connection_lost


def answer_as_openai(protocol: Any) -> None:
    """Make uvicorn answer what is no HTTP with OpenAI's error body, and take no WebSocket.

    A WebSocket's handshake with another method than GET is never answered by uvicorn 0.54.
    """

    def send_400_response(self: Any, msg: str) -> None:
        self.transport.write(
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (len(NO_HTTP), NO_HTTP)
        )
        self.transport.close()

    protocol.send_400_response = send_400_response
    protocol._should_upgrade_to_ws = lambda self: False
    protocol._unsupported_upgrade_warning = lambda self: None
