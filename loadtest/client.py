"""One request over HTTP, as it happened. Cooperative (gevent): callers run many at once."""

import errno
import math
import socket
import ssl
import time
from collections.abc import Callable

import gevent
import msgspec
from geventhttpclient.client import HTTPClient
from geventhttpclient.response import HTTPParseError

CONNECT_TIMEOUT_S = 10.0
BLOCK_BYTES = 1 << 16
# Out of open files (of the process, of the machine), of source ports, of buffers or memory
LOCAL_ERRNOS = (
    errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.EADDRINUSE, errno.ENOBUFS, errno.ENOMEM,
)  # fmt: skip
NO_CAP = 1 << 20  # connections: a hidden cap would hold requests back unseen


class Exchange(msgspec.Struct, kw_only=True):
    """What happened to one request; instants are monotonic seconds, None if never reached."""

    sent_s: float
    first_byte_s: float | None = None
    done_s: float | None = None
    status: int | None = None
    headers: dict[str, str] = {}
    body: bytes = b""
    error: str | None = None
    is_local: bool = False  # the error is this machine's, not the server's or the network's
    timed_out: bool = False
    gave_up: bool = False  # timed out by the person's patience, not by the client's limit


class ImageClient:
    """Posts JSON to one URL over kept-alive connections, as many at once as asked."""

    def __init__(
        self,
        url: str,
        timeout_s: float,
        key: str | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeout_s = timeout_s
        self._clock = clock
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        self._http = HTTPClient.from_url(
            url,
            concurrency=NO_CAP,
            connection_timeout=min(CONNECT_TIMEOUT_S, timeout_s),
            network_timeout=timeout_s,
            block_size=BLOCK_BYTES,
            ssl_context_factory=ssl.create_default_context,
        )
        self._path = "/" + url.split("://", 1)[1].partition("/")[2]

    def exchange(self) -> Exchange:
        """An exchange that begins now."""
        return Exchange(sent_s=self._clock())

    def post(self, exchange: Exchange, body: bytes, patience_s: float = math.inf) -> None:
        """Send `body`, wait for the whole answer (`timeout_s` at most), and fill in `exchange`.

        Whose `patience_s` is shorter hangs up then. Raises nothing that the network or the server
        can cause.
        """
        limit = gevent.Timeout.start_new(max(min(self._timeout_s, patience_s), 1e-3))
        try:
            response = self._http.post(self._path, body, self._headers)
            exchange.first_byte_s = self._clock()
            exchange.status = response.status_code
            exchange.body = response.read()
            exchange.headers = {
                name.lower(): value for name, value in response.items() if isinstance(value, str)
            }
        except gevent.Timeout as timeout:
            if timeout is not limit:
                raise
            exchange.timed_out = True
            exchange.gave_up = patience_s < self._timeout_s
        except (TimeoutError, socket.timeout):  # noqa: UP041 - gevent's own class on some versions
            exchange.timed_out = True
        except (OSError, HTTPParseError) as err:
            exchange.error = str(err) or type(err).__name__
            exchange.is_local = getattr(err, "errno", None) in LOCAL_ERRNOS
        finally:
            exchange.done_s = self._clock()
            limit.close()
