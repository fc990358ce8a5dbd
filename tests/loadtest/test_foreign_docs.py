"""Every command of docs/foreign-servers.md is one that can be typed."""

import re
import shlex
from pathlib import Path

import pytest

from loadtest.cli.options import unused
from loadtest.cli.options.overrides import fields_of, scenario_of
from loadtest.cli.options.parser import parser
from loadtest.client.address import parse
from loadtest.client.credentials import gather
from loadtest.driver.prepare import Options
from loadtest.driver.target_checks import check_options

PAGE = Path(__file__).parents[2] / "docs" / "foreign-servers.md"
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
COMMANDS = [
    words[words.index("viralload") + 1 :]
    for block in BLOCKS
    for line in block.replace("\\\n", "").splitlines()
    if "viralload" in (words := shlex.split(line))
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_it_can_be_typed(words: list[str]) -> None:
    options = parser().parse_args(words)
    unused.check_server(options)
    address = parse(options.host)
    variables = dict.fromkeys(("MY_KEY", "AZURE_OPENAI_API_KEY", "OPENAI_API_KEY"), "value")
    credentials, _ = gather(address, options.key_env, options.header, variables)
    assert credentials.headers
    scenario, text, folder = scenario_of(options)
    wanted = Options(
        scenario_text=text, scenario=scenario, folder=folder, command=words, host=address.plain,
        credentials=credentials, fields=fields_of(options.body), gpu_price_usd_per_h=1.0,
        gpu_price_basis="",
    )  # fmt: skip
    warned = check_options(wanted)
    assert bool(warned) is (address.origin.startswith("http:") and not address.is_loopback)


def test_the_page_has_them_all() -> None:
    assert len(COMMANDS) == 9
