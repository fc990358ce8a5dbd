"""`viralload scenarios`: the built-in scenarios and their titles."""

import argparse

from loadtest.scenario import scenario as scenarios
from loadtest.system.terminal import show


def call(_options: argparse.Namespace, _command: list[str]) -> int:
    """The exit code of the verb; `options` are its parsed words, `command` all of them."""
    for name in scenarios.builtin_names():
        scenario = scenarios.parse_scenario(scenarios.scenario_text(name)[0])
        show(f"{name:14} {scenario.title}\n")
    return 0
