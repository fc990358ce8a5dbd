"""One request on a connection of its own, outside the load: one deadline for all of it. Blocking.

The same bounds hold as in the load (`loadtest.client.connection`), and what can go wrong is told in
one line that names the cause and, where there is one, the remedy.
"""

import socket
import ssl
import time
from collections.abc import Mapping
from typing import NoReturn
from urllib.parse import urlsplit

import msgspec

from loadtest.client.connection import FIRST_BYTES, HungUp, Wire, WireError
from loadtest.client.content_coding import CodingError, unpack

MAX_BYTES = 1 << 24  # of an answer; a list of 100,000 models


class Unanswered(Exception):  # noqa: N818 - it is what happened
    """There was no whole answer; the text says why. `is_timeout`: none came in time."""

    def __init__(self, why: str, *, is_timeout: bool = False, may_be_down: bool = False) -> None:
        super().__init__(why)
        self.is_timeout = is_timeout
        self.may_be_down = may_be_down


class Answer(msgspec.Struct, frozen=True):
    """A whole answer, its body unpacked."""

    status: int
    headers: dict[str, str]
    body: bytes


def ask(
    url: str,
    headers: Mapping[str, str],
    body: bytes | None = None,
    *,
    timeout_s: float,
    most_bytes: float = MAX_BYTES,
) -> Answer:
    """The answer to a GET, or to a POST of `body` where there is one.

    Args:
        url: http(s), percent-encoded.
        headers: Beside those that every request has; ASCII.
        body: JSON.
        timeout_s: For everything, from the connection to the answer's last byte.
        most_bytes: That the answer's body may have.

    Raises:
        Unanswered: No whole answer came; says why.
    """
    until_s = time.monotonic() + timeout_s
    parts = urlsplit(url)
    try:
        plug = _connect(parts.scheme == "https", parts.hostname or "", parts.port, timeout_s)
        with plug:
            wire = Wire(_Timed(plug, until_s), scratch=memoryview(bytearray(FIRST_BYTES)))
            reply, came = wire.ask(_request(url, headers, body), lambda: None, most_bytes)
        coding = reply.headers.get("content-encoding", "")
        return Answer(reply.status, reply.headers, bytes(unpack(came, coding, most_bytes)))
    except (OSError, WireError, CodingError) as err:
        _translate(err, timeout_s)


def reason(err: Exception) -> str:
    """What an error of a connection means, in a few words, with the remedy where one is known."""
    if isinstance(err, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {_certificate(err)}"
    if isinstance(err, ssl.SSLError):
        if err.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"):
            return "it does not speak TLS at that port: give --host http://..."
        return f"TLS failed ({err.reason or err})"
    if isinstance(err, OSError) and err.strerror:
        return str(err.strerror)
    return str(err) or type(err).__name__


def _certificate(err: ssl.SSLCertVerificationError) -> str:
    said = err.verify_message
    if "ostname mismatch" in said or "IP address mismatch" in said:
        return f"{said}; give --host the name that it is for"
    if "expired" in said or "not yet valid" in said:
        return f"{said}; have it renewed, and see this machine's clock"
    return f"{said}; if you trust it, name its issuer's PEM file: SSL_CERT_FILE=FILE viralload ..."


def _translate(err: OSError | WireError | CodingError, timeout_s: float) -> NoReturn:
    if isinstance(err, TimeoutError):
        raise Unanswered(
            f"no whole answer in {timeout_s:g} s", is_timeout=True, may_be_down=True
        ) from err
    down = (isinstance(err, OSError) and not isinstance(err, ssl.SSLError)) or type(err) is HungUp
    raise Unanswered(reason(err), may_be_down=down) from err


def _request(url: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [
        f"{'GET' if body is None else 'POST'} {path} HTTP/1.1",
        f"Host: {parts.netloc}",
        "Accept: application/json",
        "Accept-Encoding: identity",
        "Connection: close",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + (body or b"")


def _connect(is_tls: bool, host: str, port: int | None, timeout_s: float) -> socket.socket:
    plug = socket.create_connection((host, port or (443 if is_tls else 80)), timeout_s)
    if not is_tls:
        return plug
    try:
        return ssl.create_default_context().wrap_socket(plug, server_hostname=host)
    except BaseException:
        plug.close()
        raise


class _Timed:
    """A socket with one deadline for all that is done on it."""

    def __init__(self, plug: socket.socket, until_s: float) -> None:
        self._plug, self._until_s = plug, until_s

    def recv_into(self, buffer: memoryview) -> int:
        self._set()
        return self._plug.recv_into(buffer)

    def sendall(self, data: bytes) -> None:
        self._set()
        self._plug.sendall(data)

    def close(self) -> None:
        self._plug.close()

    def _set(self) -> None:
        left_s = self._until_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        self._plug.settimeout(left_s)
