"""A cheap HTTP client: one prepared request over kept connections, closed or open loop.

It shares the cores with the server that it measures, so it does little for a request: one write,
then counting the answer's bytes (about 0.1 ms of CPU for 100 KB). Whether an answer holds an
image is looked at once, before, by `benchmarks.serving`.
"""

import asyncio
import re
import time
from collections.abc import Sequence
from typing import cast

LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
CHUNK_BYTES = 2**18
END_OF_HEAD = b"\r\n\r\n"


class AnswerError(RuntimeError):
    """The server did not answer 200 with a body of a stated length."""


class Connection(asyncio.BufferedProtocol):
    """One kept connection; asks one request at a time."""

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(CHUNK_BYTES))
        self._transport: asyncio.Transport | None = None
        self._done: asyncio.Future[bytes] | None = None
        self._received = bytearray()
        self._is_head = True
        self._left_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Count bytes; the head tells how many there are to come."""
        if self._is_head:
            self._received += self._buffer[:nbytes]
            head, mark, rest = self._received.partition(END_OF_HEAD)
            if not mark:
                return
            length = LENGTH.search(head)
            if not head.startswith(b"HTTP/1.1 200") or length is None:
                self._end(AnswerError(head.split(b"\r\n")[0].decode("latin-1")))
                return
            self._is_head = False
            self._left_bytes = int(length[1]) - len(rest)
        else:
            self._left_bytes -= nbytes
        if self._left_bytes <= 0:
            self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what is asked."""
        self._end(exc or AnswerError("the server closed the connection"))

    async def ask(self, request: bytes) -> None:
        """Send a request and wait for the last byte of its answer.

        Raises:
            AnswerError: Anything but a whole 200.
        """
        assert self._transport is not None
        assert self._done is None
        self._received.clear()
        self._is_head = True
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        await self._done

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()

    def _end(self, err: Exception | None) -> None:
        done, self._done = self._done, None
        if done is None or done.done():
            return
        if err is None:
            done.set_result(b"")
        else:
            done.set_exception(err)


async def connect(host: str, port: int) -> Connection:
    """A connection to the server."""
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, host, port)
    return connection


def prepare(path: str, body: bytes, host: str) -> bytes:
    """The bytes of a POST of JSON."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def closed_loop(
    host: str, port: int, request: bytes, *, concurrency: int, seconds: float
) -> float:
    """Requests/s with so many always in flight; what ends after the time does not count."""
    connections = [await connect(host, port) for _ in range(concurrency)]
    begin_s = time.perf_counter()
    end_s = begin_s + seconds

    async def ask_on(connection: Connection) -> int:
        count = 0
        while True:
            await connection.ask(request)
            if time.perf_counter() > end_s:
                return count
            count += 1

    counts = await asyncio.gather(*map(ask_on, connections))
    for connection in connections:
        connection.close()
    return sum(counts) / seconds


async def open_loop(
    host: str, port: int, request: bytes, arrivals_s: Sequence[float]
) -> list[float]:
    """Seconds from when each request was due to the last byte of its answer.

    A request that finds no idle connection opens one: nothing waits in the client.
    """
    loop = asyncio.get_running_loop()
    idle: list[Connection] = []
    asked: list[asyncio.Task[float]] = []
    begin_s = time.perf_counter()

    async def ask(due_s: float) -> float:
        connection = idle.pop() if idle else await connect(host, port)
        await connection.ask(request)
        idle.append(connection)
        return time.perf_counter() - begin_s - due_s

    def start(due_s: float) -> None:
        asked.append(loop.create_task(ask(due_s)))

    def tick() -> None:
        for due_s in arrivals_s:
            time.sleep(max(0.0, begin_s + due_s - time.perf_counter()))
            loop.call_soon_threadsafe(start, due_s)

    # In a thread: an event loop's timers are good to a millisecond only.
    await asyncio.to_thread(tick)
    latencies_s = await asyncio.gather(*asked)
    for connection in idle:
        connection.close()
    return latencies_s
