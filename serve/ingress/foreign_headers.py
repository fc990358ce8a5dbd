"""What a request says to Ray behind this server's back, and what it asks to become. Pure.

Ray Serve reads headers of its own, undocumented here, and fails with a traceback and 500 where one
is no UTF-8. Our API knows none of them, so they end at the door; a request's id may pass where it
is a plain one, and comes back in the answer.
"""

import re
from collections.abc import Iterable

REQUEST_ID = "x-request-id"
# What no request id is: longer than this, or not of visible ASCII.
BAD_REQUEST_ID = "[^!-~]|.{129}"
# Ray takes `-` and `_` for the same in these.
OF_RAY = (
    "serve[-_]multiplexed[-_]model[-_]id",
    "x[-_]session[-_]id",
    "x-request-timeout-seconds",
    "x-request-disconnect-disabled",
    "x-serve-router-.*",
)
NO_UPGRADE = "this server speaks HTTP/1.1 alone: send the request without an Upgrade header"
NO_METHOD = "this method is not offered; see POST /v1/images/generations and GET /v1/models"
NO_PATH = "no such path; see POST /v1/images/generations, GET /v1/models, GET /health"

_OF_RAY = re.compile("|".join(OF_RAY).encode())
_BAD_REQUEST_ID = re.compile(BAD_REQUEST_ID.encode())

Headers = list[tuple[bytes, bytes]]


def without(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """ASGI headers (names in lower case) without those that Ray would read."""
    return [
        (name, value)
        for name, value in headers
        if not _OF_RAY.fullmatch(name)
        and not (name == REQUEST_ID.encode() and _BAD_REQUEST_ID.search(value))
    ]


def asks_for_another_protocol(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a request wants to go on as something else than HTTP, as WebSockets do.

    The offer to go on as HTTP/2 (h2c) may be ignored, as clients that make it expect.
    """
    return any(
        name == b"upgrade" and not value.strip().lower().startswith(b"h2")
        for name, value in headers
    )
