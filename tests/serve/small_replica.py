"""A replica's stand-in: a small HTTP server on loopback, inside the test's own event loop."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, closing
from typing import Any, TypeAlias

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter
Answer: TypeAlias = Callable[[Reader, Writer], Coroutine[Any, Any, None]]


@asynccontextmanager
async def replica(
    answer: Answer, note: Callable[[bytes], None] = lambda head: None
) -> AsyncIterator[int]:
    """A server on loopback for the time of the block; gives its port.

    Args:
        answer: Answers one request.
        note: Is told each request's head, as it came.
    """

    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: Reader, writer: Writer) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        with closing(writer):
            try:
                while True:
                    came = await reader.readuntil(b"\r\n\r\n")
                    note(came)
                    head = came.lower()
                    length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
                    if b"transfer-encoding: chunked" in head:
                        await reader.readuntil(b"0\r\n\r\n")
                    await reader.readexactly(length)
                    await answer(reader, writer)
                    await writer.drain()
            except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
                pass  # the ingress hung up, as its checks do, or the test is over

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving)
