"""`viralload sample`: the sampler alone, beside any workload."""

import argparse

from loadtest.cli.results import show_sampled
from loadtest.driver.sample import SampleOptions, sample
from loadtest.system.terminal import Terminal


def call(options: argparse.Namespace, command: list[str]) -> int:
    """The exit code of the verb; `options` are its parsed words, `command` all of them."""
    told = SampleOptions(
        command=command,
        out=options.out,
        label=options.label,
        hz=options.hz,
        gpus=options.gpu,
        pid=options.pid,
        for_s=options.duration,
        metrics_port=options.metrics_port,
    )
    folder, found = sample(told, Terminal())
    return show_sampled(options, folder, found)
