"""The crowd's reader under mutated answers: `python -m benchmarks.fuzz --reader N` runs it.

A server on loopback gives the mutated answers of `benchmarks.fuzz_answers`, one after the other, to
the crowd's own client, sender and recorder, as they are in a run; and a tenth as many mutated lists
of models to what asks for them before one. Counted:

answers, lists          asked for
exceptions              out of the reader (it has none to raise), by type and text
list_exceptions         but TargetError, the documented one
outcomes                of the records
missing_records         answers without exactly one record
worst_s, list_worst_s   the longest that one took; an answer's time limit is TIMEOUT_S
rss_before_mib          after the first WARM_UP answers
rss_after_mib           after the last one
rss_peak_mib            of all, the benchmark's own reading of the records included
"""

import contextlib
import json
import resource
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent.pool
import gevent.server
import psutil

from benchmarks.fuzz_answers import SIDE, Told, nth, nth_list
from loadtest.client.address import parse
from loadtest.client.credentials import NONE
from loadtest.client.image_client import ImageClient
from loadtest.client.target import ask_models
from loadtest.errors import TargetError
from loadtest.generator.recorder import Recorder
from loadtest.generator.sender import Sender
from loadtest.plan.job import Job
from profiles.record.folder import RunFolder
from profiles.record.json_lines import LineWriter

TIMEOUT_S = 0.3
WARM_UP = 300  # answers before memory is read
LIST_SHARE = 0.1
END_S = 1.0  # for the server's connections, before they are cut off


class Answering:
    """What the server says to the next request."""

    def __init__(self) -> None:
        self.told = Told(kind="", data=b"", hangs_up=True)

    def serve(self, plug: Any, address: object = None) -> None:
        """Answer each request of a connection with what is to be said now."""
        with contextlib.suppress(OSError), plug:
            while _request(plug):
                told = self.told
                plug.sendall(told.data)
                if told.hangs_up:
                    plug.shutdown(socket.SHUT_WR)
                    plug.recv(1)  # until the client has hung up
                    return


def _request(plug: Any) -> bool:
    """Read a request, whole; whether one came."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = plug.recv(65536)
        if not more:
            return False
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    _, found, rest = head.lower().partition(b"content-length: ")
    left = int(rest.split(b"\r\n")[0]) - len(body) if found else 0
    while left > 0:
        left -= len(plug.recv(65536)) or left
    return True


class Reading:
    """The crowd's client, sender and recorder before a server that says what it is told to.

    Args:
        folder: Of the records.
    """

    def __init__(self, folder: Path) -> None:
        self._answering = Answering()
        self._server = gevent.server.StreamServer(
            ("127.0.0.1", 0), self._answering.serve, spawn=gevent.pool.Pool()
        )
        self._server.start()
        self._folder = folder
        self._lines = LineWriter(folder / "requests-a.jsonl")
        job = Job(
            run_dir=str(folder), clock_zero_monotonic_s=0.0, model="m", width=SIDE, height=SIDE,
            base_url=f"http://127.0.0.1:{self._server.server_port}", prompts=["a"],
            timeout_s=TIMEOUT_S, drain_s=1.0,
        )  # fmt: skip
        self._client = ImageClient(job.endpoint, job.timeout_s)
        self._recorder = Recorder(job, self._lines, time.monotonic)
        self._sender = Sender(job, self._client, self._recorder)

    @property
    def recorded(self) -> int:
        """Records so far."""
        return self._recorder.done

    def read(self, number: int, told: Told) -> float:
        """Ask, and read the answer; seconds it took. Raises whatever the reader does."""
        self._answering.told = told
        begin_s = time.perf_counter()
        self._sender.send(number, 0.0, 1)
        return time.perf_counter() - begin_s

    def close(self) -> list[tuple[int, str]]:
        """End; number and outcome of every record."""
        self._client.close()
        self._server.stop(timeout=END_S)  # connections end with it
        self._lines.close()
        return [(one.seq, one.outcome.value) for one in RunFolder(self._folder).requests().read()]


@contextlib.contextmanager
def listing() -> Iterator[Callable[[Told], None]]:
    """A server of lists of models; gives what asks it and chooses, raising TargetError alone."""
    answering = Answering()
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    answering.serve(door.accept()[0])

        def ask(told: Told) -> None:
            answering.told = told
            ask_models(parse(f"http://127.0.0.1:{port}/v1"), NONE, None)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield ask
        door.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def measure(count: int, seed: int) -> dict[str, Any]:
    """Read so many mutated answers, and a tenth as many lists; the figures."""
    exceptions: Counter[str] = Counter()
    list_exceptions: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    worst_s = list_worst_s = 0.0
    before = after = _rss_mib()
    lists = int(count * LIST_SHARE)
    with tempfile.TemporaryDirectory() as folder:
        reading = Reading(Path(folder))
        for number in range(count):
            if number == WARM_UP:
                before = _rss_mib()
            told = nth(seed, number)
            kinds[told.kind] += 1
            try:
                worst_s = max(worst_s, reading.read(number, told))
            except Exception as err:  # noqa: BLE001 - any is what is looked for
                exceptions[f"{told.kind} {number}: {type(err).__name__}: {err}"[:200]] += 1
        after = _rss_mib()
        records = reading.close()
    with listing() as ask:
        for number in range(lists):
            begin_s = time.perf_counter()
            try:
                ask(nth_list(seed, number))
            except TargetError:
                pass
            except Exception as err:  # noqa: BLE001
                list_exceptions[f"{number}: {type(err).__name__}: {err}"[:200]] += 1
            list_worst_s = max(list_worst_s, time.perf_counter() - begin_s)
    seen = Counter(seq for seq, _ in records)
    return {
        "answers": count,
        "lists": lists,
        "kinds": dict(kinds),
        "exceptions": dict(exceptions.most_common(20)),
        "list_exceptions": dict(list_exceptions.most_common(20)),
        "outcomes": dict(Counter(outcome for _, outcome in records)),
        "missing_records": sum(seen[number] != 1 for number in range(count)),
        "worst_s": round(worst_s, 3),
        "list_worst_s": round(list_worst_s, 3),
        "timeout_s": TIMEOUT_S,
        "rss_before_mib": before,
        "rss_after_mib": after,
        "rss_peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def _rss_mib() -> float:
    return round(psutil.Process().memory_info().rss / 2**20, 1)


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]), int(sys.argv[2]))))  # noqa: T201
