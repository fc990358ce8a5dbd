"""One request, from its row of the schedule to its record. Cooperative (gevent)."""

import contextlib
import math
import time
from collections.abc import Iterator

import gevent
import gevent.lock
import msgspec

from loadtest.client.image_client import Exchange, ImageClient
from loadtest.client.outcome import held
from loadtest.client.response import Checked, is_sampled, most_bytes
from loadtest.generator.recorder import FIRST, Attempt, Recorder
from loadtest.plan.job import Ask, Job, Rows
from profiles.schema import Outcome, RequestRecord

INLINE_BYTES = 1 << 18  # of an answer; checking it holds the loop up for less than 1 ms
MAX_WAITING = 500  # answers, to be checked
IDLE_WITHIN_S = 0.01
DECODE_GAP_S = 0.05  # between two answers whose pixels are decoded: at most 20 a second


class Prepared(msgspec.Struct, frozen=True):
    """A request made before it is due."""

    ask: Ask
    body: bytes


class Sender:
    """Sends requests of one generator and records what became of them.

    Args:
        job: the run.
        client: of the job's endpoint.
        recorder: where outcomes go.
        schedule: what each request asks for, a row a request; None: what all ask for.
    """

    def __init__(
        self, job: Job, client: ImageClient, recorder: Recorder, schedule: Rows | None = None
    ) -> None:
        self._job = job
        self._client = client
        self._recorder = recorder
        self._schedule = schedule
        self._decoded_s = -math.inf
        self._turn = gevent.lock.BoundedSemaphore()
        self._waiting = 0

    def prepare(self, seq: int, images: int, whose: Attempt = FIRST) -> Prepared:
        """Make what request `seq` sends."""
        ask = self._job.ask(seq, self._schedule)
        return Prepared(ask, self._job.body(seq, images, ask, whose.priority))

    def send(
        self,
        seq: int,
        due_s: float,
        images: int,
        whose: Attempt = FIRST,
        patience_s: float = math.inf,
        prepared: Prepared | None = None,
    ) -> tuple[RequestRecord, Exchange]:
        """Send a request, wait for its end (`patience_s` at most), check the answer, record it.

        It is made now unless it was `prepared`.

        Raises:
            OSError: the record cannot be written.
        """
        self._recorder.sent += 1
        exchange = self._client.exchange()
        made = prepared or self.prepare(seq, images, whose)
        ask, checked = made.ask, None
        try:
            most = most_bytes(images, ask.width, ask.height, self._job.image_bytes)
            self._client.post(exchange, made.body, patience_s, most)
            if exchange.status == 200 and not exchange.timed_out and exchange.error is None:
                with self._one_after_another():
                    checked = self._checked(exchange, images, ask, seq)
        except gevent.GreenletExit:
            exchange.timed_out, exchange.error = True, "no answer before the run ended"
        record = self._recorder.answered(seq, due_s, images, exchange, checked, ask, whose)
        return record, exchange

    @contextlib.contextmanager
    def _one_after_another(self) -> Iterator[None]:
        """A turn at checking, when the loop has nothing else to do.

        Of many answers that come at once, all are read first, and between two checks whatever has
        come due is sent. A loop that is never idle is behind anyway: then after IDLE_WITHIN_S, and
        at once where more than MAX_WAITING wait.
        """
        self._waiting += 1
        try:
            with self._turn:
                if self._waiting <= MAX_WAITING:
                    with gevent.Timeout(IDLE_WITHIN_S, False):
                        gevent.idle()
                yield
        finally:
            self._waiting -= 1

    def _checked(self, exchange: Exchange, images: int, ask: Ask, seq: int) -> Checked:
        """A check that whatever came survives: one answer must not cost a run its record."""
        try:
            return self._check(exchange, images, ask, seq)
        except Exception as err:  # noqa: BLE001
            return Checked(fault=f"the answer cannot be checked: {type(err).__name__}")

    def _check(self, exchange: Exchange, images: int, ask: Ask, seq: int) -> Checked:
        """A check that takes long is made in a thread, so that the loop goes on meanwhile."""
        decode = is_sampled(seq) and (now_s := time.monotonic()) > self._decoded_s + DECODE_GAP_S
        due = (exchange, images, ask, self._job, self._recorder.credentials)
        if decode:
            self._decoded_s = now_s
        elif len(exchange.body) <= INLINE_BYTES and "content-encoding" not in exchange.headers:
            return held(*due, decode=False)
        off_loop = gevent.get_hub().threadpool.apply
        found: Checked = off_loop(held, due, {"decode": decode})
        return found

    def leave(
        self,
        seq: int,
        due_s: float,
        images: int,
        whose: Attempt = FIRST,
        outcome: Outcome = Outcome.UNSENT,
        why: str = "the run stopped before it was sent",
    ) -> None:
        """Record a request that never left: the run stopped first, or the person had gone.

        Raises:
            OSError: the record cannot be written.
        """
        ask = self._job.ask(seq, self._schedule)
        self._recorder.unsent(seq, due_s, images, outcome, why, ask, whose)
