"""A null image server: answers one prepared image after a stated time and stamps what arrives.

    python -m benchmarks.null_server '{"service_s": 2, "stall_at_s": 3, "stall_s": 1}'

Prints its port. When its stdin ends it writes the arrival stamps to stdout, as float64 seconds of
CLOCK_MONOTONIC, and ends. A stamp is when the first bytes of a POST were read. While it stalls it
reads and stamps as ever and keeps every answer back: the stall is of the service, so that it does
not hide when requests came. It runs in real time where the user may, for every generator alike.
"""

import array
import asyncio
import base64
import contextlib
import fcntl
import gc
import io
import os
import resource
import socket
import sys
import time
from typing import cast

import msgspec
import uvloop  # comes with Ray Serve's uvicorn
from PIL import Image

from benchmarks.player import END_OF_HEAD, LENGTH

SIDE = 512  # pixels
IMAGE_BYTES = 75_000  # 100 KB in base64
MAX_FILES = min(1 << 14, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
MODELS = b'{"object":"list","data":[{"id":"null","object":"model"}]}'


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """How the server serves; the stall counts from the first request."""

    service_s: float = 0.0
    stall_at_s: float | None = None
    stall_s: float = 1.0

    def answer_s(self, now_s: float, first_s: float) -> float:
        """When a request that came at `now_s` is answered, the first one having come at first_s."""
        ready_s = now_s + self.service_s
        if self.stall_at_s is None:
            return ready_s
        begin_s = first_s + self.stall_at_s
        end_s = begin_s + self.stall_s
        return end_s if begin_s <= ready_s < end_s else ready_s


class Server:
    """What all connections share."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.stamps_s = array.array("d")
        self.answer = http_answer(b'{"created":0,"data":[{"b64_json":"%b"}]}' % _image())
        self.models = http_answer(MODELS)


class Connection(asyncio.Protocol):
    """One kept connection."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._received = b""
        self._began_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Make room for a whole answer in the socket, so that it leaves in one write."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        plug = transport.get_extra_info("socket")
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * len(self._server.answer))

    def data_received(self, data: bytes) -> None:
        """Answer every whole request."""
        if not self._received:
            self._began_s = time.monotonic()
        self._received += data
        while (end := request_end(self._received)) is not None:
            is_ask = self._received.startswith(b"POST")
            self._received = self._received[end:]
            if is_ask:
                self._serve()
            else:
                self._transport.write(self._server.models)

    def _serve(self) -> None:
        server, now_s = self._server, self._began_s
        server.stamps_s.append(now_s)
        wait_s = server.service.answer_s(now_s, server.stamps_s[0]) - now_s
        if wait_s > 0:
            asyncio.get_running_loop().call_later(wait_s, self._answer)
        else:
            self._answer()

    def _answer(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(self._server.answer)


def http_answer(body: bytes) -> bytes:
    """The bytes of a 200 answer with this JSON."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


def request_end(data: bytes) -> int | None:
    """Where the first request in `data` ends; None if it is not whole yet."""
    head_end = data.find(END_OF_HEAD)
    if head_end < 0:
        return None
    length = LENGTH.search(data, 0, head_end)
    end = head_end + len(END_OF_HEAD) + (int(length[1]) if length else 0)
    return end if len(data) >= end else None


def _image() -> bytes:
    """A JPEG of noise, as large as its quality allows up to IMAGE_BYTES, in base64."""
    noise = Image.effect_noise((SIDE, SIDE), 40).convert("RGB")
    for quality in range(95, 5, -5):
        file = io.BytesIO()
        noise.save(file, "JPEG", quality=quality)
        if file.tell() <= IMAGE_BYTES:
            break
    return base64.b64encode(file.getvalue())


async def _serve(service: Service) -> bytes:
    server = Server(service)
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: Connection(server), "127.0.0.1", 0, backlog=4096)
    sys.stdout.write(f"{listening.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.buffer.read)
    return server.stamps_s.tobytes()


if __name__ == "__main__":
    told = msgspec.json.decode(sys.argv[1], type=Service)
    gc.disable()
    with contextlib.suppress(PermissionError):  # a stamp must not wait for others on this machine
        os.sched_setscheduler(
            0, os.SCHED_RR, os.sched_param(os.sched_get_priority_min(os.SCHED_RR))
        )
    # The table of open files grown now: later that would hold requests up, and not by their sender.
    os.close(fcntl.fcntl(0, fcntl.F_DUPFD, MAX_FILES - 1))
    stamps = uvloop.run(_serve(told))
    with os.fdopen(sys.stdout.fileno(), "wb") as out:
        out.write(stamps)
