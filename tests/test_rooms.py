"""The packages' own rules: small enough to read, quick to import, each says where to begin."""

import ast
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from loadtest.cli.options.parser import parser
from tests.names import CODE, ROOT, is_there

MAX_MODULES = 14
COMMANDS = "loadtest.cli"  # one file per command, beside the three that call them
ROOMS = sorted(
    path
    for name in ("serve", "loadtest", "profiles")
    for path in (ROOT / name).rglob("__init__.py")
    if path.parent.parent != ROOT
)
ENTRY = re.compile(r"[a-z_]\w*(?:\.\w+)+")


def named(init: Path) -> str:
    return ".".join(init.parent.relative_to(ROOT).parts)


def entries(init: Path) -> list[str]:
    """The `file.name` entries of a room's docstring."""
    words = ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))) or ""
    return [code for code in CODE.findall(words) if ENTRY.fullmatch(code)]


def commands() -> Sequence[str]:
    """The commands of `viralload`."""
    choices = next(one.choices for one in parser()._actions if one.dest == "verb")
    assert choices is not None
    return [str(one) for one in choices]


@pytest.mark.parametrize("init", ROOMS, ids=named)
def test_its_docstring_names_entries_that_are_there(init: Path) -> None:
    assert entries(init)
    assert [name for name in entries(init) if not is_there(name, init.parent)] == []


@pytest.mark.parametrize("init", ROOMS, ids=named)
def test_it_is_small_enough_to_read(init: Path) -> None:
    modules = {one.stem for one in init.parent.glob("*.py") if one != init}
    if named(init) == COMMANDS:
        modules -= set(commands())
    assert len(modules) <= MAX_MODULES


def test_a_command_is_the_file_of_its_name() -> None:
    folder = ROOT / "loadtest" / "cli"
    assert [one for one in commands() if not (folder / f"{one}.py").is_file()] == []


@pytest.mark.parametrize("init", ROOMS, ids=named)
def test_importing_it_imports_nothing(init: Path) -> None:
    if named(init) == "profiles.schema":  # the contracts, by one name; values without behaviour
        return
    body = ast.walk(ast.parse(init.read_text(encoding="utf-8")))
    assert not [one for one in body if isinstance(one, ast.Import | ast.ImportFrom)]
