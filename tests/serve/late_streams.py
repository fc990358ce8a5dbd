"""Streams, events and graphs of the late device, in torch.cuda's own words."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from tests.serve.late_memory import Block

if TYPE_CHECKING:
    from tests.serve.late import Late

Run = Callable[[], object]


class CaptureError(RuntimeError):
    """What CUDA does not permit while a stream is capturing."""


class Launch(msgspec.Struct, frozen=True):
    """Something the device is to do.

    Attributes:
        name: For messages.
        run: Does it, on the aliases of the memory.
        reads: Blocks.
        writes: Blocks.
    """

    name: str
    run: Run
    reads: Sequence[Block]
    writes: Sequence[Block]


class Stream:
    """A queue of launches; `late` is set by the device whose stream it is.

    Attributes:
        done: How many of its items have run.
        sent: How many there were so far.
    """

    late: "Late"

    def __init__(self, device: Any = None, priority: int = 0) -> None:
        self.priority = priority
        self.done = 0
        self.sent = 0
        self._queue: deque[Run] = deque()
        self.late.streams.append(self)
        self.name = f"stream {len(self.late.streams) - 1}"

    def wait_event(self, event: "Event") -> None:
        mark = event.mark
        if mark is not None and mark.stream is not self:
            self.put(mark.reach)

    def wait_stream(self, stream: "Stream") -> None:
        self.wait_event(stream.record_event())

    def record_event(self, event: "Event | None" = None) -> "Event":
        event = event or self.late.event()
        event.record(self)
        return event

    def synchronize(self) -> None:
        self.late.wait(self, self.sent, "stream.synchronize")

    def query(self) -> bool:
        return self.done == self.sent

    def put(self, run: Run) -> int:
        """Queue an item; its position, from 1."""
        with self.late.lock:
            self._queue.append(run)
            self.sent += 1
            return self.sent

    def reach(self, position: int) -> None:
        """Run until so many items are done, and what they wait for."""
        while self.done < position:
            self._queue.popleft()()
            self.done += 1

    def is_past(self, position: int) -> bool:
        return self.done >= position


class Mark:
    """A place in a stream that an event was recorded at."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.time_s: float | None = None
        self.position = stream.put(self._pass)

    def reach(self) -> None:
        self.stream.reach(self.position)

    def _pass(self) -> None:
        self.time_s = self.stream.late.now_s


class Event:
    """Knows its last record."""

    late: "Late"

    def __init__(
        self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False
    ) -> None:
        self.mark: Mark | None = None
        self._has_time = enable_timing

    def record(self, stream: Stream | None = None) -> None:
        self.mark = Mark(stream or self.late.current)

    def wait(self, stream: Stream | None = None) -> None:
        (stream or self.late.current).wait_event(self)

    def synchronize(self) -> None:
        if self.mark is not None:
            self.late.wait(self.mark.stream, self.mark.position, "event.synchronize")

    def query(self) -> bool:
        return self.mark is None or self.mark.time_s is not None

    def elapsed_time(self, end_event: "Event") -> float:
        """Milliseconds of the device's clock."""
        if not (self._has_time and end_event._has_time):
            raise ValueError("both events must be created with enable_timing=True")
        if self.mark is None or end_event.mark is None:
            raise ValueError("both events must be recorded before their times are compared")
        began_s, ended_s = self.mark.time_s, end_event.mark.time_s
        if began_s is None or ended_s is None:
            raise RuntimeError("device not ready: an event has not happened yet")
        return 1e3 * (ended_s - began_s)


class Graph:
    """Launches that were captured, run again on the same memory; graphs of a pool share theirs."""

    late: "Late"

    def __init__(self, keep_graph: bool = False) -> None:
        self._launches: list[Launch] = []
        self._own: list[Block] = []
        self._reads: list[Block] = []
        self._writes: list[Block] = []

    def add(self, launch: Launch) -> None:
        self._launches.append(launch)

    def allocated(self, block: Block) -> None:
        self._own.append(block)

    def finish(self, pool: Block | None) -> None:
        """The capture ends: know what a replay touches."""
        temporary = {id(block) for block in self._own if block.is_free}

        def lasting(blocks: list[Block]) -> list[Block]:
            return list({id(b): b for b in blocks if id(b) not in temporary}.values())

        self._reads = lasting([b for launch in self._launches for b in launch.reads])
        self._writes = lasting([b for launch in self._launches for b in launch.writes])
        for block in (*self._reads, *self._writes):
            block.is_captured = True
        if pool is not None:
            self._writes.append(pool)

    def replay(self) -> None:
        for block in (*self._reads, *self._writes):
            if block.is_free:
                self.late.fault("a graph is replayed on memory that was given back")
                break
        self.late.send(Launch("graph", self._run, self._reads, self._writes))

    def reset(self) -> None:
        self._launches.clear()

    def _run(self) -> None:
        for launch in self._launches:
            self.late.execute(launch)


class Capturing:
    """`torch.cuda.graph`: what is launched within goes into the graph."""

    late: "Late"

    def __init__(
        self,
        cuda_graph: Graph,
        pool: Block | None = None,
        stream: Stream | None = None,
        capture_error_mode: str = "global",
    ) -> None:
        self._graph, self._pool = cuda_graph, pool
        self._stream = stream or self.late.stream()
        self._within = Within(self._stream)

    def __enter__(self) -> None:
        self.late.synchronize()
        self._within.__enter__()
        self.late.own.graph = self._graph

    def __exit__(self, *_: object) -> None:
        self.late.own.graph = None
        self._within.__exit__()
        self._graph.finish(self._pool)


class Within:
    """`torch.cuda.stream`: the stream is this thread's current one; None changes nothing."""

    def __init__(self, stream: Stream | None) -> None:
        self._stream = stream
        self._before: Stream | None = None

    def __enter__(self) -> None:
        if self._stream is not None:
            own = self._stream.late.own
            self._before, own.stream = own.stream, self._stream

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._stream.late.own.stream = self._before


class Own(threading.local):
    """What each thread has of its own: its current stream and the graph that it captures."""

    stream: Stream | None = None
    graph: Graph | None = None
