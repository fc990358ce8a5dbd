"""Hostile requests that are kept: what was found once, and one of each kind, at the real server.

`python -m benchmarks.fuzz` draws such requests; the same judge looks at the answers here.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from benchmarks.fuzz import main
from benchmarks.fuzz_case import Case, read_corpus
from benchmarks.fuzz_judge import faults
from benchmarks.fuzz_player import play
from benchmarks.fuzz_server import exceptions_under
from serve.ingress.haproxy import find_haproxy
from tests.serve.conftest import Server

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(find_haproxy() is None, reason="there is no haproxy here"),
]

CORPUS = read_corpus(Path(__file__).with_name("corpus.jsonl"))
AT_A_TIME = 8
WAIT_S = 60.0


async def all_played(port: int) -> list[str]:
    """The corpus at a server; every broken rule, with the request that broke it."""
    room = asyncio.Semaphore(AT_A_TIME)

    async def one(case: Case) -> list[str]:
        async with room:
            seen = await play(case, port, WAIT_S)
        return [f"{fault}: {case.kind} {case.sends}"[:400] for fault in faults(case, seen)]

    found = await asyncio.gather(*map(one, CORPUS))
    return [fault for each in found for fault in each]


def test_every_request_of_the_corpus_is_answered_by_the_rules(
    start_server: Callable[..., Server],
) -> None:
    server = start_server(model="stub")
    logs = server.ray_folder()
    before = exceptions_under(logs)
    assert asyncio.run(all_played(server.port)) == []
    assert not exceptions_under(logs) - before
    answer = httpx.post(f"{server.url}/v1/images/generations", json={"prompt": "x"}, timeout=30)
    assert answer.status_code == 200


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("ingress", "count"), [("haproxy", 8000), ("proxy", 2000)])
def test_thousands_of_hostile_requests_break_no_rule(
    ingress: str, count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Slow clients are among them."""
    words = ["--requests", str(count), "--seed", "1", "--ingress", ingress]
    assert main(words) == 0, capsys.readouterr().out
