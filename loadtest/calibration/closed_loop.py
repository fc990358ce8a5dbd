"""A closed loop against a real server, in a process of its own (`loadtest.calibration`).

    python -m loadtest.calibration.closed_loop job.json alone COUNT
    python -m loadtest.calibration.closed_loop job.json climb FIRST

`alone` sends COUNT requests, one after the other; `climb` ever more at once, from FIRST on.

stdout gets JSON lines: of `alone` each request's seconds; of `climb` each window as it ends, then
the `Calibration`. A request that fails ends it with exit code 1 and its words on stderr. What is
asked for is what the run will ask for: the rows of `asks.npy` beside the job, again and again.
"""

import sys
import time
from pathlib import Path

import gevent
import gevent.pool
import msgspec
import numpy as np

from loadtest.calibration.concurrency import Calibration, Climb, Done
from loadtest.client.credentials import Credentials, of_this_process
from loadtest.client.image_client import Exchange, ImageClient
from loadtest.client.outcome import held, words
from loadtest.client.response import is_sampled, most_bytes
from loadtest.plan.job import Ask, Job, Rows, decode
from loadtest.system import open_files
from profiles.escaping import printable
from profiles.record.folder import RunFolder

REFUSED = (429, 503)
BACK_OFF_S = 0.5  # whoever was refused waits so long
LOOK_S = 0.1
BUSY = 0.9  # of a core: beyond it this process is the limit
OPEN_FILES = "this machine ran out of open files, ports or buffers"
PROCESSOR = "the load generator's processor was busy throughout"


class FailedError(Exception):
    """A request failed, in words."""


class ClosedLoop:
    """Sends requests of one run and says what became of them.

    Args:
        job: The run.
        opened: What opens the server.
        asks: What requests ask for, a row each; None: all what the job says.
    """

    def __init__(self, job: Job, opened: Credentials, asks: Rows | None) -> None:
        self._job = job
        self._asks = asks
        self._opened = opened
        self._client = ImageClient(opened.url(job.endpoint), job.timeout_s, opened.headers)
        self._next = 0
        self._fault: Exception | None = None

    def alone(self) -> float:
        """Seconds a request takes on a server that does nothing else.

        Raises:
            FailedError: It failed.
        """
        begin_s = time.monotonic()
        exchange, fault, _ = self._ask()
        if fault:
            raise FailedError(fault)
        return (exchange.done_s or time.monotonic()) - begin_s

    def climb(self, first: int) -> Calibration:
        """What the server completes when always busy.

        Raises:
            FailedError: A request failed, or nothing came back in time.
        """
        begin_s = time.monotonic()
        plan = Climb(first, begin_s)
        group, told = gevent.pool.Group(), 0
        window_s, cpu_s = begin_s, time.thread_time()
        while not plan.is_over and self._fault is None:
            for _ in range(plan.in_flight - len(group)):
                group.spawn(self._again, plan)
            gevent.sleep(LOOK_S)
            plan.look(time.monotonic())
            if len(plan.windows) > told:
                told = len(plan.windows)
                _write(plan.windows[-1])
                now_s, used_s = time.monotonic(), time.thread_time()
                if (used_s - cpu_s) / (now_s - window_s) > BUSY:
                    plan.look(now_s, PROCESSOR)
                window_s, cpu_s = now_s, used_s
        plan.is_over = True
        group.kill()
        if self._fault is not None:
            raise self._fault
        found = plan.result()
        if found is None:
            raise FailedError(
                "the server completed fewer than two images: give a rate with --peak, or "
                "--capacity IMAGES_PER_S"
            )
        return found

    def close(self) -> None:
        """Hang up on connections that wait."""
        self._client.close()

    def _again(self, plan: Climb) -> None:
        """One of those in flight: asks again and again."""
        while not plan.is_over and self._fault is None:
            exchange, fault, images = self._ask()
            if fault is None and exchange.done_s is not None:
                latency_s = exchange.done_s - exchange.sent_s
                plan.completed(Done(exchange.done_s, images, latency_s))
            elif exchange.is_local:
                plan.look(time.monotonic(), OPEN_FILES)
            elif exchange.status in REFUSED:
                plan.refused()
                gevent.sleep(BACK_OFF_S)
            elif not plan.is_over:
                self._fault = FailedError(
                    failure(fault, plan.in_flight, timed_out=exchange.timed_out)
                )

    def _ask(self) -> tuple[Exchange, str | None, int]:
        """One request: what came, what is wrong with it, and its images."""
        seq, self._next = self._next, self._next + 1
        row = None if self._asks is None else seq % len(self._asks)
        ask = self._job.ask(seq) if row is None else self._job.ask(row, self._asks)
        images = 1 if self._asks is None else int(self._asks[row]["images"])
        exchange = self._client.exchange()
        most = most_bytes(images, ask.width, ask.height, self._job.image_bytes)
        self._client.post(exchange, self._job.body(seq, images, ask), most_bytes=most)
        fault = self._fault_of(exchange, images, ask, seq)
        return exchange, None if fault is None else printable(self._opened.mask(fault)), images

    def _fault_of(self, exchange: Exchange, images: int, ask: Ask, seq: int) -> str | None:
        if exchange.timed_out:
            return f"no answer in {self._job.timeout_s:g} s"
        if exchange.error is not None:
            return exchange.error
        if exchange.status != 200:
            return words(exchange, self._job, self._opened)
        decode = is_sampled(seq)
        return held(exchange, images, ask, self._job, self._opened, decode=decode).fault


def failure(fault: str | None, in_flight: int, *, timed_out: bool) -> str:
    """A fault with how many requests were in flight, and the way out where they were too slow."""
    plural = "s" if in_flight > 1 else ""
    told = f"{fault}, with {in_flight} request{plural} in flight"
    remedy = "give --timeout more, the peak in images/s (--peak 2), or --capacity IMAGES_PER_S"
    return f"{told}; {remedy}" if timed_out else told


def main(argv: list[str]) -> int:
    """Play; returns the exit code."""
    path, what, count = Path(argv[0]), argv[1], int(argv[2])
    job = decode(path.read_bytes())
    open_files.raise_limit()
    asks = RunFolder(path.parent).asks_path
    loop = ClosedLoop(job, of_this_process(), np.load(asks) if asks.exists() else None)
    try:
        if what == "alone":
            for _ in range(count):
                _write(loop.alone())
        else:
            _write(loop.climb(count))
    except FailedError as err:
        sys.stderr.write(f"error: {err}\n")
        return 1
    return 0


def _write(value: object) -> None:
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
