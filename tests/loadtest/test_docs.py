"""Every snippet of every page is what a user can type, or can copy into a scenario.

Commands that need no GPU, server or run folder are run. The others are taken as far as that: their
words are parsed, and their scenario, settings and load are checked. Files they name are made up.
"""

import gzip
import re
import shlex
from pathlib import Path

import msgspec
import pytest

from loadtest.cli.main import main
from loadtest.cli.options import unused
from loadtest.cli.options.overrides import scenario_of, settings_of
from loadtest.cli.options.parser import parser
from loadtest.plan.plan import Node, make_plan
from loadtest.plan.source import load_source
from loadtest.plan.unused_options import check_scenario
from loadtest.scenario.scenario import Scenario, builtin_names, parse_scenario, scenario_text
from loadtest.search import goal
from serve.settings import Settings
from tests.names import PAGES, ROOT, is_there, prose
from tests.snippets import blocks, commands, languages, mentioned, of_viralload

HEAD = 'name = "part"\ntitle = "A part of a scenario"\n'
CURVE = '[curve]\nkind = "constant"\nrate_per_s = 1\nduration = "1min"\n'
FOREIGN = {
    "export",
    "pip",
    "pip-audit",
    "prometheus",
    "sglang",
    "source",
    "ssh",
    "vllm",
}  # of others
COMMANDS = of_viralload()
OPTIONS = ROOT / "benchmarks/options.py"  # those that several benchmarks share


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


TOML = [
    pytest.param(text, id=f"{named(page)}-{place}")
    for page in PAGES
    for place, text in enumerate(blocks(page, "toml"))
]
CONSOLES = [
    pytest.param(command, shown, id=command)
    for page in PAGES
    for block in blocks(page, "console")
    for command, shown in re.findall(r"\$ viralload (.*)\n((?:[^$].*\n)+)", block)
]


def code_of(module: Path) -> str:
    """The source of a module, or of all modules of a package."""
    files = sorted(module.rglob("*.py")) if module.is_dir() else [module.with_suffix(".py")]
    return "".join(one.read_text(encoding="utf-8") for one in files)


def parsed(snippet: str) -> Scenario:
    """The scenario it is, or is made by what it leaves out."""
    if snippet.startswith("name ="):
        return parse_scenario(snippet)
    curve = "" if "[curve]" in snippet else CURVE
    return parse_scenario(HEAD + curve + snippet)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the files that commands name."""
    rows = "".join(f"{0.5 * second}\n" for second in range(2400))  # 20 min
    (tmp_path / "traffic.csv").write_text(f"t_s\n{rows}")
    (tmp_path / "traffic.csv.gz").write_bytes(gzip.compress(f"t_s\n{rows}".encode()))
    (tmp_path / "my-scenario.toml").write_text(scenario_text("steady")[0])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_its_blocks_are_of_a_kind_that_is_tested(page: Path) -> None:
    assert languages(page) <= {"sh", "toml", "console", ""}
    for text in blocks(page, ""):  # output, or a drawing
        assert not re.search(r"^(\$|viralload|python|make|pip)\s", text, re.M)


@pytest.mark.parametrize("snippet", TOML)
def test_its_toml_parses(snippet: str) -> None:
    assert parsed(snippet).title


@pytest.mark.parametrize(("command", "shown"), CONSOLES)
def test_its_console_shows_what_is_printed(
    command: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(shlex.split(command)) == 0
    printed = capsys.readouterr().out.splitlines()
    for line in shown.splitlines():
        assert line in printed


@pytest.mark.parametrize(
    "words", {" ".join(words): words for _, words in COMMANDS}.values(), ids=" ".join
)
def test_its_command_can_be_typed(
    words: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = parser().parse_args(words)
    if options.verb in ("scenarios", "plan") or "--published" in words:
        assert main(words) == 0
        assert capsys.readouterr().out
    elif options.verb in ("run", "fleet"):
        scenario, _, beside = scenario_of(options)
        source = load_source(scenario, beside)
        node = Node(capacity_images_per_s=5.0)
        if options.verb == "run":
            unused.check_server(options)
            check_scenario(unused.given(options), scenario, source)
            plan, schedule = make_plan(scenario, source, node)
            assert plan.requests == schedule.size > 0
    elif options.verb == "find":
        unused.check_server(options)
        scenario, _, _ = goal.scenario_of(options)
        assert goal.goal_of(options, scenario).limit_s > 0
    if options.verb in ("run", "find", "serve") and getattr(options, "host", None) is None:
        model = {} if options.model is None else {"model": options.model}
        msgspec.convert(settings_of(options) | model, Settings)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_its_other_commands_are_there(page: Path) -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    for words in commands(page):
        if words[0] == "make":
            assert words[1] in targets, words
        elif words[:2] == ["python", "-m"]:
            module = words[2]
            assert module in ("pip", "pytest") or is_there(module), words
            if module.startswith("benchmarks."):
                known = code_of(ROOT / module.replace(".", "/")) + code_of(OPTIONS)
                for word in words[3:]:
                    assert not word.startswith("--") or f'"{word}"' in known, words
        elif words[:2] == ["serve", "run"]:
            assert is_there(words[2].replace(":", ".")), words
        else:
            assert words[0] in FOREIGN | {"viralload"}, words


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_its_prose_mentions_verbs_and_options_that_are_there(page: Path) -> None:
    [verbs] = [one.choices for one in parser()._actions if one.dest == "verb"]
    assert isinstance(verbs, dict)
    options = {word for one in verbs.values() for word in one._option_string_actions}
    for words in mentioned(page):
        assert words[0] in verbs or words[0] in ("--help", "--version", "COMMAND"), words
    text = code_of(ROOT / "benchmarks")
    for code in re.findall(r"`([^`]+)`", prose(page.read_text(encoding="utf-8"))):
        for word in re.findall(r"(?<![\w-])--[a-z][\w-]*", code):
            assert word in options or f'"{word}"' in text or word == "--version", word


def test_every_option_of_every_verb_says_what_it_is() -> None:
    [verbs] = [one.choices for one in parser()._actions if one.dest == "verb"]
    assert isinstance(verbs, dict)
    assert not [
        f"{verb} {action.dest}"
        for verb, one in verbs.items()
        for action in one._actions
        if not action.help
    ]


def test_the_pages_have_whole_examples_and_these_can_be_planned(tmp_path: Path) -> None:
    whole = [parsed(str(one.values[0])) for one in TOML if "\ntitle =" in str(one.values[0])]
    assert {one.name for one in whole} == {"evening", "lunch-rush"}
    for scenario in whole:
        node = Node(capacity_images_per_s=5.0)
        plan, schedule = make_plan(scenario, load_source(scenario, tmp_path), node)
        assert plan.requests == schedule.size > 100


def test_the_annotated_example_shows_every_key_of_people() -> None:
    [text] = [str(one.values[0]) for one in TOML if 'name = "evening"' in str(one.values[0])]
    session = parsed(text).session
    assert session is not None
    for key in (*session.__struct_fields__, *session.retry.__struct_fields__, "images_a_day"):
        assert re.search(rf"^(\[session\.)?{key}\b", text, re.M), key


def test_the_servers_page_has_every_setting_and_its_default() -> None:
    page = (ROOT / "docs/server.md").read_text(encoding="utf-8").partition("## Settings\n")[2]
    shown: dict[str, str] = {}
    for keys, defaults in re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| ([^|]*) \|", page, re.M):
        names = re.findall(r"`(\w+)`", keys)
        values = defaults.split(", ") if len(names) > 1 else [defaults]
        shown |= dict(zip(names, (value.strip().strip("`") for value in values), strict=True))
    for field in msgspec.structs.fields(Settings):
        told = shown[field.name]
        if isinstance(field.default, bool | str):
            assert told == str(field.default).lower(), field.name
        elif field.default is not None:
            assert float(told) == field.default, field.name


def test_readme_is_a_page_to_read_and_names_the_scenarios_that_are_there() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 200
    told = re.findall(r"# ([\w-]+), ([\w-]+), ([\w-]+), \.\.\.", text)
    assert told
    assert {name for one in told for name in one} <= set(builtin_names())
