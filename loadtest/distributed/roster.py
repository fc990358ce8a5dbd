"""The workers of a run, as its master sees them: who has come, what they sent, who is lost.

Knows no network and no Locust: questions come as values, and so do the answers.
"""

import hashlib
import time
from collections.abc import Callable
from typing import Any

import msgspec

from loadtest.distributed import protocol
from loadtest.distributed.clock_offset import Reading
from loadtest.distributed.handshake import NONCE_CHARS, TOKEN_ENV, Meeting, nonce
from profiles.escaping import printable
from profiles.record.folder import RunFolder
from profiles.record.json_lines import LineWriter
from profiles.schema import SCHEMA_VERSION, ClockSample, RunEvent

SILENT_S = 5.0  # a worker speaks several times a second ...
BUSY_S = 30.0  # ... once the load is on; before, it may look for the target
STOOD_S = 1.0  # of silence at most between two looks: the rest is this process's own standing still
STREAMS = ("requests", "load")
MAX_HOST_CHARS = 64  # of the name a worker gives its machine (HOST_NAME_MAX of Linux)
MAX_NAME_CHARS = 64  # of the name it goes by
MAX_MEETINGS = 1000  # that have not come to their end; the oldest are given up
MAX_REFUSED = 100  # are told; more are refused without a word


class WorkerSlot:
    """One share of the schedule, and the worker who plays it."""

    def __init__(self, share: int, host: str, now_s: float) -> None:
        self.share = share
        self.host = printable(host, MAX_HOST_CHARS)
        self.generator = f"locust-{share}"
        self.heard_s = now_s
        self.is_ready = False  # it has schedule and clock, and its Locust is connected
        self.done = False
        self.fault: str | None = None
        self.received = dict.fromkeys(STREAMS, 0)
        self.writers: dict[str, LineWriter] = {}

    @property
    def name(self) -> str:
        """For people."""
        return f"worker {self.share} ({self.generator} on {self.host})"


class Roster:
    """The workers of one run.

    Args:
        size: how many there are to be.
        token: what they must know, and what the master proves to know; empty: nothing.
        folder: of the run; its job.json and schedule.npy are what they play.
        clock: seconds, monotonic, of this machine.
        zero_s: what that clock showed at the run's zero.
    """

    def __init__(
        self,
        size: int,
        token: str,
        folder: RunFolder,
        clock: Callable[[], float] = time.monotonic,
        zero_s: float = 0.0,
    ) -> None:
        self._size = size
        self._token = token
        self._folder = folder
        self._clock = clock
        self._zero_s = zero_s
        self._job = folder.job_path.read_bytes()
        self._job_sha256 = hashlib.sha256(self._job).hexdigest()
        self._schedule_bytes = folder.schedule_path.stat().st_size
        with folder.schedule_path.open("rb") as file:
            self._schedule_sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        self._looked_s: float | None = None
        self._seats: dict[str, WorkerSlot] = {}  # by the worker's own name
        self._meetings: dict[str, tuple[Meeting, str]] = {}  # and the host's name
        self._refused = 0
        self._locusts: set[str] = set()  # names under which Locust knows them
        self.has_begun = False
        self.is_over = False

    # -- what the run asks -------------------------------------------------------------------

    def is_complete(self) -> bool:
        """Whether everybody is there and ready."""
        return sum(seat.is_ready for seat in self._seats.values()) == self._size

    def is_done(self) -> bool:
        """Whether every share is recorded, or lost."""
        return self.is_complete() and all(seat.done for seat in self._seats.values())

    def is_stranger(self, locust_id: str) -> bool:
        """Whether a worker that Locust knows is none of ours."""
        return locust_id not in self._locusts

    def look(self) -> list[str]:
        """Who is lost, in words. Before the load has begun, their seats are free again."""
        now_s = self._clock()
        stood_s = now_s - (now_s if self._looked_s is None else self._looked_s) - STOOD_S
        self._looked_s = now_s
        for worker, seat in list(self._seats.items()):
            if stood_s > 0:  # what was said meanwhile is yet to be read
                seat.heard_s = min(now_s, seat.heard_s + stood_s)
            may_s = SILENT_S if self.has_begun else BUSY_S
            if not seat.done and now_s - seat.heard_s > may_s:
                seat.done, seat.fault = True, f"it was silent for {may_s:.0f} s"
            if seat.fault is not None and not self.has_begun:
                del self._seats[worker]
                kind = "worker_left" if seat.is_ready else "worker_failed"
                self._note(kind, f"{seat.name}: {seat.fault}")
        return [f"{s.name}: {s.fault}" for s in self._seats.values() if s.fault is not None]

    def unfinished(self) -> list[str]:
        """Whose share is not recorded to its end."""
        return [seat.name for seat in self._seats.values() if not seat.done or seat.fault]

    # -- what workers ask --------------------------------------------------------------------

    def locust_joined(self, worker: str, locust_id: str) -> None:
        """The Locust of `worker` is connected."""
        seat = self._seats.get(worker)
        if seat is None:
            return
        self._locusts.add(locust_id)
        if not seat.is_ready:
            seat.is_ready = True
            ready = sum(one.is_ready for one in self._seats.values())
            self._note("worker_joined", f"{seat.name}; {ready} of {self._size} are there")

    def answer(self, worker: str, raw: Any) -> msgspec.Struct:
        """The answer to a question of `worker`.

        Raises:
            OSError: the record cannot be written.
        """
        try:
            question: protocol.Question = msgspec.convert(raw, protocol.Question)
        except msgspec.ValidationError as err:
            return protocol.Refusal(refused=f"its question is not understood: {err}")
        if isinstance(question, protocol.Hello):
            return self._greet(worker, question)
        if isinstance(question, protocol.Prove):
            return self._welcome(worker, question)
        seat = self._seats.get(worker)
        if seat is None:
            return protocol.Refusal(refused="it is not, or no longer, one of this run")
        seat.heard_s = self._clock()
        if isinstance(question, protocol.TellTime):
            return protocol.Now(monotonic_s=seat.heard_s)
        if isinstance(question, protocol.FetchSchedule):
            with self._folder.schedule_path.open("rb") as file:
                file.seek(question.offset)
                return protocol.Data(data=file.read(protocol.CHUNK_BYTES))
        if isinstance(question, protocol.Lines):
            return self._write(seat, question)
        if isinstance(question, protocol.Clock):
            self._note_clock(seat, question.reading)
        else:
            seat.done, seat.fault = True, seat.fault or question.fault
            for writer in seat.writers.values():
                writer.close()
        return protocol.Received(over=self.is_over)

    def _greet(self, worker: str, hello: protocol.Hello) -> msgspec.Struct:
        fault = self._misfit(worker, hello)
        if fault is not None:
            return self._refuse(hello.host, fault)
        if worker not in self._meetings and len(self._meetings) >= MAX_MEETINGS:
            del self._meetings[next(iter(self._meetings))]
        meeting = Meeting(
            worker=worker,
            worker_nonce=hello.nonce,
            master_nonce=nonce(),
            job_sha256=self._job_sha256,
            schedule_sha256=self._schedule_sha256,
        )
        self._meetings[worker] = meeting, printable(hello.host, MAX_HOST_CHARS)
        return protocol.Challenge(
            nonce=meeting.master_nonce,
            job_sha256=self._job_sha256,
            schedule_sha256=self._schedule_sha256,
        )

    def _welcome(self, worker: str, prove: protocol.Prove) -> msgspec.Struct:
        if worker not in self._meetings:
            return protocol.Refusal(refused="it has not said hello")
        meeting, host = self._meetings[worker]
        if not meeting.proves(self._token, "worker", prove.proof):
            fault = f"it does not know the run's token; set {TOKEN_ENV} as the master says"
            return self._refuse(host, fault)
        if worker not in self._seats:
            if self.has_begun or len(self._seats) == self._size:
                return self._refuse(host, f"the run has its {self._size} workers already")
            taken = {seat.share for seat in self._seats.values()}
            share = min(set(range(self._size)) - taken)
            self._seats[worker] = WorkerSlot(share, host, self._clock())
        return protocol.Welcome(
            proof=meeting.proof(self._token, "master"),
            share=self._seats[worker].share,
            job=self._job,
            schedule_bytes=self._schedule_bytes,
        )

    def _refuse(self, host: str, fault: str) -> protocol.Refusal:
        self._refused += 1
        if self._refused <= MAX_REFUSED:  # whoever reaches the port can ask without end
            self._note("worker_refused", f"{printable(host, MAX_HOST_CHARS)}: {fault}")
        return protocol.Refusal(refused=fault)

    def _misfit(self, worker: str, hello: protocol.Hello) -> str | None:
        """Why such a worker cannot take part, whatever it knows."""
        own = protocol.version()
        if (hello.version, hello.schema) != (own, SCHEMA_VERSION):
            theirs = printable(hello.version, MAX_HOST_CHARS)
            return (
                f"it is viralload {theirs} with schema {hello.schema}, the master is "
                f"{own} with schema {SCHEMA_VERSION}; install the same version on both"
            )
        if len(hello.nonce) != NONCE_CHARS or len(worker) > MAX_NAME_CHARS:
            return "its hello is no viralload's"
        return None

    def _write(self, seat: WorkerSlot, lines: protocol.Lines) -> protocol.Received:
        """Append what is new; what comes a second time is left out."""
        if lines.stream not in STREAMS:
            return protocol.Received(over=self.is_over)
        received = seat.received[lines.stream]
        if lines.data and lines.offset == received:
            if lines.stream not in seat.writers:
                folder = self._folder
                make = folder.requests_writer if lines.stream == "requests" else folder.load_writer
                seat.writers[lines.stream] = make(seat.generator)
            seat.writers[lines.stream].append(lines.data)
            seat.received[lines.stream] = received = received + len(lines.data)
        return protocol.Received(received=received, over=self.is_over)

    def _note_clock(self, seat: WorkerSlot, reading: Reading) -> None:
        self._folder.append_clock(
            ClockSample(
                t_s=self._clock() - self._zero_s,
                generator=seat.generator,
                host=seat.host,
                offset_s=reading.offset_s,
                uncertainty_s=reading.uncertainty_s,
            )
        )

    def _note(self, kind: str, detail: str) -> None:
        now_s = self._clock() - self._zero_s
        self._folder.append_event(RunEvent(t_s=now_s, kind=kind, source="master", detail=detail))
