"""A server of one odd habit a request, in a thread of the test; it repeats whatever opened it.

    with serving(habit("ssh")) as url: ...

An answer is a function of what was asked. `SECRETS` are what a test opens it with; `Asked.echo`
holds all that the request carried of them, and the habits put it wherever a server may put words.
"""

import base64
import contextlib
import functools
import gzip
import io
import json
import socket
import threading
from collections.abc import Callable, Iterator
from urllib.parse import parse_qs, urlsplit

import brotli
import msgspec
from PIL import Image

KEY, PASSWORD, HEADER, PARAMETER = "sk-MARK-1key", "MARK-2/word", "MARK-3header", "MARK-4query"
SECRETS = (KEY, PASSWORD, HEADER, PARAMETER, "MARK-")


class Asked(msgspec.Struct, frozen=True):
    """A request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def fields(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.body or b"{}")
        return found

    @property
    def echo(self) -> str:
        """Every secret that came along, decoded where it was encoded."""
        value = self.headers.get("authorization", "")
        words = [value, value.partition(" ")[2], self.headers.get("x-mark", "")]
        if value.startswith("Basic "):
            words.append(base64.b64decode(value[6:]).decode())
        words += [one for each in parse_qs(urlsplit(self.target).query).values() for one in each]
        return " ".join(words)


Habit = Callable[[Asked], bytes | Iterator[bytes]]  # all at once, or piece by piece


def answer(status: int, body: object = b"", *headers: str, length: bool = True) -> bytes:
    """A whole answer; JSON unless the body is bytes."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} x", "Content-Type: application/json", *headers]
    lines += [f"Content-Length: {len(data)}"] if length else []
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + data


@functools.cache
def png(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, "PNG")
    return file.getvalue()


def images(asked: Asked, prefix: str = "", line: int = 0) -> bytes:
    """The body of a good answer."""
    width, height = (int(side) for side in str(asked.fields.get("size", "64x64")).split("x"))
    data = base64.b64encode(png(width, height)).decode()
    data = "\n".join(data[k : k + line] for k in range(0, len(data), line)) if line else data
    number = asked.fields.get("n", 1)
    assert isinstance(number, int)
    return json.dumps({"created": 1, "data": [{"b64_json": prefix + data}] * number}).encode()


def _said(status: int, **body: object) -> Habit:
    """An error in some form, with the request's secrets in its words."""

    def habit(asked: Asked) -> bytes:
        text = json.dumps(body).replace("ECHO", asked.echo.replace("\\", "").replace('"', ""))
        return answer(status, text.encode())

    return habit


# By name: what is answered, and what of it stands in the record
ANSWERS: dict[str, tuple[Habit, str]] = {
    "echo": (_said(400, error={"message": "bad key ECHO"}), "HTTP 400: bad key ***"),
    "echo at the cut": (
        _said(500, error={"message": "x" * 190 + " ECHO"}), "HTTP 500: " + "x" * 190
    ),
    "echo in 200": (_said(200, error="unknown ECHO"), "the answer has no data: unknown ***"),
    "echo in words of its own": (_said(403, detail="ECHO"), "HTTP 403: ***"),
    "echo as text": (lambda a: answer(502, a.echo.encode()), "HTTP 502: ***"),
    "echo as a page": (
        lambda a: answer(502, f"<html><title>{a.echo}</title>".encode()), "HTTP 502: a web page"
    ),
    "echo in a redirect": (
        lambda a: answer(307, b"", f"Location: /{a.echo.replace(' ', '-')}"),
        "HTTP 307: redirects to http://127.0.0.1",
    ),
    "echo in Content-Length": (
        lambda a: answer(200, b"", f"Content-Length: {a.echo}", length=False),
        "the answer's Content-Length is",
    ),
    "echo in Transfer-Encoding": (
        lambda a: answer(200, b"", f"Transfer-Encoding: {a.echo}", length=False),
        "the answer's transfer encoding is",
    ),
    "echo in Content-Encoding": (
        lambda a: answer(200, images(a), f"Content-Encoding: {a.echo}"),
        "the answer's Content-Encoding is",
    ),
    "echo in the first line": (
        lambda a: f"HTTP/1.1 2xx {a.echo}\r\n\r\n".encode(), "the answer is no HTTP/1.1"
    ),
    "echo in headers": (
        lambda a: answer(500, b"", *(f"{name}: {a.echo}" for name in (
            "X-Request-ID", "X-Replica", "X-GPU-UUID", "Server-Timing", "X-Flop", "Retry-After"))),
        "HTTP 500",
    ),
    "no words": (lambda _: answer(500), "HTTP 500"),
    "detail": (_said(400, detail="no storage"), "HTTP 400: no storage"),
    "fields": (
        _said(422, detail=[{"loc": ["body", "size"], "msg": "field required"}]),
        "HTTP 422: body.size: field required",
    ),
    "message": (_said(404, message="no such route"), "HTTP 404: no such route"),
    "error in 200": (
        _said(200, data=[], error={"message": "out of memory"}),
        "0 images came back where 1 were asked for: out of memory",
    ),
    "page": (
        lambda _: answer(502, b"<html><title>502 Bad Gateway</title>"),
        "HTTP 502: a web page, '502 Bad Gateway'",
    ),
    "packed words": (
        lambda _: answer(500, gzip.compress(b'{"error":"inside"}'), "Content-Encoding: gzip"),
        "HTTP 500: inside",
    ),
    "bomb": (
        lambda _: answer(200, gzip.compress(bytes(9_000_000)), "Content-Encoding: gzip"),
        "the answer unpacks (gzip) to more than",
    ),
    "data URI": (
        lambda a: answer(200, images(a, prefix="data:image/png;base64,")),
        "an image is a data URI",
    ),
    "MIME": (lambda a: answer(200, images(a, line=76)), "an image's base64 is broken into lines"),
    "moved": (
        lambda a: answer(308, b"", f"Location: {a.path}/"),
        "HTTP 308: redirects to http://127.0.0.1",
    ),
    "LF": (
        lambda a: b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}", "the answer's lines end in LF alone"
    ),
    "ssh": (lambda _: b"SSH-2.0-OpenSSH_9.6\r\n", "the server speaks SSH"),
    "h2": (lambda _: b"\0\0\0\4\0\0\0\0\0", "the server speaks HTTP/2 only"),
    "escapes": (
        _said(500, error="\x1b[31mred\x07\u202e"), r"HTTP 500: \x1b[31mred\x07\u202e"
    ),
    "deep": (lambda _: answer(500, b"[" * 200_000), "HTTP 500"),
    "negative chunk": (
        lambda _: answer(200, b"-5\r\n", "Transfer-Encoding: chunked", length=False),
        "a chunk of the answer has no length",
    ),
    "cut": (lambda a: answer(200, images(a))[:-9], "closed the connection before its answer"),
    "nothing": (lambda _: b"", "closed the connection before its answer was whole"),
}  # fmt: skip

# Answers that are good, for all their oddness
GOOD: dict[str, Habit] = {
    "ok": lambda a: answer(200, images(a)),
    "gzip": lambda a: answer(200, gzip.compress(images(a)), "Content-Encoding: gzip"),
    "br": lambda a: answer(200, brotli.compress(images(a)), "Content-Encoding: br"),
    "interim": lambda a: b"HTTP/1.1 103 Early Hints\r\n\r\n" + answer(200, images(a)),
}


@contextlib.contextmanager
def serving(habit: Habit, models: Habit | None = None) -> Iterator[str]:
    """Answer every POST so, and GETs with `models` (one model, unless told); gives the origin."""
    listed = models or (lambda _: answer(200, {"data": [{"id": "odd"}]}))
    door = socket.create_server(("127.0.0.1", 0), backlog=1024)
    thread = threading.Thread(target=_serve, args=(door, habit, listed), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{door.getsockname()[1]}"
    finally:
        door.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        door.close()


def _serve(door: socket.socket, habit: Habit, models: Habit) -> None:
    while True:
        try:
            plug = door.accept()[0]
        except OSError:
            return
        threading.Thread(target=_one, args=(plug, habit, models), daemon=True).start()


def _one(plug: socket.socket, habit: Habit, models: Habit) -> None:
    """One request a connection: what comes after an odd answer cannot be told."""
    with contextlib.suppress(OSError, ValueError), plug, plug.makefile("rb") as file:
        method, target, _ = file.readline().decode("latin-1").split(" ", 2)
        headers = {}
        while line := file.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        body = file.read(int(headers.get("content-length", 0)))
        asked = Asked(method, target, headers, body)
        told = (models if method == "GET" else habit)(asked)
        for piece in [told] if isinstance(told, bytes) else told:
            plug.sendall(piece)
        plug.shutdown(socket.SHUT_WR)
        plug.recv(1)  # until the client has hung up
