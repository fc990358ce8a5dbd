"""What HAProxy is told: its configuration, and which replica stands where. All pure."""

from collections.abc import Collection, Sequence

from serve.api import ApiError
from serve.front import Health

# A replica that ends is told of before its successor comes, so both may hold a place for a while.
SPARE_PLACES = 4
# What HAProxy answers by itself, but for what is no HTTP at all: that gets its own plain 400.
OWN_ERRORS = {
    500: "the request failed inside the server; try again",
    502: "the replica failed while it held the request; try again",
    503: "no replica is warm; try again soon",
    504: "the replica took too long; try again",
}

CONFIGURATION = """\
global
    stats socket fd@{control} level admin
    stats timeout 24d
    nbthread {threads}
    tune.bufsize 131072  # an image of 100 KB in one piece
    fd-hard-limit 262144
    noreuseport  # a port that is taken is an error
defaults
    mode http
    timeout connect 5s
    timeout check 5s
    timeout http-request 30s  # for the head of a request alone
    timeout http-keep-alive 10m
    timeout client 24d  # an image may take its time: who waits too long hangs up
    timeout server 24d
    option abortonclose  # a client that hangs up is told to the replica
    option http-no-delay  # streamed events leave at once
    option redispatch 1
    retries 3
    retry-on conn-failure  # never what a replica may have begun
    {errors}
frontend door
    bind {address}
    {health}
    # A request that was accepted and lost is no refusal but a failure, as Ray's proxy has it.
    http-after-response set-status 500 reason "Internal Server Error" if {{ status 502 }}
    default_backend replicas
backend replicas
    balance leastconn
    # A replica listens from when it is warm until its process ends, and Ray replaces those that
    # hang: so connecting is the whole check, which a busy event loop cannot fail.
    default-server check inter 1s fastinter 250ms downinter 250ms rise 1 fall 2
    default-server observe layer4 error-limit 1 on-error mark-down
    server-template r 1-{places} 127.0.0.1:1 disabled
"""


def configure(*, address: str, replicas: int, threads: int, control: int) -> str:
    """HAProxy's configuration.

    Args:
        address: `host:port` to listen on.
        replicas: How many must be up for `GET /health` to answer 200.
        threads: HAProxy's own.
        control: File descriptor of the listening control socket.
    """
    return CONFIGURATION.format(
        address=address,
        control=control,
        threads=threads,
        places=replicas + SPARE_PLACES,
        errors="\n    ".join(_error(status, text) for status, text in OWN_ERRORS.items()),
        health="\n    ".join(_health(ready, replicas) for ready in range(replicas + 1)),
    )


def assign(places: Sequence[int | None], ports: Collection[int]) -> list[int | None]:
    """Which replica's port stands in each place: those that stay keep theirs.

    More ports than places are left out.
    """
    kept = [port if port in ports else None for port in places]
    new = iter(sorted(set(ports) - set(kept)))
    return [next(new, None) if port is None else port for port in kept]


def _health(ready: int, replicas: int) -> str:
    """The rule that answers `GET /health` while so many replicas are up."""
    health = Health(is_ready=ready == replicas, replicas_ready=ready, replicas=replicas)
    status, body = health.answer()
    compare = "ge" if ready == replicas else "eq"
    return (
        f"http-request return status {status} content-type application/json string {_quote(body)} "
        f"if METH_GET {{ path /health }} {{ nbsrv(replicas) {compare} {ready} }}"
    )


def _error(status: int, text: str) -> str:
    body = ApiError(status, text, code="proxy_error").body()
    retry = " hdr Retry-After 1" if status == 503 else ""
    return f"http-error status {status} content-type application/json string {_quote(body)}{retry}"


def _quote(text: bytes) -> str:
    """A word of HAProxy's configuration that means exactly this text."""
    return "'" + text.decode().replace("'", "'\\''") + "'"
