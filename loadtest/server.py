"""The embedded server: `python -m serve.app` as a child process."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from loadtest.errors import ConfigurationError, ViralloadError
from loadtest.processes import Child
from loadtest.surroundings import python

READY_TIMEOUT_S = 600.0  # building and warming a large model takes minutes
USAGE_EXIT_CODE = 2


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """What the server prints once every replica is warm."""

    url: str
    model: str
    replicas: int
    device: str


def start(
    settings: dict[str, Any], log: Path, tick: Callable[[float], None] | None = None
) -> tuple[Child, Ready]:
    """Start the server and wait until every replica is warm.

    Raises:
        ConfigurationError: its settings are wrong, or its port is taken.
        ViralloadError: it failed to start.
    """
    command = python("serve.app", "--settings", json.dumps(settings))
    child = Child("server", command, log, {})
    try:
        ready = msgspec.json.decode(child.first_line(READY_TIMEOUT_S, tick), type=Ready)
    except ViralloadError as err:
        if child.end(patience_s=10.0) == USAGE_EXIT_CODE:
            raise ConfigurationError(child.last_words()) from err
        raise
    except BaseException:
        child.end(patience_s=10.0)
        raise
    return child, ready
