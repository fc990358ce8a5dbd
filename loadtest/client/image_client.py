"""One request over HTTP, as it happened. Cooperative (gevent): callers run many at once."""

import errno
import ipaddress
import math
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import gevent
import gevent.socket
import gevent.ssl
import msgspec

from loadtest.client.connection import HungUp, Wire, WireError

CONNECT_TIMEOUT_S = 10.0
PEEK_BYTES = 12  # "HTTP/1.1 408"
TIMED_OUT = b" 408"
# Out of open files (of the process, of the machine), of source ports, of buffers or memory
LOCAL_ERRNOS = (
    errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.EADDRINUSE, errno.ENOBUFS, errno.ENOMEM,
)  # fmt: skip

_sockets: Any = gevent.socket  # cooperative in a process that is not patched, too
_tls: Any = gevent.ssl


NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Exchange(msgspec.Struct, kw_only=True):
    """What happened to one request; instants are monotonic seconds, None if never reached."""

    sent_s: float
    first_byte_s: float | None = None
    done_s: float | None = None
    status: int | None = None
    headers: dict[str, str] = {}
    body: bytes | bytearray = b""
    error: str | None = None
    is_local: bool = False  # the error is this machine's, not the server's or the network's
    timed_out: bool = False
    gave_up: bool = False  # timed out by the person's patience, not by the client's limit


class ImageClient:
    """Posts JSON to one URL over kept-alive connections, as many at once as asked.

    A request that finds no idle connection opens one: there is no cap that would hold requests back
    unseen. A request is sent again only where a kept connection turns out to be closed before any
    byte of an answer came, as HTTP/1.1 servers do to idle ones.

    Args:
        url: http(s), percent-encoded.
        timeout_s: For a whole exchange.
        headers: Beside those that every request has; ASCII, checked where they were given.
        clock: Monotonic seconds.

    Attributes:
        unasked: Connections on which bytes came that nobody had asked for.
    """

    def __init__(
        self,
        url: str,
        timeout_s: float,
        headers: Mapping[str, str] = NO_HEADERS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeout_s = timeout_s
        self._clock = clock
        parts = urlsplit(url)
        is_tls = parts.scheme == "https"
        self._tls = _tls.create_default_context() if is_tls else None
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if is_tls else 80)
        self._address = _numeric(self._host, self._port)
        self._idle: list[Wire] = []
        self.unasked = 0
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        lines = [
            f"POST {path or '/'} HTTP/1.1",
            f"Host: {parts.netloc.rpartition('@')[2]}",
            "Content-Type: application/json",
            "Accept: application/json",
            "Accept-Encoding: identity",
            *(f"{name}: {value}" for name, value in headers.items()),
            "Content-Length: ",
        ]
        self._head = _ascii("\r\n".join(lines))

    def exchange(self) -> Exchange:
        """An exchange that begins now."""
        return Exchange(sent_s=self._clock())

    def post(
        self,
        exchange: Exchange,
        body: bytes,
        patience_s: float = math.inf,
        most_bytes: float = math.inf,
    ) -> None:
        """Send `body`, wait for the whole answer (`timeout_s` at most), and fill in `exchange`.

        Whose `patience_s` is shorter hangs up then; so does who gets more than `most_bytes` of a
        body. Raises nothing that the network or the server can cause.
        """
        request = b"%b%d\r\n\r\n%b" % (self._head, len(body), body)
        limit = gevent.Timeout.start_new(max(min(self._timeout_s, patience_s), 1e-3))
        try:
            self._ask(exchange, request, most_bytes)
        except gevent.Timeout as timeout:
            if timeout is not limit:
                raise
            exchange.timed_out = True
            exchange.gave_up = patience_s < self._timeout_s
        except TimeoutError:  # of connecting
            exchange.timed_out = True
        except (OSError, WireError) as err:
            exchange.error = str(err) or type(err).__name__
            exchange.is_local = getattr(err, "errno", None) in LOCAL_ERRNOS
        except Exception as err:  # noqa: BLE001 - one answer must not cost a run its record
            exchange.error = f"the answer cannot be read: {type(err).__name__}"
        finally:
            exchange.done_s = self._clock()
            limit.close()

    def close(self) -> None:
        """Hang up on all connections that wait."""
        while self._idle:
            self._idle.pop().close()

    def _ask(self, exchange: Exchange, request: bytes, most_bytes: float) -> None:
        def came() -> None:
            exchange.first_byte_s = self._clock()

        wire = self._kept() or self._connect()
        is_whole = False
        try:
            try:
                reply, body = wire.ask(request, came, most_bytes)
            except (ConnectionError, ssl.SSLEOFError, HungUp):
                if not wire.is_reused or exchange.first_byte_s is not None:
                    raise
                wire.close()
                wire = self._connect()
                reply, body = wire.ask(request, came, most_bytes)
            exchange.status, exchange.headers, exchange.body = reply.status, reply.headers, body
            is_whole = reply.is_kept
        finally:
            if is_whole:
                wire.is_reused = True
                self._idle.append(wire)
            else:
                wire.close()

    def _kept(self) -> Wire | None:
        """An idle connection on which nothing came since its answer; others are dropped.

        Bytes there would be taken for the next answer. The end of the connection is no fault, and
        neither is a 408, with which a server tells that it waited long enough.
        """
        while self._idle:
            wire = self._idle.pop()
            came = _unasked(wire.plug)
            if came is None:
                return wire
            wire.close()
            if came and not came.endswith(TIMED_OUT):
                self.unasked += 1
        return None

    def _connect(self) -> Wire:
        limit_s = min(CONNECT_TIMEOUT_S, self._timeout_s)
        plug: Any
        if self._address is None:
            plug = _sockets.create_connection((self._host, self._port), limit_s)
        else:  # no look-up: that would take a thread for every connection
            family, address = self._address
            plug = _sockets.socket(family, socket.SOCK_STREAM)
            plug.settimeout(limit_s)
            try:
                plug.connect(address)
            except BaseException:
                plug.close()
                raise
        plug.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is not None:
            try:
                plug = self._tls.wrap_socket(plug, server_hostname=self._host)
            except BaseException:
                plug.close()
                raise
        plug.settimeout(None)
        return Wire(plug, _turn)


def _unasked(plug: Any) -> bytes | None:
    """The first bytes that came on an idle connection; none: it ended; None: it is as it was."""
    plug.settimeout(0.0)
    try:
        came: bytes = plug.recv(PEEK_BYTES)
    except (BlockingIOError, ssl.SSLWantReadError):
        plug.settimeout(None)
        return None
    except OSError:
        return b""
    return came


def _ascii(head: str) -> bytes:
    try:
        return head.encode("ascii")
    except UnicodeEncodeError:  # its text holds what was to be sent, keys included
        raise ValueError("an address or a header holds a letter beyond ASCII") from None


def _turn() -> None:
    """Let other greenlets run, and time limits pass."""
    gevent.sleep(0)


def _numeric(host: str, port: int) -> tuple[int, tuple[Any, ...]] | None:
    """Family and address of a numeric host; None of a name."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if address.version == 6:
        return socket.AF_INET6, (host, port, 0, 0)
    return socket.AF_INET, (host, port)
