"""What the serving layer costs: `python -m benchmarks.serving`.

Starts `python -m serve.app` with the stub at zero service time, which answers a prepared image of
about 100 KB in base64, and measures from a process of its own, over loopback:

requests_per_s
    closed loop, `--concurrency` requests always in flight, for `--seconds`
latency_p50_s, latency_p99_s
    open loop, Poisson arrivals at `--rate` for `--seconds`; from the instant a request was due to
    the last byte of its answer, nothing subtracted: with no service time, all of it is added

Progress goes to stderr. The last line of stdout is one JSON object: these three, and what they
were measured on. Client and server share the machine's cores.

Exit codes: 0 measured, 1 the server did not start or answered wrongly, 2 usage.
"""

import argparse
import base64
import contextlib
import json
import os
import platform
import sys
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import msgspec
import uvloop  # comes with Ray Serve's uvicorn

from benchmarks.cell import poisson, quantile
from benchmarks.embedded import BenchmarkError, embedded
from benchmarks.options import say
from benchmarks.player import AnswerError, closed_loop, open_loop, prepare
from loadtest.cli.options.values import count
from serve.ingress.haproxy import choose, free_port
from serve.settings import Settings, SettingsError

HOST = "127.0.0.1"
PATH = "/v1/images/generations"
ASK = {"prompt": "a red fox"}
IMAGE_BYTES = 75_000  # 100 KB in base64
WARM_UP_S = 3.0
SEED = 0


class Loads(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of the server."""

    seconds: float
    concurrency: int
    rate_per_s: float


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What one server did."""

    requests_per_s: float
    latency_p50_s: float | None
    latency_p99_s: float | None


async def measure(port: int, loads: Loads) -> Measured:
    """Play both loads against the server.

    Raises:
        AnswerError: An answer was no whole 200.
    """
    request = prepare(PATH, json.dumps(ASK).encode(), HOST)
    in_flight = loads.concurrency
    await closed_loop(HOST, port, request, concurrency=in_flight, seconds=WARM_UP_S)
    requests_per_s = await closed_loop(
        HOST, port, request, concurrency=in_flight, seconds=loads.seconds
    )
    say(f"{requests_per_s:.0f} requests/s with {in_flight} in flight")
    due_s = poisson(loads.rate_per_s, loads.seconds, SEED)
    latencies_s = await open_loop(HOST, port, request, due_s)
    measured = Measured(
        requests_per_s=requests_per_s,
        latency_p50_s=quantile(latencies_s, 0.5),
        latency_p99_s=quantile(latencies_s, 0.99),
    )
    say(
        f"at {loads.rate_per_s:g}/s: p50 {_ms(measured.latency_p50_s)}, "
        f"p99 {_ms(measured.latency_p99_s)}, {len(latencies_s)} requests"
    )
    return measured


@contextlib.contextmanager
def server(ingress: str) -> Iterator[int]:
    """The stub at zero service time, under the policy users get; gives its port.

    Raises:
        BenchmarkError: It does not start.
    """
    port = free_port()
    settings = {
        "model": "stub",
        "stub_fixed_s": 0,
        "stub_step_s": 0,
        "default_steps": 1,
        "stub_image_bytes": IMAGE_BYTES,
        "max_queue": 10_000,
        "ingress": ingress,
        "host": HOST,
        "port": port,
    }
    with embedded(settings):
        yield port


def check(port: int) -> int:
    """Ask for one image and look at it; returns the answer's length in bytes.

    Raises:
        BenchmarkError: The answer holds no PNG.
    """
    url = f"http://{HOST}:{port}{PATH}"
    request = urllib.request.Request(url, json.dumps(ASK).encode())
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
        body = answer.read()
    image = base64.b64decode(json.loads(body)["data"][0]["b64_json"])
    if not image.startswith(b"\x89PNG"):
        raise BenchmarkError("the server answers something else than a PNG")
    return len(body)


def main(argv: list[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=_positive, default=20.0, help="of each load")
    parser.add_argument("--concurrency", type=count, default=32, help="in flight, closed loop")
    parser.add_argument("--rate", type=_positive, default=100.0, help="requests/s, open loop")
    parser.add_argument("--ingress", choices=("auto", "haproxy", "proxy"), default="auto")
    asked = parser.parse_args(argv)
    loads = Loads(seconds=asked.seconds, concurrency=asked.concurrency, rate_per_s=asked.rate)
    try:
        ingress = choose(Settings(ingress=asked.ingress))
        with server(ingress) as port:
            answer_bytes = check(port)
            measured = uvloop.run(measure(port, loads))
    except SettingsError as err:
        say(f"error: {err}")
        return 2
    except (BenchmarkError, AnswerError, OSError) as err:
        say(f"error: {err}")
        return 1
    told = msgspec.structs.asdict(measured) | msgspec.structs.asdict(loads)
    print(json.dumps(told | _machine(ingress, answer_bytes)))  # noqa: T201
    return 0


def _ms(seconds: float | None) -> str:
    return "unknown" if seconds is None else f"{seconds * 1e3:.2f} ms"


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def _machine(ingress: str, answer_bytes: int) -> dict[str, Any]:
    """What it was measured on."""
    return {
        "ingress": ingress,
        "answer_bytes": answer_bytes,
        "cores": len(os.sched_getaffinity(0)),
        "load_1min": os.getloadavg()[0],
        "python": platform.python_version(),
        "ray": version("ray"),
        "utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }


if __name__ == "__main__":
    sys.exit(main())
