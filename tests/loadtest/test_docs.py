"""Every TOML snippet that users may copy is a scenario, or a part of one."""

import re
from pathlib import Path

import pytest

from loadtest.plan.plan import Node, make_plan
from loadtest.plan.source import load_source
from loadtest.scenario.scenario import Scenario, parse_scenario

ROOT = Path(__file__).parents[2]
PAGES = ("docs/crowd.md", "README.md")
HEAD = 'name = "part"\ntitle = "A part of a scenario"\n'
CURVE = '[curve]\nkind = "constant"\nrate_per_s = 1\nduration = "1min"\n'

SNIPPETS = [
    pytest.param(text, id=f"{page}-{place}")
    for page in PAGES
    for place, text in enumerate(
        re.findall(r"^```toml\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.M | re.S)
    )
]


def parsed(snippet: str) -> Scenario:
    """The scenario it is, or is made by what it leaves out."""
    if snippet.startswith("name ="):
        return parse_scenario(snippet)
    curve = "" if "[curve]" in snippet else CURVE
    return parse_scenario(HEAD + curve + snippet)


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_it_parses(snippet: str) -> None:
    assert parsed(snippet).title


def test_the_pages_have_whole_examples_and_these_can_be_planned(tmp_path: Path) -> None:
    whole = [parsed(str(one.values[0])) for one in SNIPPETS if "\ntitle =" in str(one.values[0])]
    assert [one.name for one in whole] == ["evening", "lunch-rush"]
    for scenario in whole:
        node = Node(capacity_images_per_s=5.0)
        plan, schedule = make_plan(scenario, load_source(scenario, tmp_path), node)
        assert plan.requests == schedule.size > 100


def test_the_annotated_example_shows_every_key_of_people() -> None:
    [text] = [str(one.values[0]) for one in SNIPPETS if 'name = "evening"' in str(one.values[0])]
    session = parsed(text).session
    assert session is not None
    for key in (*session.__struct_fields__, *session.retry.__struct_fields__, "images_a_day"):
        assert re.search(rf"^(\[session\.)?{key}\b", text, re.M), key
