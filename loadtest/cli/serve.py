"""`viralload serve`: the server alone, in the foreground."""

import argparse
import os
from typing import NoReturn

import msgspec

from loadtest.cli.options.overrides import settings_of
from loadtest.system.child_environment import environ, python


def call(options: argparse.Namespace, _command: list[str]) -> NoReturn:
    """Becomes the server: this process is replaced, so that signals reach it."""
    settings = settings_of(options)
    for name in ("model", "port"):
        if getattr(options, name) is not None:
            settings[name] = getattr(options, name)
    if options.host is not None:
        settings["host"] = options.host
    command = python("serve.app", "--settings", msgspec.json.encode(settings).decode())
    os.execve(command[0], command, environ())
