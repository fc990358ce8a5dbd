"""Options that say something about what a run does not have: refused, never ignored."""

import argparse

from loadtest.cli.options.parser import parser
from loadtest.errors import ConfigurationError

OF_OWN_SERVER = ("weights", "policy", "replicas", "port", "set")
OF_FOREIGN_SERVER = ("key_env", "header")


def given(options: argparse.Namespace) -> tuple[str, ...]:
    """The options that were given, by their names here: whose value is not the default."""
    verb = parser().parse_args(_least(options.verb))
    return tuple(
        name
        for name, value in vars(options).items()
        if name != "verb" and value != getattr(verb, name, None)
    )


def check_server(options: argparse.Namespace) -> None:
    """Of `run` and `find`: is the server started by it, or there already?

    Raises:
        ConfigurationError: An option is of the other kind.
    """
    for name in OF_OWN_SERVER if options.host is not None else ():
        if getattr(options, name) not in (None, []):
            raise ConfigurationError(
                f"--{name}: it is of a server that viralload starts, and --host names one that is "
                "there; leave one of them out"
            )
    for name in OF_FOREIGN_SERVER if options.host is None else ():
        if getattr(options, name) not in (None, []):
            raise ConfigurationError(
                f"--{name.replace('_', '-')}: it is for a server that is there; name it with --host"
            )


def _least(verb: str) -> list[str]:
    """The shortest command line of a verb."""
    more = {"worker": ["HOST"], "report": ["RUN"], "fleet": ["--service", "PATH"]}
    return [verb, *more.get(verb, [])]
