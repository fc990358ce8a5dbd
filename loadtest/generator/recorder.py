"""Every outcome becomes one RequestRecord line."""

from collections.abc import Callable

import msgspec

from loadtest.client import server_claims
from loadtest.client.credentials import NONE, Credentials
from loadtest.client.image_client import Exchange
from loadtest.client.outcome import words
from loadtest.client.response import Checked
from loadtest.plan.job import Ask, Job
from profiles.escaping import printable
from profiles.record.json_lines import LineWriter
from profiles.schema import LOCAL_ERROR, LoadSample, Outcome, RequestRecord

REFUSED = (429, 503)
MAX_CHARS = 400  # of what a server says, in a record


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """Whose attempt it is, and the how-manieth."""

    attempt: int = 1
    person: int | None = None
    priority: str | None = None


FIRST = Attempt()  # of a request that comes by itself


class Recorder:
    """Turns exchanges into records of one generator, and counts them.

    Args:
        job: the run.
        lines: where records go.
        clock: seconds on the run's clock.
        credentials: what opens the server: taken out of what it said, in case it repeats them.
    """

    def __init__(
        self,
        job: Job,
        lines: LineWriter,
        clock: Callable[[], float],
        credentials: Credentials = NONE,
    ) -> None:
        self.credentials = credentials
        self._job = job
        self._lines = lines
        self._clock = clock
        self.sent = 0
        self.done = 0
        self.untrue = 0  # answers that tell of themselves what cannot be

    def answered(
        self,
        seq: int,
        scheduled_s: float,
        images: int,
        exchange: Exchange,
        checked: Checked | None,
        ask: Ask | None = None,
        whose: Attempt = FIRST,
    ) -> RequestRecord:
        """Record a request that left; `checked` is what a 200 answer's check found."""
        outcome, error = self._judge(exchange, checked)
        ask = ask or self._job.ask(seq)
        took_s = None if exchange.done_s is None else exchange.done_s - exchange.sent_s
        headers, pixels = exchange.headers, ask.width * ask.height
        stages = server_claims.stages(headers.get("server-timing", ""), took_s)
        flop = server_claims.flop_of(headers.get("x-flop"), images, pixels, ask.steps)
        batch_mean = server_claims.positive(
            _number(headers.get("x-batch-mean")), server_claims.MAX_BATCH
        )
        if (
            ("server-timing" in headers and not stages)
            or ("x-flop" in headers and flop is None)
            or ("x-batch-mean" in headers and batch_mean is None)
        ):
            self.untrue += 1
        zero = self._job.clock_zero_monotonic_s
        record = RequestRecord(
            seq=seq,
            attempt=whose.attempt,
            session=whose.person,
            priority=whose.priority,
            scheduled_s=scheduled_s,
            sent_s=exchange.sent_s - zero,
            first_byte_s=None if exchange.first_byte_s is None else exchange.first_byte_s - zero,
            done_s=None if exchange.done_s is None else exchange.done_s - zero,
            outcome=outcome,
            status=exchange.status,
            error=self._told(error),
            images=images,
            width=ask.width,
            height=ask.height,
            steps=ask.steps,
            prompt_chars=len(ask.prompt),
            bytes_in=len(exchange.body) if exchange.status is not None else None,
            request_id=self._told(headers.get("x-request-id")),
            queue_s=stages.get("queue"),
            text_s=stages.get("text"),
            denoise_s=stages.get("denoise"),
            decode_s=stages.get("decode"),
            encode_s=stages.get("encode"),
            batch_mean=batch_mean,
            replica=self._told(headers.get("x-replica")),
            gpu_uuid=self._told(headers.get("x-gpu-uuid")),
            flop=flop,
            decoded=None if checked is None else checked.decoded,
        )
        self.done += 1
        self._lines.add(record)
        return record

    def _told(self, said: str | None) -> str | None:
        """What a server said, printable and without secrets."""
        return None if said is None else printable(self.credentials.mask(said), MAX_CHARS)

    def unsent(
        self,
        seq: int,
        scheduled_s: float,
        images: int,
        outcome: Outcome,
        why: str,
        ask: Ask | None = None,
        whose: Attempt = FIRST,
    ) -> None:
        """Record a request that never left: the run stopped first, or the person had gone."""
        ask = ask or self._job.ask(seq)
        self._lines.add(
            RequestRecord(
                seq=seq,
                attempt=whose.attempt,
                session=whose.person,
                priority=whose.priority,
                scheduled_s=scheduled_s,
                outcome=outcome,
                error=why,
                images=images,
                width=ask.width,
                height=ask.height,
                steps=ask.steps,
                prompt_chars=len(ask.prompt),
            )
        )

    def _judge(self, exchange: Exchange, checked: Checked | None) -> tuple[Outcome, str | None]:
        if exchange.gave_up:
            return Outcome.ABANDONED, "the person ran out of patience"
        if exchange.timed_out:
            return Outcome.TIMEOUT, exchange.error or "no complete answer within the time limit"
        if exchange.error is not None:
            return Outcome.FAILED, (LOCAL_ERROR if exchange.is_local else "") + exchange.error
        if exchange.status == 200:
            fault = checked.fault if checked is not None else None
            return (Outcome.OK, None) if fault is None else (Outcome.FAILED, fault)
        error = words(exchange, self._job, self.credentials)
        return (Outcome.REJECTED if exchange.status in REFUSED else Outcome.FAILED), error

    def flush(self) -> None:
        """Put what is queued on disk."""
        self._lines.flush()

    def sample(
        self,
        generator: str,
        due: int,
        cpu_pct: float,
        loop_lag_s: float,
        loop_cpu_pct: float,
        unasked: int = 0,
    ) -> LoadSample:
        """This generator's counters now."""
        return LoadSample(
            t_s=self._clock(),
            generator=generator,
            due=due,
            sent=self.sent,
            done=self.done,
            in_flight=self.sent - self.done,
            cpu_pct=cpu_pct,
            loop_lag_s=loop_lag_s,
            loop_cpu_pct=loop_cpu_pct,
            unasked=unasked,
            untrue=self.untrue,
        )


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
