"""Hostile requests at the real server, and mutated answers at the crowd's reader.

`python -m benchmarks.fuzz --requests 100000` starts `python -m serve.app` with its default settings
behind HAProxy (`--ingress proxy`: behind Ray's own proxy) and sends it so many hostile requests,
several at a time, each drawn from the seed and its number (`benchmarks.fuzz_draw`): bodies, raw
HTTP, slow clients. A good client asks beside them from a process of its own. `--reader N` then has
the crowd's reader read so many mutated answers (`benchmarks.fuzz_reader`). `--replay FILE` plays
the cases of a corpus in place of drawn ones; `--corpus FILE` keeps those whose answer broke a rule
(`benchmarks.fuzz_judge`).

Progress goes to stderr. The last line of stdout is one JSON object:

statuses, kinds             answers by status; requests by kind
broken                      broken rules by their first word, with an example each
without_an_answer           none was due: cut short, hung up, cut off
exceptions                  tracebacks in the server's logs since the first request, by last line
own_pages                   HAProxy's own pages for what it cannot read as HTTP
answer_p50_s, answer_worst_s    from a request to its last answer; slow clients left out
good                        what the good client saw: asked, refused, wrong, p50, p99, worst wait
before, after               memory and descriptors of HAProxy, replicas, controller
on_the_way                  the same after each tenth of the requests
gone                        processes of these that ended
serves_afterwards           whether a good request is answered in the end
reader                      of `--reader`

Exit codes: 0 no rule was broken, 1 the server did not start, 2 usage, 3 a rule was broken.
"""

import argparse
import asyncio
import functools
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import uvloop  # comes with Ray Serve's uvicorn

from benchmarks.cell import quantile
from benchmarks.fuzz_case import Case, read_corpus, write_corpus
from benchmarks.fuzz_draw import nth
from benchmarks.fuzz_good import Asker, GoodClient, Waits
from benchmarks.fuzz_judge import Seen, faults, is_own_page
from benchmarks.fuzz_player import play
from benchmarks.fuzz_server import Server, ServerError, Size, running
from benchmarks.options import environment, say
from loadtest.cli.options.values import count

WARM_UP = 50  # good requests before the first reading
SETTLE_S = 5.0  # between the last request and the last reading
AT_A_TIME = 16
SLOW_AT_A_TIME = 64
TENTHS = 10
MAX_KEPT = 200  # cases in a corpus
# For an answer: a body has 30 s; a request of class `free` that has a day waits for all others.
WAIT_S = {"stub": 40.0, "tiny": 900.0}


class Tally:
    """What became of the requests so far."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.broken: dict[str, list[str]] = {}
        self.broken_count: Counter[str] = Counter()
        self.own_pages = 0
        self.no_answer = 0
        self.took_s: list[float] = []
        self.kept: list[Case] = []

    def add(self, case: Case, seen: Seen) -> None:
        """Count one."""
        self.kinds[case.kind] += 1
        self.statuses.update(answer.status for answer in seen.answers)
        self.own_pages += sum(map(is_own_page, seen.answers))
        self.no_answer += not seen.answers
        if seen.answers and not case.is_slow:
            self.took_s.append(seen.took_s)
        found = faults(case, seen)
        for fault in found:
            word = fault.partition(":")[0]
            self.broken_count[word] += 1
            if len(self.broken.setdefault(word, [])) < 5:
                self.broken[word].append(f"{case.kind}: {fault}"[:300])
        if found and len(self.kept) < MAX_KEPT:
            self.kept.append(msgspec.structs.replace(case, note="; ".join(found)[:300]))

    def told(self) -> dict[str, Any]:
        """The figures."""
        return {
            "requests": self.kinds.total(),
            "kinds": dict(self.kinds.most_common()),
            "statuses": {str(status): self.statuses[status] for status in sorted(self.statuses)},
            "without_an_answer": self.no_answer,
            "own_pages": self.own_pages,
            "broken": dict(self.broken_count),
            "broken_examples": self.broken,
            "answer_p50_s": quantile(self.took_s, 0.5),
            "answer_worst_s": max(self.took_s, default=None),
        }


async def attack(
    cases: Iterator[Case], count: int, server: Server, wait_s: float
) -> tuple[Tally, list[dict[str, Size]]]:
    """Play all cases; the tally, and the sizes after each tenth."""
    tally = Tally()
    on_the_way: list[dict[str, Size]] = []
    room, slow_room = asyncio.Semaphore(AT_A_TIME), asyncio.Semaphore(SLOW_AT_A_TIME)
    tenth = max(1, count // TENTHS)

    async def one(case: Case, own: asyncio.Semaphore) -> None:
        try:
            seen = await play(case, server.port, wait_s)
        except OSError as err:
            seen = Seen(fault=f"no connection: {err}")
        finally:
            own.release()
        tally.add(case, seen)

    async with asyncio.TaskGroup() as group:
        for number, case in enumerate(cases, start=1):
            own = slow_room if case.is_slow else room
            await own.acquire()
            group.create_task(one(case, own))
            if number % tenth == 0:
                on_the_way.append(server.sizes())
                say(f"{number:,} of {count:,}: {dict(tally.broken_count) or 'no rule broken'}")
    return tally, on_the_way


def measure(server: Server, asked: argparse.Namespace) -> tuple[Tally, dict[str, Any]]:
    """Attack a running server; the tally, and the figures."""
    if asked.replay is None:
        count = asked.requests
        cases: Iterator[Case] = map(functools.partial(nth, asked.seed), range(count))
    else:
        corpus = read_corpus(asked.replay)
        count, cases = len(corpus), iter(corpus)
    with Asker(server.port) as asker:
        for number in range(WARM_UP):
            asker.ask(number)
    before, old = server.sizes(), server.exceptions()
    begin_s = time.perf_counter()
    good = GoodClient(server.port)
    tally, on_the_way = uvloop.run(attack(cases, count, server, WAIT_S[asked.model]))
    seconds = time.perf_counter() - begin_s
    waits: Waits = good.stop()
    time.sleep(SETTLE_S)
    after = server.sizes()
    with Asker(server.port) as asker:
        status, fault = asker.ask(0)
    return tally, {
        **tally.told(),
        "exceptions": dict(server.exceptions() - old),
        "good": msgspec.to_builtins(waits),
        "before": msgspec.to_builtins(before),
        "after": msgspec.to_builtins(after),
        "on_the_way": msgspec.to_builtins(on_the_way),
        "gone": server.gone(),
        "serves_afterwards": status == 200 and fault is None,
        "seconds": round(seconds, 1),
        "seed": asked.seed,
        "model": asked.model,
        "ingress": asked.ingress,
        "at_a_time": AT_A_TIME,
    }


def is_unharmed(told: dict[str, Any]) -> bool:
    """Whether no rule was broken, nothing failed in the logs, and the good client was served."""
    reader = told.get("reader", {})
    if reader.get("exceptions") or reader.get("list_exceptions") or reader.get("missing_records"):
        return False
    is_served = told["serves_afterwards"] and not told["good"]["wrong"] and not told["gone"]
    return is_served and not told["broken"] and not told["exceptions"]


def main(argv: list[str] | None = None) -> int:
    """Attack and print; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fuzz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--requests", type=count, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", type=int, default=0, metavar="N", help="answers mutated")
    parser.add_argument("--model", choices=tuple(WAIT_S), default="stub")
    parser.add_argument("--ingress", choices=("haproxy", "proxy"), default="haproxy")
    parser.add_argument("--replay", type=Path, help="a corpus to play in place of drawn requests")
    parser.add_argument("--corpus", type=Path, help="where cases that broke a rule are written")
    asked = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        try:
            with running(asked.model, asked.ingress, Path(folder, "server.log")) as server:
                tally, told = measure(server, asked)
        except ServerError as err:
            say(f"error: {err}")
            return 1
    if asked.corpus is not None:
        write_corpus(asked.corpus, tally.kept)
    if asked.reader:
        told["reader"] = read(asked.reader, asked.seed)
    print(json.dumps({**told, **environment("benchmarks.fuzz")}))  # noqa: T201
    return 0 if is_unharmed(told) else 3


def read(count: int, seed: int) -> dict[str, Any]:
    """What the crowd's reader does with so many mutated answers, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.fuzz_reader", str(count), str(seed)]
    found: dict[str, Any] = json.loads(
        subprocess.run(command, check=True, capture_output=True).stdout
    )
    return found


if __name__ == "__main__":
    sys.exit(main())
