"""The names that a text mentions, and which of them this repository has."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("serve", "loadtest", "profiles", "benchmarks", "tests")
PAGES = (
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "SECURITY.md", "deploy/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
)

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
CODE = re.compile(r"`([^`]+)`")
DOTTED = re.compile(rf"(?<![\w./-])((?:{'|'.join(PACKAGES)})(?:\.[A-Za-z_]\w*)+)(?![\w/])")
FILE = re.compile(r"(?<![\w./*-])([\w*-]+(?:/[\w*-]+)*\.(?:py|toml|html|css))(?!\w)")
FOLDER = re.compile(rf"(?<![\w./-])((?:{'|'.join(PACKAGES)}|docs|deploy)(?:/\w+)*/)(?![\w.*<-])")


def prose(page: str) -> str:
    """A page of Markdown without its fenced blocks."""
    return FENCE.sub("", page)


def sources(*packages: str) -> list[Path]:
    """Every Python file of these packages."""
    return [path for name in packages for path in sorted((ROOT / name).rglob("*.py"))]


@cache
def top_level(module: Path) -> frozenset[str]:
    """The names that a module defines or imports at its top level; those of its classes, dotted."""
    return frozenset(_names(ast.parse(module.read_text(encoding="utf-8")).body))


def _names(body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.ClassDef):
            yield node.name
            yield from (f"{node.name}.{inner}" for inner in _names(node.body))
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                yield from (one.id for one in ast.walk(target) if isinstance(one, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from ((one.asname or one.name) for one in node.names)
        elif isinstance(node, ast.If | ast.Try):
            yield from _names(node.body)


def is_there(dotted: str, base: Path = ROOT) -> bool:
    """Whether `a.b.c` is a package, a module, or a name that a module or class defines."""
    parts = dotted.split(".")
    here = base
    for place, part in enumerate(parts):
        if (here / part).is_dir():
            here /= part
            continue
        module = here / f"{part}.py"
        rest = parts[place + 1 :]
        if not module.is_file():
            module, rest = here / "__init__.py", parts[place:]
        return not rest or (module.is_file() and ".".join(rest) in top_level(module))
    return True


def words_of(module: Path) -> Iterator[str]:
    """The docstrings and comments of a module."""
    text = module.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


def missing_files(text: str, folders: tuple[Path, ...]) -> list[str]:
    """The file names in a text that are in none of these folders."""
    return [name for name in FILE.findall(text) if not any(any(one.glob(name)) for one in folders)]
