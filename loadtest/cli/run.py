"""`viralload run`: replay a scenario against a server and report."""

import argparse

from loadtest.cli import ledger as ledger_verb
from loadtest.cli.options import unused
from loadtest.cli.options.overrides import gpu_price, pairs, scenario_of, seconds_of, settings_of
from loadtest.cli.options.target import target_of
from loadtest.cli.plan import check_gates
from loadtest.cli.results import show_summary
from loadtest.distributed.gather import Workers
from loadtest.distributed.handshake import MASTER_PORT
from loadtest.driver import run as driver
from loadtest.driver.prepare import Options
from loadtest.driver.session import Interrupted
from loadtest.errors import INTERRUPTED_EXIT_CODE, ConfigurationError
from loadtest.search import goal
from loadtest.system.terminal import Terminal, complain
from profiles.summary.run import verdict_exit_code


def call(options: argparse.Namespace, command: list[str]) -> int:
    """The exit code of the verb; `options` are its parsed words, `command` all of them."""
    unused.check_server(options)
    scenario, text, folder = scenario_of(options)
    check_gates(options, scenario)
    capacity, basis = goal.capacity_of(options.capacity)
    crew = _workers(options)
    target = target_of(options, command)
    console = Terminal()
    price, price_basis = gpu_price(options.gpu_price)
    try:
        run_folder, summary = driver.run(
            Options(
                scenario_text=text,
                scenario=scenario,
                folder=folder,
                command=target.command,
                out=options.out,
                label=options.label,
                labels=pairs(options.tag, "--tag"),
                host=target.host,
                credentials=target.credentials,
                fields=target.fields,
                given=unused.given(options),
                model=options.model,
                settings=settings_of(options),
                port=options.port,
                capacity=capacity,
                capacity_basis=basis,
                capacity_mix=goal.mix_asked(options.capacity),
                processes=options.processes,
                workers=crew,
                web_port=options.web,
                metrics_port=options.metrics_port,
                gpu_price_usd_per_h=price,
                gpu_price_basis=price_basis,
                carbon_g_per_kwh=options.carbon,
            ),
            console,
        )
    except Interrupted as stop:
        complain(f"interrupted: {stop}")
        return INTERRUPTED_EXIT_CODE
    ledger_verb.note(run_folder, summary)
    show_summary(options, run_folder, summary)
    return verdict_exit_code(summary)


def _workers(options: argparse.Namespace) -> Workers | None:
    """The workers on other machines that the command line asks for."""
    host, port = options.master_bind_host, options.master_bind_port
    if options.expect_workers is None:
        waits = options.expect_workers_max_wait is not None
        if (host, port) != ("127.0.0.1", MASTER_PORT) or waits:
            raise ConfigurationError(
                "--master-bind-host, --master-bind-port and --expect-workers-max-wait are for "
                "workers on other machines: say how many with --expect-workers N"
            )
        return None
    if options.processes != 1:
        raise ConfigurationError(
            "--processes is of this machine, which sends nothing where workers are expected: give "
            "it to `viralload worker`"
        )
    wait_s = seconds_of(options.expect_workers_max_wait or "5min", "--expect-workers-max-wait")
    return Workers(count=options.expect_workers, host=host, port=port, wait_s=wait_s)
