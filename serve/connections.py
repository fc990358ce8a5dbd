"""The replica's HTTP connections: what is lost is let go of."""

from typing import Any

from uvicorn.protocols.http import auto


def let_go_of_lost() -> None:
    """Make uvicorn cancel the keep-alive timer of every connection that is lost.

    uvicorn 0.54 leaves it be where the other end resets the connection, as HAProxy does with those
    that it keeps no longer. The timer holds on to the connection and its last request until
    `timeout_keep_alive` is over, which is an hour here: objects pile up, and each round of the
    garbage collector over them holds every request up.
    """
    protocol: Any = auto.AutoHTTPProtocol
    original = protocol.connection_lost

    def connection_lost(self: Any, exc: Exception | None) -> None:
        self._unset_keepalive_if_required()
        original(self, exc)

    protocol.connection_lost = connection_lost
