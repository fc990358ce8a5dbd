"""`viralload find`: the highest rate that meets an SLO."""

import argparse

from loadtest.cli.options import unused
from loadtest.cli.options.overrides import gpu_price, settings_of
from loadtest.cli.options.target import target_of
from loadtest.cli.results import show_found
from loadtest.driver.prepare import Options
from loadtest.driver.session import Interrupted
from loadtest.errors import INTERRUPTED_EXIT_CODE
from loadtest.search import find as finder
from loadtest.search import goal
from loadtest.system.terminal import Terminal, complain


def call(options: argparse.Namespace, command: list[str]) -> int:
    """The exit code of the verb; `options` are its parsed words, `command` all of them."""
    unused.check_server(options)
    scenario, text, folder = goal.scenario_of(options)
    asked = goal.goal_of(options, scenario)
    price, price_basis = gpu_price(None)
    target = target_of(options, command)
    wanted = Options(
        scenario_text=text,
        scenario=scenario,
        folder=folder,
        command=target.command,
        out=options.out,
        label=options.label or "find",
        host=target.host,
        credentials=target.credentials,
        fields=target.fields,
        model=options.model,
        settings=settings_of(options),
        port=options.port,
        processes=options.processes,
        gpu_price_usd_per_h=price,
        gpu_price_basis=price_basis,
    )
    finder.check(asked, wanted)
    try:
        run_folder, result = finder.run(wanted, asked, Terminal())
    except Interrupted as stop:
        complain(f"interrupted: {stop}")
        return INTERRUPTED_EXIT_CODE
    return show_found(options, run_folder, result)
