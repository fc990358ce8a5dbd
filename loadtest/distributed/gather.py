"""The driver's side of a run with workers on other machines: may it be so, and have they come."""

import secrets
import socket
import time
from collections.abc import Callable

import msgspec
from rich.console import Console

from loadtest.client.address import is_loopback, parse
from loadtest.distributed.handshake import MASTER_PORT, TOKEN_ENV
from loadtest.errors import ConfigurationError, ViralloadError
from loadtest.system.processes import Child
from profiles.record.folder import RunFolder

LOOK_S = 0.25
SAY_EVERY_S = 10.0
COMING_AND_GOING = ("worker_joined", "worker_left", "worker_failed", "worker_refused")


class Workers(msgspec.Struct, frozen=True, kw_only=True):
    """How many workers are expected, where, and for how long."""

    count: int
    host: str  # that the master binds to
    port: int
    wait_s: float

    @property
    def is_open(self) -> bool:
        """Whether other machines can reach the master."""
        return not is_loopback(self.host)


def check(workers: Workers, target: str | None) -> None:
    """Whether such workers can play a run of `target`, the URL of --host.

    Raises:
        ConfigurationError: they could not reach it, or the master cannot listen there.
    """
    remedy = "start one with `viralload serve --host ADDRESS` and name it with --host URL"
    if workers.is_open and target is None:
        raise ConfigurationError(
            "--expect-workers: the server that a run starts listens on loopback, where workers on "
            f"other machines cannot reach it; {remedy}"
        )
    if target is not None and workers.is_open and parse(target).is_loopback:
        raise ConfigurationError(
            f"--host: {target} is each worker's own machine; name the address that all of them "
            f"reach; or {remedy}"
        )
    try:
        family = socket.AF_INET6 if ":" in workers.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((workers.host, workers.port))
    except OSError as err:
        raise ConfigurationError(
            f"--master-bind-host: cannot listen on {workers.host}:{workers.port}: "
            f"{err.strerror or err}"
        ) from err


def token_for(workers: Workers, own: str | None) -> str:
    """What workers must know: the user's own token, or a fresh one where strangers could come."""
    return own or (secrets.token_hex(8) if workers.is_open else "")


def invitation(workers: Workers, token: str, own: str | None) -> str:
    """What to type on the other machines."""
    host = workers.host if workers.is_open else "127.0.0.1"
    if host in ("0.0.0.0", "::"):  # noqa: S104 - every address of this machine
        host = socket.gethostname()
    host = f"[{host}]" if ":" in host else host
    port = "" if workers.port == MASTER_PORT else f":{workers.port}"
    known = f"{TOKEN_ENV}={token} " if token and token != own else ""
    where = "on each" if workers.is_open else "on each, through an SSH tunnel, or here"
    return (
        f"workers: waiting for {workers.count}; start them, {where}: "
        f"{known}viralload worker {host}{port}"
    )


def gather(
    workers: Workers,
    folder: RunFolder,
    generator: Child,
    clock: Callable[[], float],
    console: Console,
) -> None:
    """Wait until all have come, and say who comes and goes.

    Raises:
        ViralloadError: they have not come in time, or the master ended.
    """
    begin_s = said_s = clock()
    events = folder.events()
    here = 0
    while here < workers.count:
        time.sleep(LOOK_S)
        for event in events.read():
            if event.kind in COMING_AND_GOING:
                what = event.kind.removeprefix("worker_")
                console.print(f"workers: {what}: {event.detail}", highlight=False, soft_wrap=True)
                here += {"joined": 1, "left": -1}.get(what, 0)
        if generator.exit_code() is not None:
            raise ViralloadError(f"the load generator's master ended: {generator.last_words()}")
        waited_s = clock() - begin_s
        if waited_s > workers.wait_s and here < workers.count:
            raise ViralloadError(
                f"{here} of {workers.count} workers came in {workers.wait_s:.0f} s: start the "
                "others with `viralload worker`, see that they reach this machine's "
                f"{workers.host}:{workers.port}, or wait longer with --expect-workers-max-wait"
            )
        if clock() - said_s >= SAY_EVERY_S:
            said_s = clock()
            console.print(
                f"workers: {here} of {workers.count} after {waited_s:.0f} s", highlight=False
            )
