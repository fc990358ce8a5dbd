"""`viralload worker`: play a share of a run that another machine drives."""

import argparse

from loadtest.cli.options.overrides import seconds_of
from loadtest.cli.options.target import credentials_of_worker
from loadtest.distributed.worker import work
from loadtest.system.terminal import Terminal


def call(options: argparse.Namespace, _command: list[str]) -> int:
    """The exit code of the verb; `options` are its parsed words, `command` all of them."""
    host, port = options.master
    wait_s = seconds_of(options.wait, "--wait")
    console = Terminal()
    credentials, target = credentials_of_worker(options)
    return work(host, port, options.processes, wait_s, credentials, console, target)
