"""`viralload plan`: the schedule of a run, drawn before anything is sent."""

import argparse
import sys

from loadtest.cli.options import unused
from loadtest.cli.options.overrides import scenario_of
from loadtest.errors import ConfigurationError
from loadtest.plan import gates
from loadtest.plan.plan import Node, demand, make_plan, needs_capacity
from loadtest.plan.source import load_source
from loadtest.plan.text import UNBROKEN, plan_text
from loadtest.plan.unused_options import check_scenario
from loadtest.scenario.prompts import load_texts
from loadtest.scenario.scenario import Scenario
from loadtest.search import goal
from loadtest.system import output
from loadtest.system.terminal import show


def call(options: argparse.Namespace, _command: list[str]) -> int:
    """The exit code of the verb; `options` are its parsed words, `command` all of them."""
    scenario, _, folder = scenario_of(options)
    check_gates(options, scenario)
    source = load_source(scenario, folder)
    load_texts(scenario.request.prompts, folder)
    capacity, basis = goal.capacity_of(options.capacity)
    relative = needs_capacity(scenario) and capacity is None
    node = Node(
        gpus=options.gpus,
        capacity_images_per_s=1.0 if relative else capacity,
        capacity_basis=basis,
    )
    check_scenario(unused.given(options), scenario, source)
    plan, _ = make_plan(scenario, source, node)
    show(
        plan_text(
            scenario,
            source,
            plan,
            demand(scenario, source),
            relative,
            width=output.width(UNBROKEN),
        )
    )
    return 0


def check_gates(options: argparse.Namespace, scenario: Scenario) -> None:
    """Ask back where a threshold can never fail; a timeout that was asked for is only warned of."""
    found = gates.cannot_fail(scenario)
    if found and options.timeout is None:
        raise ConfigurationError(f"scenario: {found[0]}")
    found += gates.holds_when_worse(scenario) + gates.slo_beyond_timeout(scenario)
    sys.stderr.write("".join(f"warning: {said}\n" for said in found))
