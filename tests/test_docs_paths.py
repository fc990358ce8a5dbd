"""Every path, module and name that a page, a docstring or a comment mentions is there."""

import re
import tomllib
from pathlib import Path

import pytest

from tests.names import (
    CODE,
    DOTTED,
    FOLDER,
    PAGES,
    ROOT,
    is_there,
    missing_files,
    prose,
    sources,
    top_level,
    words_of,
)

ROOMS = ("serve", "loadtest", "profiles")
PACKAGES_DRAWN = ("loadtest", "serve", "profiles")  # from left to right
OF_A_RUN = {"scenario.toml", "report.html"}  # in a run folder
OF_USERS = {"whatif.html", "serve.py", "queue.py"}  # in an example, or in a user's folder
OF_A_PACK = {"OUT/part-1/unpack.py"}  # where `make pack` puts it
ELSEWHERE = OF_A_RUN | OF_USERS | OF_A_PACK
BEFORE = re.compile(r"^  \| `[^`]+` \|")  # the names that a table of moves begins with
LINK = re.compile(r"\]\(([^)\s]+)\)")


DEFINED = re.compile(r"`([\w/]+\.py)` \(`(\w[\w.]*)`\)")  # `a/file.py` (`name`)
ROOM_ROW = re.compile(r"^\| `((?:serve|loadtest|profiles)/[\w/]*)` \|(.*)$", re.M)


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """The places in a page that a link may name, as GitHub spells them."""
    heads = re.findall(r"^#+ (.+)$", prose(page.read_text(encoding="utf-8")), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_a_page_names_what_is_there(page: Path) -> None:
    """A file without a folder is of a folder that the same line names."""
    gone = []
    for line in prose(page.read_text(encoding="utf-8")).splitlines():
        line = BEFORE.sub("", line) if page.name == "CHANGELOG.md" else line
        for code in CODE.findall(line):
            gone += [name for name in DOTTED.findall(code) if not is_there(name)]
            gone += [name for name in FOLDER.findall(code) if not (ROOT / name).is_dir()]
        rooms = tuple(ROOT / name for name in FOLDER.findall(line))
        codes = " ".join(CODE.findall(line))
        gone += missing_files(codes, (ROOT, page.parent, *rooms))
    assert not set(gone) - ELSEWHERE


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_a_name_beside_a_file_is_defined_in_it(page: Path) -> None:
    for path, name in DEFINED.findall(page.read_text(encoding="utf-8")):
        assert name in top_level(ROOT / path), f"{path}: {name}"


def test_the_architecture_page_has_every_room_and_every_file_of_it() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rows = dict(ROOM_ROW.findall(text))
    for init in sorted(one for name in ROOMS for one in (ROOT / name).rglob("__init__.py")):
        modules = [one for one in init.parent.glob("*.py") if not one.name.startswith("__")]
        row = rows[f"{named(init.parent)}/"] if modules else ""
        assert [named(one) for one in modules if f"`{one.name}`" not in row] == []


def drawn() -> dict[str, list[list[str]]]:
    """The architecture page's drawing: of each package its layers, the highest first."""
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    [drawing] = re.findall(r"^```\n(loadtest {5,}.*?)\n\n", text, re.M | re.S)
    head, *lines = drawing.splitlines()
    begins = [head.index(name) for name in PACKAGES_DRAWN]
    layers: dict[str, list[list[str]]] = {name: [] for name in PACKAGES_DRAWN}
    for line in lines:
        for name, begin, end in zip(PACKAGES_DRAWN, begins, [*begins[1:], None], strict=True):
            cell = line[begin:end]
            rooms = re.findall(r"\w+", cell)
            if cell.startswith("      "):  # goes on with the line above
                layers[name][-1] += rooms
            elif rooms:
                layers[name].append(rooms)
    return layers


@pytest.mark.parametrize("package", PACKAGES_DRAWN)
def test_the_drawing_has_every_room_and_the_layers_that_imports_are_held_to(package: str) -> None:
    here = {
        path.stem
        for path in (ROOT / package).iterdir()
        if (path / "__init__.py").is_file() or (path.suffix == ".py" and path.stem != "__init__")
    }
    assert sorted(room for layer in drawn()[package] for room in layer) == sorted(here)
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for contract in settings["tool"]["importlinter"]["contracts"]:
        if contract.get("containers") == [package]:
            held = [sorted(re.findall(r"\w+", layer)) for layer in contract["layers"]]
            assert [sorted(layer) for layer in drawn()[package]] == held


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_a_link_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(prose(page.read_text(encoding="utf-8"))):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def test_every_page_is_reached_from_the_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    linked = {path.partition("#")[0] for path in LINK.findall(text)}
    assert {named(page) for page in PAGES} - {"README.md"} <= linked


@pytest.mark.parametrize("package", ["serve", "loadtest", "profiles", "benchmarks"])
def test_docstrings_and_comments_name_what_is_there(package: str) -> None:
    """A file is named from the root, from the module's own folder, or from its package."""
    gone = []
    for module in sources(package):
        folders = (ROOT, module.parent, ROOT / package)
        for words in words_of(module):
            names = [name for name in DOTTED.findall(words) if not is_there(name)]
            names += missing_files(words, folders)
            gone += [f"{named(module)}: {name}" for name in names if name not in ELSEWHERE]
    assert not gone
