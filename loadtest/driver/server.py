"""The embedded server: `python -m serve.app` as a child process."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from loadtest.errors import ConfigurationError, ViralloadError
from loadtest.system.child_environment import environ, python
from loadtest.system.processes import Child, last_words
from profiles.record.json_lines import DamagedError, decoded

READY_TIMEOUT_S = 600.0  # building and warming a large model takes minutes
CHECK_TIMEOUT_S = 60.0
USAGE_EXIT_CODE = 2


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """What the server prints once every replica is warm."""

    url: str
    model: str
    replicas: int
    device: str


def check(settings: dict[str, Any]) -> None:
    """Have the server look at its settings, in a fraction of a second, without starting.

    Raises:
        ConfigurationError: they are wrong, in the server's own words.
        ViralloadError: it cannot look at them.
    """
    command = python("serve.app", "--check", "--settings", json.dumps(settings))
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=CHECK_TIMEOUT_S, check=False, env=environ()
        )
    except subprocess.TimeoutExpired:
        return  # a machine that busy is told when it starts
    if done.returncode:
        told = last_words(done.stderr.decode(errors="replace"))
        kind = ConfigurationError if done.returncode == USAGE_EXIT_CODE else ViralloadError
        raise kind(told)


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
        line = child.first_line(READY_TIMEOUT_S, tick)
        try:
            ready = decoded(msgspec.json.Decoder(Ready), line)
        except DamagedError as err:
            said = line[:80].decode(errors="replace")
            raise ViralloadError(
                f"the server said {said!r} where it should say that it is ready; see {log}"
            ) from err
    except ViralloadError as err:
        if child.end(patience_s=10.0) == USAGE_EXIT_CODE:
            raise ConfigurationError(child.last_words()) from err
        raise
    except BaseException:
        child.end(patience_s=10.0)
        raise
    return child, ready
