"""What a scenario says of the default gate, and how plan and manifest tell it."""

from pathlib import Path

import pytest

from loadtest.cli.options.overrides import scenario_of
from loadtest.cli.options.parser import parser
from loadtest.driver.prepare import Options, first_manifest
from loadtest.errors import ScenarioError
from loadtest.plan.plan import Node, make_plan
from loadtest.plan.source import load_source
from loadtest.plan.text import plan_text
from loadtest.scenario.scenario import Scenario, builtin_names, parse_scenario, scenario_text
from profiles.record.folder import RunFolder

PLAIN = """
name = "plain"
title = "Plain"
[curve]
kind = "constant"
rate_per_s = 2
duration = "5s"
"""
ALL = "failed: rate < 1%, rejected: rate < 1%, timeout: rate < 1%, goodput: count > 0"


def planned(scenario: Scenario) -> str:
    source = load_source(scenario, Path())
    plan, _ = make_plan(scenario, source, Node())
    return plan_text(scenario, source, plan, None, False)


@pytest.mark.parametrize(
    ("thresholds", "told"),
    [
        ("", f"default   {ALL}"),
        ("[thresholds]\ndefault = true", f"default   {ALL}"),
        ('[thresholds]\nrejected = ["rate < 50%"]', "default   failed: rate < 1%, timeout: rate"),
        ("[thresholds]\ndefault = false", "default   switched off"),
        ('[thresholds]\ndefault = false\nok = ["rate > 5%"]', "holds     ok: rate > 5%\n"),
    ],
)
def test_the_plan_tells_the_gate(thresholds: str, told: str) -> None:
    assert told in planned(parse_scenario(f"{PLAIN}{thresholds}"))


@pytest.mark.parametrize(
    ("thresholds", "words"),
    [
        ('default = "no"', "$.thresholds.default: expected true or false, got 'no'"),
        ("default = 0", "$.thresholds.default: expected true or false"),
        (
            'latency = "p(95) < 1s"',
            '$.thresholds.latency: expected a list of conditions, such as latency = ["p(',
        ),
        (
            "failed = 0.01",
            '$.thresholds.failed: expected a list of conditions, such as failed = ["rate < 1%"]',
        ),
        (
            "goodput = [2]",
            '$.thresholds.goodput: expected a list of conditions, such as goodput = ["value > 2"]',
        ),
        ("failed = false", "$.thresholds.failed: expected a list of conditions"),
    ],
)
def test_what_is_no_list_of_expressions_is_named(thresholds: str, words: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(f"{PLAIN}[thresholds]\n{thresholds}")
    assert words in str(caught.value)


@pytest.mark.parametrize(("words", "off"), [([], False), (["--no-default-thresholds"], True)])
def test_the_record_has_what_the_run_is_held_to(
    words: list[str], off: bool, tmp_path: Path
) -> None:
    scenario, text, folder = scenario_of(parser().parse_args(["run", "smoke", *words]))
    options = Options(
        scenario_text=text,
        scenario=scenario,
        folder=folder,
        command=[],
        host="http://127.0.0.1:1",
        gpu_price_usd_per_h=1.0,
        gpu_price_basis="assumed",
    )
    (tmp_path / "run").mkdir()
    manifest = first_manifest(options, RunFolder(tmp_path / "run"), 0.0, [], None)
    assert manifest.thresholds == {"latency": ["p(95) < 5s"], "failed": ["rate < 1%"]}
    assert list(manifest.default_thresholds) == ([] if off else ["rejected", "timeout", "goodput"])


@pytest.mark.parametrize("name", builtin_names())
def test_every_built_in_scenario_bounds_what_is_lost(name: str) -> None:
    scenario = parse_scenario(scenario_text(name)[0])
    held = {*scenario.own_thresholds, *scenario.default_thresholds}
    assert "ok" in held or {"failed", "rejected", "timeout", "goodput"} <= held
