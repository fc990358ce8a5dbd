"""A good client beside the hostile ones, in a process of its own: `GoodClient`.

It asks for an image now and then on a kept connection, with a request id of its own, and holds the
answer against what it asked for: another's answer would have another id or number of images.
"""

import base64
import http.client
import json
import subprocess
import sys
import threading
import time
from typing import Any

import msgspec

from benchmarks.cell import quantile
from benchmarks.fuzz_case import GENERATIONS

EVERY_S = 0.2
TIMEOUT_S = 60.0
REFUSED = (429, 503)


class Waits(msgspec.Struct, frozen=True, kw_only=True):
    """What the good client saw.

    Attributes:
        asked: Requests.
        refused: Answers 429 and 503: more images waited than may.
        wrong: What else was no right answer, in a few words each.
        p50_s: Median wait of those answered.
        p99_s: Its 99th percentile.
        worst_s: The longest of all.
    """

    asked: int
    refused: int
    wrong: list[str]
    p50_s: float | None
    p99_s: float | None
    worst_s: float | None


class GoodClient:
    """A good client from now on, until `stop`.

    Args:
        port: Of loopback.
    """

    def __init__(self, port: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.fuzz_good", str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def stop(self) -> Waits:
        """What it saw."""
        told, _ = self._process.communicate(b"\n", timeout=2 * TIMEOUT_S)
        return msgspec.json.decode(told, type=Waits)


class Asker:
    """One connection, opened again whenever it is gone; a context that ends with it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection: http.client.HTTPConnection | None = None

    def __enter__(self) -> "Asker":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def ask(self, number: int) -> tuple[int | None, str | None]:
        """Ask for the number-th time; the status, and what is wrong with a good answer."""
        images = 1 + number % 2
        body = json.dumps({"prompt": f"a red fox, {number}", "n": images, "num_inference_steps": 2})
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection("127.0.0.1", self._port, TIMEOUT_S)
            self._connection.request("POST", GENERATIONS, body, {"X-Request-Id": f"good-{number}"})
            answer = self._connection.getresponse()
            told = answer.read()
        except (OSError, http.client.HTTPException) as err:
            self.close()
            return None, f"{type(err).__name__}: {err}"
        if answer.getheader("X-Request-Id") != f"good-{number}" and answer.status == 200:
            return answer.status, f"answer of {answer.getheader('X-Request-Id')}"
        return answer.status, fault_of(answer.status, told, images)

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def fault_of(status: int, body: bytes, images: int) -> str | None:
    """What is wrong with an answer to a good request; None: nothing, or it is a refusal."""
    if status in REFUSED:
        return None
    if status != 200:
        return f"HTTP {status}: {body[:200]!r}"
    data: list[Any] = json.loads(body)["data"]
    if len(data) != images:
        return f"{len(data)} images where {images} were asked for"
    files = [base64.b64decode(one["b64_json"]) for one in data]
    return None if all(file.startswith(b"\x89PNG") for file in files) else "no PNG"


def main() -> None:
    """Ask until stdin says so, and print what was seen."""
    over = threading.Event()
    threading.Thread(target=_wait_for_word, args=(over,), daemon=True).start()
    asker = Asker(int(sys.argv[1]))  # its connection ends with the process
    waits_s: list[float] = []
    wrong: list[str] = []
    asked = refused = 0
    while not over.wait(EVERY_S):
        begin_s = time.perf_counter()
        status, fault = asker.ask(asked)
        asked += 1
        if fault is not None:
            wrong.append(fault)
        elif status in REFUSED:
            refused += 1
        else:
            waits_s.append(time.perf_counter() - begin_s)
    seen = Waits(
        asked=asked,
        refused=refused,
        wrong=wrong,
        p50_s=quantile(waits_s, 0.5),
        p99_s=quantile(waits_s, 0.99),
        worst_s=max(waits_s, default=None),
    )
    sys.stdout.buffer.write(msgspec.json.encode(seen))


def _wait_for_word(over: threading.Event) -> None:
    sys.stdin.read(1)
    over.set()


if __name__ == "__main__":
    main()
