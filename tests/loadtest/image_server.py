"""An image server of somebody else's, as small as it can be: a process of its own for tests.

    python -m tests.loadtest.image_server '{"delay_s": 0.05, "fault": null, ...}'

Prints its port. Speaks just enough of the OpenAI Images API, and lies on request.
"""

import base64
import collections
import contextlib
import io
import json
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image

DEFAULTS: dict[str, Any] = {
    "delay_s": 0.02,
    "key": None,  # bearer token asked for
    "models": ["other-model"],  # None: no /v1/models at all
    "fault": None,  # short | few | size | text | empty | 500 | hang
    "stall_s": 0.0,  # from 1 s after the first request, every answer waits for the stall's end
    "redirect": None,  # where every GET is sent
    "capacity": None,  # requests at once; beyond it 429
    "places": None,  # requests served at once; beyond it they wait
    "told": None,  # what /v1/models says under "viralload"; json's NaN and Infinity as they are
    "flop": None,  # text of the X-Flop header, times the images where it is a number
}


def png(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((width, height), 50).convert("RGB").save(file, "PNG")
    return file.getvalue()


class Queue:
    """First come, first served: who asks again at once does not overtake, as with a semaphore."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: collections.deque[threading.Event] = collections.deque()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        turn = threading.Event()
        with self._lock:
            if self._free:
                self._free -= 1
                turn.set()
            else:
                self._waiting.append(turn)
        turn.wait()
        try:
            yield
        finally:
            with self._lock:
                if self._waiting:
                    self._waiting.popleft().set()
                else:
                    self._free += 1


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.options = options
        self.images: dict[str, bytes] = {}
        self.first_s: float | None = None
        self.busy = 0
        self.lock = threading.Lock()
        self.queue = Queue(options["places"] or 1_000_000)


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        models = self.server.options["models"]
        if self.server.options["redirect"]:
            self._answer(302, {}, {"Location": self.server.options["redirect"]})
            return
        if self._refused():
            return
        if self.path != "/v1/models" or models is None:
            self._answer(404, {"error": {"message": "no such page"}})
        else:
            entries = [{"id": name, "object": "model"} for name in models]
            if self.server.options["told"] is not None:
                entries = [{**entry, "viralload": self.server.options["told"]} for entry in entries]
            self._answer(200, {"data": entries})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self._refused():
            return
        options = self.server.options
        with self.server.lock:
            self.server.first_s = self.server.first_s or time.monotonic()
            self.server.busy += 1
            full = options["capacity"] is not None and self.server.busy > options["capacity"]
        try:
            if full:
                self._answer(429, {"error": {"message": "busy"}}, {"Retry-After": "1"})
                return
            self._serve(body, options)
        finally:
            with self.server.lock:
                self.server.busy -= 1

    def _serve(self, body: dict[str, Any], options: dict[str, Any]) -> None:
        fault = options["fault"]
        if fault == "hang":
            time.sleep(3600)
        with self.server.queue.place():
            time.sleep(options["delay_s"])
        assert self.server.first_s is not None
        since = time.monotonic() - self.server.first_s
        if 1.0 < since < 1.0 + options["stall_s"]:
            time.sleep(1.0 + options["stall_s"] - since)
        width, height = (int(side) for side in body["size"].split("x"))
        if fault == "size":
            width += 8
        data = self.server.images.setdefault(f"{width}x{height}", png(width, height))
        if fault == "short":
            data = data[: len(data) // 2]
        encoded = base64.b64encode(b"not an image" if fault == "text" else data).decode()
        count = body["n"] - 1 if fault == "few" else body["n"]
        if fault == "500":
            self._answer(500, {"error": {"message": "melted"}})
        elif fault == "empty":
            self._answer(200, {})
        else:
            flop = options["flop"]
            if isinstance(flop, float):
                flop = repr(flop * count)
            headers = {} if flop is None else {"X-Flop": flop}
            self._answer(200, {"data": [{"b64_json": encoded}] * count}, headers)

    def _refused(self) -> bool:
        key = self.server.options["key"]
        if key is None or self.headers.get("Authorization") == f"Bearer {key}":
            return False
        self._answer(401, {"error": {"message": "wrong key"}})
        return True

    def _answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


if __name__ == "__main__":
    server = Server({**DEFAULTS, **json.loads(sys.argv[1])})
    print(server.server_address[1], flush=True)
    server.serve_forever()
