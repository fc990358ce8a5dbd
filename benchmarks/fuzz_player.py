"""Plays hostile requests at a server, each on a connection of its own, and reads what comes."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence

from benchmarks.fuzz_case import Case
from benchmarks.fuzz_judge import Answer, Seen

HOST = "127.0.0.1"
ROOM_BYTES = 1 << 22
LINGER_S = 0.02  # for an answer too many
INCOMPLETE_S = 0.15  # for an answer that need not come
SLOW_S = 75.0  # head and body have 30 s each
GARBLED = (ValueError, KeyError, asyncio.LimitOverrunError, UnicodeError)


async def play(case: Case, port: int, wait_s: float) -> Seen:
    """Send a case and read its answers.

    Args:
        case: Whatever is sent.
        port: Of loopback.
        wait_s: For each answer that is due; slow cases have SLOW_S.

    Raises:
        OSError: No connection comes about: the server is gone.
    """
    reader, writer = await asyncio.open_connection(HOST, port, limit=ROOM_BYTES)
    sending = asyncio.create_task(_send(case.pieces, case.pause_s, writer))
    try:
        await asyncio.sleep(case.hold_s)
        return await _read(case, reader, wait_s, sending)
    finally:
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await sending
        writer.transport.abort()


async def _send(pieces: Sequence[bytes], pause_s: float, writer: asyncio.StreamWriter) -> None:
    for number, piece in enumerate(pieces):
        if number:
            await asyncio.sleep(pause_s)
        writer.write(piece)
        await writer.drain()


async def _read(
    case: Case, reader: asyncio.StreamReader, wait_s: float, sending: asyncio.Task[None]
) -> Seen:
    answers: list[Answer] = []
    ended, fault = False, None
    begin_s = took_s = time.perf_counter()
    limit_s = SLOW_S if case.is_slow else wait_s
    if case.due == "nothing" and not case.is_slow:
        limit_s = INCOMPLETE_S
    try:
        async with asyncio.timeout(limit_s) as limit:
            async for answer in _answers(reader, is_head=case.is_head):
                answers.append(answer)
                took_s = time.perf_counter()
                if case.answers is not None and len(answers) > case.answers:
                    break  # one is too many already
                more_s = LINGER_S if len(answers) == case.answers else limit_s
                more_s = INCOMPLETE_S if case.answers is None else more_s
                limit.reschedule(asyncio.get_running_loop().time() + more_s)
            else:
                ended = True
    except TimeoutError:
        pass
    except asyncio.IncompleteReadError as err:
        ended = True
        fault = None if _is_cut_by_us(case) else f"cut short behind {err.partial[:80]!r}"
    except ConnectionError:
        ended = True
    except GARBLED as err:
        fault = f"{type(err).__name__}: {err}"
    return Seen(answers=tuple(answers), ended=ended, fault=fault, took_s=took_s - begin_s)


def _is_cut_by_us(case: Case) -> bool:
    return case.hold_s > 0  # who does not read is cut off in the middle of an answer


async def _answers(reader: asyncio.StreamReader, *, is_head: bool) -> AsyncIterator[Answer]:
    """Answers as they come, interim ones left out, until the connection ends between two.

    Raises:
        IncompleteReadError: It ends within one.
        ValueError: What comes is no HTTP/1.1; so do KeyError and LimitOverrunError.
    """
    while True:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as err:
            if err.partial:
                raise
            return
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        version, status, *_ = first.split(" ")
        if version not in ("HTTP/1.1", "HTTP/1.0") or len(status) != 3:
            raise ValueError(first[:80])
        headers = {}
        for line in lines:
            name, value = line.split(": ", 1) if ": " in line else line.split(":", 1)
            headers[name.lower()] = value
        if int(status) >= 200:
            # HAProxy's own page has a body whatever the method: it could not read one.
            is_bare = is_head and headers.get("content-type") != "text/html"
            body = b"" if is_bare or status in ("204", "304") else await _body(reader, headers)
            yield Answer(int(status), headers, body)


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if "content-length" in headers:
        return await reader.readexactly(int(headers["content-length"]))
    if headers.get("transfer-encoding") != "chunked":
        return await reader.read()
    body = bytearray()
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        body += await reader.readexactly(size)
        if await reader.readexactly(2) != b"\r\n":
            raise ValueError("a chunk does not end where it should")
    await reader.readuntil(b"\r\n")
    return bytes(body)
