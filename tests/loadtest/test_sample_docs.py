"""Every command of docs/sample.md is one that can be typed, and its words are the options'."""

import re
import shlex
from pathlib import Path

import pytest

from loadtest.cli.options.parser import parser

PAGE = (Path(__file__).parents[2] / "docs" / "sample.md").read_text(encoding="utf-8")
(BLOCK,) = re.findall(r"^```sh\n(.*?)^```", PAGE, re.M | re.S)
COMMANDS = [shlex.split(line, comments=True)[1:] for line in BLOCK.splitlines()]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_it_can_be_typed(words: list[str]) -> None:
    options = parser().parse_args(words)
    assert options.verb in ("sample", "report")


def test_the_page_shows_every_option_of_sampling() -> None:
    told = vars(parser().parse_args(["sample"])) | {"for": None}
    shown = {name for name in told if f"--{name.replace('_', '-')}" in PAGE}
    assert shown >= set(told) - {"verb", "duration", "label"}
