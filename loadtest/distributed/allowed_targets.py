"""Whether a worker may send its key to the server that a master names. Pure."""

from urllib.parse import urlsplit

from loadtest.client.address import Address, is_loopback, parse
from loadtest.distributed.handshake import TOKEN_ENV
from loadtest.errors import ConfigurationError

PORTS = {"http": 80, "https": 443}


def check_target(
    base_url: str, path: str, *, told: Address | None, has_token: bool, has_secret: bool
) -> None:
    """Refuse a target that this machine's user cannot have meant.

    Args:
        base_url: Of the job, `scheme://host[:port]`.
        path: Of the job: of the endpoint, with a query or without.
        told: What --host of the worker says; None: nothing.
        has_token: Whether the master has proved that it knows a token that is not empty.
        has_secret: Whether a key, a password or the like would be sent along.

    Raises:
        ConfigurationError: --host says another, or a secret would go where nobody vouches for it.
    """
    server = parse(base_url)
    if told is not None:
        if not _is_same(told, server, path):
            raise ConfigurationError(
                f"the run's target is {server.origin}{path.partition('?')[0]}, and --host of this "
                f"worker says {told.shown}: nothing was sent; give both the same"
            )
        return
    if not has_secret:
        return
    remedy = f"name it with --host {server.origin}"
    if not has_token:
        raise ConfigurationError(
            f"the master proved nothing, for no {TOKEN_ENV} is set, and it names {server.origin} "
            f"as the target, where this worker's key would go: nothing was sent; {remedy}, or set "
            f"{TOKEN_ENV} on both machines"
        )
    if urlsplit(base_url).scheme != "https" and not is_loopback(server.hostname):
        raise ConfigurationError(
            f"this worker's key would cross the network unencrypted to {server.origin}: nothing "
            f"was sent; if that is meant, {remedy}"
        )


def _is_same(told: Address, server: Address, path: str) -> bool:
    asked = path.partition("?")[0].rstrip("/")
    paths = {told.images(base).partition("?")[0].rstrip("/") for base in told.bases()}
    return _place(told) == _place(server) and asked in paths


def _place(server: Address) -> tuple[str, str, int | None]:
    parts = urlsplit(server.origin)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or PORTS.get(parts.scheme)
