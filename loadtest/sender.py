"""One request, from its row of the schedule to its record. Cooperative (gevent)."""

import math

import gevent

from loadtest.answer import Checked, check
from loadtest.client import Exchange, ImageClient
from loadtest.job import Job, Rows
from loadtest.recorder import FIRST, Attempt, Recorder
from profiles.schema import Outcome, RequestRecord


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

    def send(
        self,
        seq: int,
        due_s: float,
        images: int,
        whose: Attempt = FIRST,
        patience_s: float = math.inf,
    ) -> tuple[RequestRecord, Exchange]:
        """Send a request, wait for its end (`patience_s` at most), check the answer, record it.

        Raises:
            OSError: the record cannot be written.
        """
        self._recorder.sent += 1
        exchange = self._client.exchange()
        ask = self._job.ask(seq, self._schedule)
        checked: Checked | None = None
        try:
            body = self._job.body(seq, images, ask, whose.priority)
            self._client.post(exchange, body, patience_s)
            if exchange.status == 200 and not exchange.timed_out:
                off_loop = gevent.get_hub().threadpool.apply  # keeps the event loop free
                due = (images, ask.width, ask.height, seq, self._job.output_format)
                checked = off_loop(check, (exchange.body, *due))
        except gevent.GreenletExit:
            exchange.timed_out, exchange.error = True, "no answer before the run ended"
        record = self._recorder.answered(seq, due_s, images, exchange, checked, ask, whose)
        return record, exchange

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
