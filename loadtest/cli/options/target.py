"""What the command line says of a server that is there: taken in here, kept from all that shows."""

import argparse
import os
from collections.abc import Sequence
from typing import Any

import msgspec

from loadtest.cli.options.overrides import fields_of
from loadtest.client.address import Address, parse
from loadtest.client.credentials import NONE, Credentials, gather, of_this_process, shown_command
from loadtest.errors import ConfigurationError
from loadtest.system.terminal import complain


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A server to load, and how to speak to it."""

    host: str | None = None  # without what opens it; None: a run starts one
    credentials: Credentials = NONE
    fields: dict[str, Any] = {}
    command: list[str]  # as it may be recorded


def target_of(options: argparse.Namespace, command: Sequence[str]) -> Target:
    """The target of `run` and `find`. What is taken for granted of it is said on stderr.

    Raises:
        ConfigurationError: --host, --header, --body or the key cannot be used so.
    """
    fields = fields_of(options.body)
    if options.host is None:
        return Target(fields=fields, command=list(command))
    address = parse(options.host)
    if address.secret_query and getattr(options, "expect_workers", None) is not None:
        raise ConfigurationError(
            "--host: its query may hold a key, and workers are sent none: leave it out, and give "
            "each worker what opens the server with --header or --key-env"
        )
    credentials, said = gather(address, options.key_env, options.header, os.environ)
    for one in said:
        complain(f"target: {one}")
    return Target(
        host=address.plain,
        credentials=credentials,
        fields=fields,
        command=shown_command(command, options.host, address, options.header),
    )


def credentials_of_worker(options: argparse.Namespace) -> tuple[Credentials, Address | None]:
    """What opens the target of a worker, and where it is, if that is said.

    From its own command line and environment.

    Raises:
        ConfigurationError: --host, --header or the key cannot be used so.
    """
    target = None if options.host is None else parse(options.host)
    given = of_this_process()  # of the worker that started this one
    if given:
        return given, target
    credentials, said = gather(target, options.key_env, options.header, os.environ)
    for one in said:
        complain(f"worker: {one}")
    return credentials, target
