"""The snippets of the pages: fenced blocks by language, and the commands in them."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from tests.names import CODE, FENCE, PAGES, ROOT, prose

VARIABLE = re.compile(r"[A-Z_]+=.*")


def blocks(page: Path, language: str) -> list[str]:
    """The texts of a page's fenced blocks of one language; "": of those that name none."""
    found = FENCE.findall(page.read_text(encoding="utf-8"))
    return [text for named, text in found if named == language]


def languages(page: Path) -> set[str]:
    """The languages that a page's fenced blocks name."""
    return {named for named, _ in FENCE.findall(page.read_text(encoding="utf-8"))}


def commands(page: Path) -> Iterator[list[str]]:
    """Every command of a page's shell blocks, as words, without variables before it."""
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", "").splitlines():
            words = shlex.split(line, comments=True)
            while words and VARIABLE.fullmatch(words[0]):
                words = words[1:]
            if words:
                yield words


def mentioned(page: Path) -> Iterator[list[str]]:
    """The `viralload ...` that a page's prose mentions, as words."""
    for code in CODE.findall(prose(page.read_text(encoding="utf-8"))):
        words = code.split()
        while words and VARIABLE.fullmatch(words[0]):
            words = words[1:]
        if words[:1] == ["viralload"] and len(words) > 1:
            yield words[1:]


def of_viralload() -> list[tuple[str, list[str]]]:
    """(page, words) of each `viralload` command of the pages' shell blocks, `make run` left out."""
    return [
        (str(page.relative_to(ROOT)), words[1:])
        for page in PAGES
        for words in commands(page)
        if words[0] == "viralload"
    ]
