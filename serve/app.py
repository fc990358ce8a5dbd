"""The server's door: `serve run serve.app:app model=tiny`, or by itself in the foreground.

    python -m serve.app --settings '{"model": "tiny"}'

starts a Ray of its own on loopback, serves until SIGTERM or SIGINT, and leaves nothing behind.
stdout gets one JSON line once every replica is warm; stderr gets the progress.

Exit codes: 0 stopped by a signal, 1 failed while starting or running, 2 wrong settings.

Ray is imported inside functions: that takes seconds, and settings are checked before it.
"""

import argparse
import contextlib
import errno
import json
import logging
import re
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import msgspec

from serve.devices.selection import place
from serve.edge import in_words
from serve.ingress.haproxy import Ingress, free_port, open_ingress
from serve.models.weights import locate
from serve.ray_cluster import ServerError, check_ray, own_ray, replica_ports
from serve.settings import Settings, SettingsError, from_json, from_strings

if TYPE_CHECKING:
    from ray.serve import Application

EXIT_FAILED = 1
EXIT_USAGE = 2
APPLICATION = "images"
POLL_S = 0.1
WATCH_S = 0.5
LOGGING = {"log_level": "WARNING", "enable_access_log": False}  # a line is 0.1 ms of a request


class Stopped(BaseException):
    """SIGTERM or SIGINT arrived."""


def build(settings: Settings) -> "Application":
    """The Serve application of these settings.

    Raises:
        SettingsError: The settings ask for what this machine does not have.
    """
    from serve.replica.deployment import deploy

    settings, gpus = resolve(settings)
    return deploy(settings, gpus=gpus)


def app(arguments: Mapping[str, str]) -> "Application":
    """The Serve application for `serve run serve.app:app key=value …`."""
    return build(from_strings(arguments))


def resolve(settings: Settings) -> tuple[Settings, int]:
    """The settings with replicas, device and weights made certain, and how many GPUs they take.

    A replica is then told `cuda` or `cpu`, so that it cannot choose otherwise.

    Raises:
        SettingsError: No GPU that can be used though there should be, fewer than replicas, or no
            pipeline at the weights' path.
    """
    placement = place(settings)
    gpus = placement.gpus
    replicas = settings.replicas or max(gpus, 1)
    if gpus and replicas > gpus:
        raise SettingsError(
            f"settings: replicas: {replicas} need a GPU each, {gpus} visible; use replicas={gpus}"
        )
    if placement.note is not None:
        _say(f"note: {placement.note}")
    cache = settings.cache and str(Path(settings.cache).expanduser().absolute())  # Ray is elsewhere
    settings = msgspec.structs.replace(
        settings, replicas=replicas, device="cuda" if gpus else "cpu", cache=cache
    )
    return locate(settings), replicas if gpus else 0


def main(argv: list[str] | None = None) -> int:
    """Run the server in the foreground; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m serve.app", description=__doc__)
    parser.add_argument("--settings", default="{}", help="a JSON object of settings")
    parser.add_argument(
        "--check", action="store_true", help="look at the settings, and start nothing"
    )
    arguments = parser.parse_args(argv)
    try:
        with _stoppable():
            settings, gpus = resolve(from_json(arguments.settings))
            _check_ports(settings)
            if arguments.check:
                return 0
            metrics_port = settings.metrics_port or free_port()
            # Around Ray: clients are told, not cut off, before it has started and when it ends.
            with open_ingress(settings) as ingress:
                _say("starting Ray")
                with own_ray(
                    gpus=gpus,
                    # What feeds a GPU must not wait for others; what burns the CPU makes way.
                    niceness=0 if gpus or settings.is_stub else 15,
                    direct_ingress=ingress.is_direct,
                    metrics_port=metrics_port,
                ):
                    _catch_signals()  # Ray has set handlers of its own
                    _say(f"metrics at http://127.0.0.1:{metrics_port}/metrics")
                    _serve(settings, gpus, ingress)
    except Stopped:
        return 0
    except SettingsError as err:
        return _fail(err, EXIT_USAGE)
    except ServerError as err:
        return _fail(err, EXIT_FAILED)
    except Exception as err:  # noqa: BLE001 - the edge: there is nobody above
        return _fail(in_words(err), EXIT_FAILED)


def _serve(settings: Settings, gpus: int, ingress: Ingress) -> NoReturn:
    """Deploy, wait until every replica is warm, say so, and watch until a signal.

    Raises:
        ServerError: A replica cannot start, or Ray has died.
    """
    from ray import serve as rayserve

    from serve.replica.deployment import deploy

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    _say(f"loading {settings.model}, weights {settings.weights}, replicas {settings.replicas}")
    rayserve.start(
        http_options=ingress.http_options,
        logging_config=LOGGING,
    )
    application = deploy(settings, gpus=gpus)
    rayserve.run_many(
        [rayserve.RunTarget(application, name=APPLICATION, logging_config=LOGGING)],
        wait_for_ingress_deployment_creation=False,
        wait_for_applications_running=False,
    )
    while not _is_warm():
        time.sleep(POLL_S)
        _route(ingress)
    _route(ingress)
    ready = {
        "ready": True,
        "url": f"http://{settings.host}:{settings.port}",
        "model": settings.model,
        "replicas": settings.replicas,
        "device": "cuda" if gpus else "cpu",
    }
    print(json.dumps(ready), flush=True)  # noqa: T201
    while True:
        time.sleep(WATCH_S)
        check_ray()
        _route(ingress)


def _route(ingress: Ingress) -> None:
    """Tell the ingress which replicas run now."""
    ports = replica_ports(APPLICATION) if ingress.is_direct else None
    if ports is not None:
        ingress.follow(ports)


def _is_warm() -> bool:
    """Whether every replica runs.

    Raises:
        ServerError: A replica failed while it started; the message is its reason.
    """
    from ray import serve as rayserve

    from serve.replica.deployment import START_UP_FAILED

    check_ray()
    application = rayserve.status().applications.get(APPLICATION)
    if application is None:
        return False
    if application.status == "DEPLOY_FAILED":
        told = "\n".join(
            [application.message, *(d.message for d in application.deployments.values())]
        )
        reason = re.search(re.escape(START_UP_FAILED) + r"(.*)", told)
        raise ServerError(reason[1] if reason else " ".join(told.split()))
    return application.status == "RUNNING"


def _check_ports(settings: Settings) -> None:
    """Refuse ports that cannot be bound, before anything heavy starts.

    Raises:
        SettingsError: See `_check_port`; or both are the same.
    """
    _check_port(settings.host, settings.port)
    if settings.metrics_port == settings.port:
        raise SettingsError(
            f"settings: metrics_port: {settings.port} is the server's own port; choose another"
        )
    if settings.metrics_port:
        _check_port("127.0.0.1", settings.metrics_port, "metrics_port")


def _check_port(host: str, port: int, name: str = "port") -> None:
    """Refuse a port that cannot be bound.

    Raises:
        SettingsError: The port is taken or not allowed, or the host is no address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as err:
            reason = (err.strerror or str(err)).lower()
            if err.errno in (errno.EADDRINUSE, errno.EACCES):
                remedy = f"settings: {name}: {port} on {host}: {reason}; free it or choose another"
            else:
                remedy = f"settings: host: {host}: {reason}; use an address of this machine"
            raise SettingsError(remedy) from err


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Within, SIGTERM and SIGINT raise `Stopped`; later ones are ignored while we clean up."""
    _catch_signals()
    try:
        yield
    finally:
        _ignore_signals()


def _catch_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)


def _ignore_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def _stop(number: int, frame: FrameType | None) -> None:
    _ignore_signals()
    raise Stopped


def _fail(err: Exception | str, code: int) -> int:
    _say(f"error: {err}")
    return code


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # nobody reads it any more, or its disk is full
        print(line, file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
