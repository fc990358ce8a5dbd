"""`viralload fleet`: a scenario at the scale of a block of GPUs, simulated."""

import argparse
import sys

from loadtest.block.simulate import simulate_scenario, write
from loadtest.cli.options.overrides import scenario_of
from loadtest.cli.results import as_json, shown_all_the_same
from loadtest.plan.source import load_source
from loadtest.system.terminal import show
from profiles.report.text.fleet import fleet_text


def call(options: argparse.Namespace, command: list[str]) -> int:
    """The exit code of the verb; `options` are its parsed words, `command` all of them."""
    told = (options.compress_to, options.compression)
    if told == (None, None):
        options.real_time = True  # a block is simulated in the event's own time
    scenario, _, folder = scenario_of(options)
    played, needed = simulate_scenario(options, scenario, load_source(scenario, folder))
    report = None
    with shown_all_the_same():
        report = write(played, needed, options.out, command)
    if options.json:
        sys.stdout.write(as_json(played))
    else:
        where = "" if report is None else f"\nreport      {report}\n"
        show(f"{fleet_text(played, needed)}{where}")
    return 0
