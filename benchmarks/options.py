"""What the benchmarks of models share: which model, and where it ran."""

import argparse
import datetime
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from profiles.devices.host import node_name
from profiles.devices.visible import every_gpu
from serve.settings import Settings, from_strings

PACKAGES = ("torch", "diffusers", "ray")


def parser_of(module: str, description: str | None) -> argparse.ArgumentParser:
    """A benchmark's command line, with the options that choose and set the model."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--weights", default="random")
    parser.add_argument("--px", type=int, help="width and height; default: the model's own")
    parser.add_argument("--steps", type=int, help="default: the model's own")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="setting")
    return parser


def settings_of(arguments: argparse.Namespace) -> Settings:
    """The server's settings that the options stand for.

    Raises:
        SettingsError: One of them is wrong.
    """
    words: dict[str, object] = {"model": arguments.model, "weights": arguments.weights}
    if arguments.px is not None:
        words["sizes"] = f"{arguments.px}x{arguments.px}"
    if arguments.steps is not None:
        words["default_steps"] = str(arguments.steps)
    for word in arguments.set:
        key, _, value = word.partition("=")
        words[key] = value
    return from_strings(words)


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str | None]:
    """The packages' versions by name; None where one is not installed."""
    found: dict[str, str | None] = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def environment(module: str) -> dict[str, Any]:
    """What a reader must know of where a benchmark ran; nothing in it fails for what is absent."""
    gpus = every_gpu(node_name())
    return {
        "date_utc": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["python", "-m", module, *sys.argv[1:]]),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "versions": versions(),
        "gpus": [gpu.name for gpu in gpus],
        "driver": gpus[0].driver if gpus else None,
    }


def say(line: str) -> None:
    """How far a benchmark is, on stderr: stdout is the result's."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201
