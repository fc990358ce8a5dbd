"""What HAProxy is told: its configuration, and which replica stands where. All pure."""

from collections.abc import Collection, Iterator, Sequence

from serve.api.failures import BODY_S, too_long, too_slow
from serve.api.requests import ApiError
from serve.ingress.asgi import Health
from serve.ingress.foreign_headers import (
    BAD_REQUEST_ID,
    NO_METHOD,
    NO_PATH,
    NO_UPGRADE,
    OF_RAY,
    REQUEST_ID,
)

# A replica that ends is told of before its successor comes, so both may hold a place for a while.
SPARE_PLACES = 4
# Connections beside those that wait for an image: 8 KB each while idle, 128 KB while a body comes.
SPARE_CONNECTIONS = 8192
# What HAProxy answers by itself. What it cannot read as HTTP, a head that does not come and a
# coding it does not know get its own plain 400, 408 and 422, which nothing can replace.
OWN_ERRORS = {
    400: "the request did not arrive whole, or is no valid HTTP",
    404: NO_PATH,
    405: NO_METHOD,
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
    maxconn {connections}
    tune.bufsize 131072  # an image of 100 KB in one piece, and the longest body by default
    noreuseport  # a port that is taken is an error
defaults
    mode http
    timeout connect 5s
    timeout check 5s
    timeout http-request {patience_ms:.0f}ms  # for the head of a request alone
    timeout http-keep-alive 10m
    timeout client {patience_ms:.0f}ms  # to send or read what is due; clients may wait for ever
    timeout server 24d  # an image may take its time: who waits too long hangs up
    option abortonclose  # a client that hangs up is told to the replica
    option http-no-delay  # streamed events leave at once
    option redispatch 1
    retries 3
    retry-on conn-failure  # never what a replica may have begun
    {errors}
frontend door
    bind {address} proto h1  # no HTTP/2: one protocol, one set of rules
    {refusals}
    {health}
    # Nothing goes on before it has come whole, so that slow senders take no place of a replica's.
    http-request wait-for-body time {patience_ms:.0f}ms
    {too_long}
    {headers}
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


def configure(
    *,
    address: str,
    replicas: int,
    threads: int,
    control: int,
    connections: int,
    body_limit: int,
    patience_s: float = BODY_S,
) -> str:
    """HAProxy's configuration.

    Args:
        address: `host:port` to listen on.
        replicas: How many must be up for `GET /health` to answer 200.
        threads: HAProxy's own.
        control: File descriptor of the listening control socket.
        connections: Most clients at a time; more wait until another leaves.
        body_limit: Longest body in bytes.
        patience_s: How long a head may take, a body, and a pause of a client that ought to read.
    """
    is_too_long = _return(too_long(body_limit), f"req.body_size gt {body_limit}")
    return CONFIGURATION.format(
        address=address,
        control=control,
        threads=threads,
        connections=connections,
        patience_ms=1e3 * patience_s,
        places=replicas + SPARE_PLACES,
        errors="\n    ".join(_errors(patience_s)),
        refusals="\n    ".join([*_refusals(), is_too_long]),
        too_long=is_too_long,
        headers="\n    ".join(_without_rays_headers()),
        health="\n    ".join(_health(ready, replicas) for ready in range(replicas + 1)),
    )


def connections_for(waiting: int, open_files: int) -> int:
    """Most clients at a time, so that as many as may wait do, and a bound stands.

    Args:
        waiting: How many requests all replicas together may hold.
        open_files: How many the process may have; a client takes two.
    """
    return max(64, min(SPARE_CONNECTIONS + 2 * waiting, (open_files - 256) // 2))


def assign(places: Sequence[int | None], ports: Collection[int]) -> list[int | None]:
    """Which replica's port stands in each place: those that stay keep theirs.

    More ports than places are left out.
    """
    kept = [port if port in ports else None for port in places]
    new = iter(sorted(set(ports) - set(kept)))
    return [next(new, None) if port is None else port for port in kept]


class Settled:
    """Which replicas to believe in, told by a controller that may just have come back.

    A controller that was killed begins anew knowing no replica, and learns of those that go on
    serving one by one. So a replica that it leaves out stays for a while: HAProxy sees for itself
    within a quarter of a second whether one listens no more.

    Args:
        patience_s: How long one that is not told of any more stays.
    """

    def __init__(self, patience_s: float = 5.0) -> None:
        self._patience_s = patience_s
        self._told_s: dict[int, float] = {}

    def after(self, ports: Collection[int], now_s: float) -> set[int]:
        """The ports to route to at `now_s` (monotonic), when these are told of."""
        self._told_s.update(dict.fromkeys(ports, now_s))
        oldest_s = now_s - self._patience_s
        self._told_s = {port: at_s for port, at_s in self._told_s.items() if at_s >= oldest_s}
        return set(self._told_s)


def _health(ready: int, replicas: int) -> str:
    """The rule that answers `GET /health` while so many replicas are up."""
    health = Health(is_ready=ready == replicas, replicas_ready=ready, replicas=replicas)
    status, body = health.answer()
    compare = "ge" if ready == replicas else "eq"
    return (
        f"http-request return status {status} content-type application/json string {_quote(body)} "
        f"if METH_GET {{ path /health }} {{ nbsrv(replicas) {compare} {ready} }}"
    )


def _refusals() -> Iterator[str]:
    """The rules that refuse what no replica is to see."""
    upgrades = "req.fhdr(upgrade) -m found } !{ req.fhdr(upgrade) -m beg -i h2"
    yield _return(ApiError(400, NO_UPGRADE, code="proxy_error"), upgrades)
    # Ray's own paths, however they are written.
    yield _return(ApiError(404, NO_PATH, code="unknown_url"), "path,url_dec -m beg /-")
    yield _return(ApiError(405, NO_METHOD, code="unknown_url"), "method CONNECT TRACE")


def _without_rays_headers() -> Iterator[str]:
    """The rules that keep from Ray what only Ray would read."""
    yield f"http-request del-header {REQUEST_ID} if {{ req.fhdr({REQUEST_ID}) -m reg " + (
        _quote(BAD_REQUEST_ID.encode()) + " }"
    )
    for name in OF_RAY:
        yield f"http-request del-header '^{name}$' -m reg"
    yield "http-request del-header upgrade"


def _return(err: ApiError, condition: str) -> str:
    """The rule that answers a request with an error."""
    told = f"status {err.status} content-type application/json string {_quote(err.body())}"
    return f"http-request return {told} if {{ {condition} }}"


def _errors(patience_s: float) -> Iterator[str]:
    """What HAProxy says where it has to answer by itself."""
    errors = [ApiError(status, text, code="proxy_error") for status, text in OWN_ERRORS.items()]
    for err in [*errors, too_slow(patience_s)]:
        told = f"status {err.status} content-type application/json string {_quote(err.body())}"
        yield f"http-error {told}" + (" hdr Retry-After 1" if err.status == 503 else "")


def _quote(text: bytes) -> str:
    """A word of HAProxy's configuration that means exactly this text."""
    return "'" + text.decode().replace("'", "'\\''") + "'"
