"""What a worker on another machine and the master of a run say to each other.

Both sides speak over the port that Locust's master listens on (ZeroMQ), in Locust's own framing: a
msgpack array of (kind, data, id). The worker asks and the master answers, one question at a time;
`n` counts the questions, so that an answer which comes too late is not taken for the next one's.

The channel is not encrypted. Both sides prove that they know the run's token before anything else
(`loadtest.distributed.handshake`); what follows is not authenticated: whoever reaches the port can
still end the run or forge its record. Neither the token nor the API key crosses the wire.
"""

import importlib.metadata
import time
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import msgpack
import msgspec
import zmq

from loadtest.distributed.clock_offset import Reading
from loadtest.distributed.handshake import Hash, Nonce
from loadtest.errors import ConfigurationError, ViralloadError
from profiles.escaping import printable
from profiles.schema import SCHEMA_VERSION

CHUNK_BYTES = 1 << 18
MAX_BYTES = 1 << 24  # of a message, which ZeroMQ takes whole: the longest is a welcome with its job
ANSWER = "answer"
MAX_SHOWN = 300  # characters of what a master says

A = TypeVar("A", bound=msgspec.Struct)


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag="hello"):
    """A worker asks to take part."""

    version: str  # of viralload
    schema: int
    host: str
    nonce: str = ""  # a `Nonce`; of other versions, whose hello is refused for that


class Prove(msgspec.Struct, frozen=True, kw_only=True, tag="prove"):
    """A worker proves that it knows the token."""

    proof: Hash


class FetchSchedule(msgspec.Struct, frozen=True, kw_only=True, tag="fetch_schedule"):
    """A worker asks for the next CHUNK_BYTES of schedule.npy."""

    offset: Annotated[int, msgspec.Meta(ge=0)]


class TellTime(msgspec.Struct, frozen=True, kw_only=True, tag="tell_time"):
    """A worker asks what the master's clock shows."""


class Lines(msgspec.Struct, frozen=True, kw_only=True, tag="lines"):
    """Whole lines of a worker's record from byte `offset` on; without any, a sign of life."""

    stream: str  # "requests" | "load"
    offset: int
    data: bytes


class Clock(msgspec.Struct, frozen=True, kw_only=True, tag="clock"):
    """A worker measured its clock against the master's."""

    reading: Reading


class Done(msgspec.Struct, frozen=True, kw_only=True, tag="done"):
    """Everything of a worker's share is recorded and sent, or `fault` says why it never will be."""

    fault: str | None = None


Question = Hello | Prove | FetchSchedule | TellTime | Lines | Clock | Done


class Challenge(msgspec.Struct, frozen=True, kw_only=True):
    """What the worker's proof is to be about."""

    nonce: Nonce
    job_sha256: Hash
    schedule_sha256: Hash


class Welcome(msgspec.Struct, frozen=True, kw_only=True):
    """The master's own proof, the worker's share, and all it needs to play it."""

    proof: Hash

    share: int  # it plays the arrivals whose index is this modulo Job.processes
    job: bytes  # job.json
    schedule_bytes: int


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why the master does not take this worker."""

    refused: str


class Data(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of the schedule."""

    data: bytes


class Now(msgspec.Struct, frozen=True, kw_only=True):
    """What the master's monotonic clock shows."""

    monotonic_s: float


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """How many bytes of the stream the master has written so far, and whether the run is over."""

    received: int = 0
    over: bool = False


def version() -> str:
    """This viralload's version."""
    return importlib.metadata.version("viralload")


def hello(host: str, nonce: str) -> Hello:
    """What a worker says first."""
    return Hello(version=version(), schema=SCHEMA_VERSION, host=host, nonce=nonce)


def zmq_host(host: str) -> str:
    """An address as ZeroMQ writes it."""
    return f"[{host}]" if ":" in host else host


def pack(value: msgspec.Struct) -> dict[str, Any]:
    """As msgpack has it."""
    packed: dict[str, Any] = msgspec.to_builtins(value, builtin_types=(bytes,))
    return packed


class MasterLostError(ViralloadError):
    """The master does not answer any more."""


class Channel:
    """The worker's end. Blocks while it waits, so that the clock is read without delay.

    Args:
        host: the master's.
        port: the master's.
        worker: a name nobody else has.

    Raises:
        ConfigurationError: that is no address.
    """

    def __init__(self, host: str, port: int, worker: str) -> None:
        self.worker = worker
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.IDENTITY, worker.encode())
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.IPV6, 1)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_BYTES)
        self._n = 0
        try:
            self._socket.connect(f"tcp://{zmq_host(host)}:{port}")
        except zmq.ZMQError as err:
            self.close()
            raise ConfigurationError(f"{host}:{port} is no address of a master: {err}") from err

    def ask(
        self,
        question: Question,
        kind: type[A],
        timeout_s: float = 10.0,
        tick: Callable[[float], None] | None = None,
    ) -> A:
        """The master's answer. `tick(seconds waited)` is called twice a second.

        Raises:
            MasterLostError: no answer in time.
            ConfigurationError: it refuses.
        """
        self._n += 1
        message = ("viralload", {"n": self._n, "question": pack(question)}, self.worker)
        self._socket.send(msgpack.dumps(message))
        begin_s = time.monotonic()
        while (left_s := begin_s + timeout_s - time.monotonic()) > 0:
            if self._socket.poll(int(1e3 * min(left_s, 0.5)) + 1):
                answer = self._read()
                if answer is not None:
                    return _understood(answer, kind)
            elif tick is not None:
                tick(time.monotonic() - begin_s)
        raise MasterLostError(f"the master has not answered for {timeout_s:.0f} s")

    def close(self) -> None:
        """Hang up."""
        self._socket.close()
        self._context.term()

    def _read(self) -> Any | None:
        """An answer to the last question; None for anything else."""
        try:
            kind, data, _ = msgpack.loads(self._socket.recv())
            return data["answer"] if kind == ANSWER and data["n"] == self._n else None
        except (ValueError, TypeError, KeyError, msgpack.UnpackException):
            return None  # nothing a master of ours would say


def _understood(answer: Any, kind: type[A]) -> A:
    if isinstance(answer, dict) and "refused" in answer:
        why = printable(str(answer["refused"]), MAX_SHOWN)
        raise ConfigurationError(f"the master refuses this worker: {why}")
    try:
        return msgspec.convert(answer, kind)
    except msgspec.ValidationError as err:
        raise ViralloadError(
            f"the master's answer is not understood: {err}; is it the same version of viralload?"
        ) from err
