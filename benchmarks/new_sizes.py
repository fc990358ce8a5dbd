"""Whether sizes nobody asked for before hold others up: `python -m benchmarks.new_sizes`.

Starts `python -m serve.app` with a model on this machine. One client asks for an image of one step
in the warmed size, always with a new prompt, again and again, and waits `PAUSE_S` in between:

alone
    nobody else asks
beside_new
    `--clients` others ask for sizes that nobody asked for before, each time another one
beside_known
    so many ask for sizes of that kind that were asked for: what computing them alone costs it

Progress goes to stderr. The last line of stdout is one JSON object: the good client's requests and
seconds (p50, max) in each, and how many the others got.

Exit codes: 0 measured, 1 the server did not start or answered wrongly, 2 usage.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import random
import sys
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.cell import quantile
from benchmarks.embedded import BenchmarkError, embedded
from benchmarks.options import environment
from benchmarks.player import AnswerError, connect, prepare
from serve.catalog import MODEL_DEFAULTS
from serve.ingress.haproxy import free_port

HOST = "127.0.0.1"
PATH = "/v1/images/generations"
PAUSE_S = 0.02
SEED = 1


class Clients:
    """One who asks for the warmed size, and others.

    Args:
        port: Of the server.
        sizes: What the others ask for, one after the other.
    """

    def __init__(self, port: int, sizes: list[str]) -> None:
        self._port = port
        self._new = iter(sizes)
        self._asked: list[str] = []
        self._prompts = itertools.count()

    async def play(self, kind: str, others: int, seconds: float) -> dict[str, float | int | None]:
        """What the good client saw beside so many others of that kind."""
        until_s = time.perf_counter() + seconds
        known = itertools.cycle(self._asked)
        sizes: Iterator[str] = self._new if kind == "beside_new" else known
        count = 0 if kind == "alone" else others
        played = [self._good(until_s), *(self._other(sizes, until_s) for _ in range(count))]
        seen: list[list[float]] = await asyncio.gather(*played)
        latencies_s, answered = seen[0], seen[1:]
        told: dict[str, float | int | None] = {
            "requests": len(latencies_s),
            "p50_s": quantile(latencies_s, 0.5),
            "max_s": max(latencies_s),
            "answered_to_others": sum(map(len, answered)),
        }
        print(f"{kind}: {told}", file=sys.stderr, flush=True)  # noqa: T201
        return told

    async def _good(self, until_s: float) -> list[float]:
        connection = await connect(HOST, self._port)
        latencies_s: list[float] = []
        while not latencies_s or time.perf_counter() < until_s:
            asked_s = time.perf_counter()
            await connection.ask(_request(prompt=f"fox {next(self._prompts)}"))
            latencies_s.append(time.perf_counter() - asked_s)
            await asyncio.sleep(PAUSE_S)
        connection.close()
        return latencies_s

    async def _other(self, sizes: Iterator[str], until_s: float) -> list[float]:
        connection = await connect(HOST, self._port)
        answered = []
        while time.perf_counter() < until_s and (size := next(sizes, None)):
            await connection.ask(_request(prompt="a fox", size=size))
            self._asked.append(size)
            answered.append(time.perf_counter())
        connection.close()
        return answered


def sizes_of(model: Any, most_pixels: int) -> list[str]:
    """All sizes of a model up to so many pixels but the one that is warmed, in a drawn order."""
    defaults = MODEL_DEFAULTS[model]
    sides = range(64, defaults.max_side + 1, defaults.side_step)
    found = [f"{w}x{h}" for w in sides for h in sides if w * h <= most_pixels]
    found.remove(f"{defaults.side}x{defaults.side}")
    random.Random(SEED).shuffle(found)
    return found


@contextlib.contextmanager
def server(model: str) -> Iterator[int]:
    """A server of that model; its port.

    Raises:
        BenchmarkError: It does not start.
    """
    port = free_port()
    with embedded({"model": model, "port": port}):
        yield port


def main(argv: list[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.new_sizes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", choices=[m for m in MODEL_DEFAULTS if m != "stub"],
                        default="tiny")  # fmt: skip
    parser.add_argument("--clients", type=int, default=4, help="who ask for new sizes")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each of the three")
    parser.add_argument("--pixels", type=int, default=64 * 384, help="most of a new size")
    options = parser.parse_args(argv)
    if options.clients < 1 or not 0 < options.seconds < 1e4:
        parser.error("--clients: at least 1; --seconds: above 0")
    sizes = sizes_of(options.model, options.pixels)

    async def all_three(port: int) -> dict[str, Any]:
        clients = Clients(port, sizes)
        kinds = ("alone", "beside_new", "beside_known")
        return {kind: await clients.play(kind, options.clients, options.seconds) for kind in kinds}

    try:
        with server(options.model) as port:
            told = asyncio.run(all_three(port))
    except (AnswerError, BenchmarkError, OSError) as err:
        print(f"error: {err}", file=sys.stderr)  # noqa: T201
        return 1
    told |= {"clients": options.clients, "seconds": options.seconds}
    print(json.dumps(told | environment("benchmarks.new_sizes")))  # noqa: T201
    return 0


def _request(**fields: str) -> bytes:
    body = json.dumps({**fields, "num_inference_steps": 1}).encode()
    return prepare(PATH, body, HOST)


if __name__ == "__main__":
    sys.exit(main())
