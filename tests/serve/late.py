"""A GPU that is a CPU and as late as CUDA allows: what overtakes or forgets something goes wrong.

Code that asks for "cuda" runs unchanged. Kernels compute on the CPU, but none runs when it is
launched: it waits in its stream until somebody awaits it, or runs at some random moment before
that (a seed). Results are poisoned until then. So whoever forgets an event, reads pinned memory
too early, writes it again too early or freezes a host value into a graph gets wrong numbers; and
three mistakes are faults by themselves, whatever the numbers:

- a launch that runs before an earlier one of another stream, though they share memory;
- memory that its stream may hand out again while another stream has yet to work on it;
- a graph that is replayed on memory that was given back.

It cannot show: kernels, their speed, and how much memory they take.
"""

# mypy: disallow-untyped-calls=False
# Parts of torch are untyped.

import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
from torch.utils._python_dispatch import _disable_current_modes

from tests.serve.late_memory import Block, Heap
from tests.serve.late_modes import Functions, Kernels
from tests.serve.late_streams import (
    CaptureError,
    Capturing,
    Event,
    Graph,
    Launch,
    Own,
    Stream,
    Within,
)

KERNEL_S = 10e-6


class Late:
    """One such device.

    Args:
        seed: None: as late as allowed. A number: at random.

    Attributes:
        streams: All of them, the default one first.
        faults: What went wrong, in words.
        waits: Why the host waited, each time.
        now_s: The device's clock; a kernel takes 10 us.
        memory: The device's.
        pinned: The host's that copies may read and write while the host goes on.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._random = None if seed is None else random.Random(seed)
        kinds = (Stream, Event, Graph, Capturing)
        own: Any = [type(kind.__name__, (kind,), {"late": self}) for kind in kinds]
        self.stream: type[Stream] = own[0]
        self.event: type[Event] = own[1]
        self.graph: type[Graph] = own[2]
        self.capture: type[Capturing] = own[3]
        self.lock = threading.RLock()
        self.own = Own()
        self.streams: list[Stream] = []
        self.faults: list[str] = []
        self.waits: list[str] = []
        self.now_s = 0.0
        self.memory = Heap()
        self.pinned = Heap()
        self._default = self.stream()

    @property
    def current(self) -> Stream:
        """This thread's current stream."""
        return self.own.stream or self._default

    def adopt(self, module: torch.nn.Module) -> None:
        """Take a module's weights to be on the device."""
        for tensor in (*module.parameters(), *module.buffers()):
            self.memory.adopt(tensor)

    def allocate(self, like: torch.Tensor) -> tuple[torch.Tensor, Block]:
        """Poisoned memory of the device for a tensor of such shape, strides and type."""
        graph = self.own.graph
        made, block = self.memory.allocate(
            like.size(), like.stride(), like.dtype, None if graph else self.current
        )
        if graph:
            graph.allocated(block)
        return made, block

    def pin(self, like: torch.Tensor) -> torch.Tensor:
        """Poisoned pinned memory of the host."""
        if self.own.graph:
            raise CaptureError("operation not permitted when stream is capturing: pin_memory")
        return self.pinned.allocate(like.size(), like.stride(), like.dtype, None)[0]

    def fault(self, what: str) -> None:
        """Note what went wrong."""
        self.faults.append(what)

    def send(self, launch: Launch) -> None:
        """Launch on the current stream, or into the graph that is captured."""
        graph = self.own.graph
        if graph is not None:
            graph.add(launch)
            return
        stream = self.current
        with self.lock:
            self._reuse()
            earlier = self._earlier(launch, stream)
            position = stream.put(lambda: self._run(launch, stream, earlier))
            for block in launch.reads:
                block.uses[stream] = position
            for block in launch.writes:
                block.uses[stream] = position
                block.writer = (stream, position)
            self._go_on()

    def wait(self, stream: Stream, position: int, why: str) -> None:
        """The host waits until a stream has come so far."""
        if self.own.graph is not None:
            raise CaptureError(f"operation not permitted when stream is capturing: {why}")
        with self.lock, apart():
            self._reuse()
            self.waits.append(why)
            stream.reach(position)

    def drain(self, why: str) -> None:
        """The host waits for all it launched on the current stream."""
        self.wait(self.current, self.current.sent, why)

    def synchronize(self, device: Any = None) -> None:
        """The host waits for everything; the newest streams get there first."""
        for stream in reversed(self.streams):
            self.wait(stream, stream.sent, "synchronize")

    def execute(self, launch: Launch) -> None:
        """Do it; what fails poisons no other launch, as its results stay poisoned."""
        self.now_s += KERNEL_S
        try:
            launch.run()
        except Exception as err:  # noqa: BLE001 - whatever a kernel finds in poisoned memory
            self.fault(f"{launch.name} failed: {err}")

    def _run(self, launch: Launch, stream: Stream, earlier: list[tuple[Stream, int]]) -> None:
        for other, position in earlier:
            if not other.is_past(position):
                self.fault(
                    f"{launch.name} on {stream.name} ran before what {other.name} had to do "
                    "with its memory first"
                )
        self.execute(launch)

    def _earlier(self, launch: Launch, stream: Stream) -> list[tuple[Stream, int]]:
        """What other streams have yet to do before this launch may run."""
        earlier = [block.writer for block in launch.reads if block.writer is not None]
        for block in launch.writes:
            earlier += block.uses.items()
        return [(s, position) for s, position in earlier if s is not stream and s.done < position]

    def _reuse(self) -> None:
        """Hand out again what was given back, wherever a stream could do so by now.

        What another stream has yet to do there must be over by then: the allocator waits for the
        streams it was told of (`record_stream`), and the program may have made the owner wait.
        """
        for block in self.memory.freed():
            owner = block.owner
            if owner is None:
                continue
            pending = [
                (stream, position)
                for stream, position in block.uses.items()
                if stream is not owner
                and stream not in block.recorded
                and not stream.is_past(position)
            ]
            if not pending and not block.is_captured:
                continue  # it can do no harm: what would be written is never seen
            position = owner.put(block.poison)
            with apart():
                owner.reach(position)
            for stream, last in pending:
                if not stream.is_past(last):
                    self.fault(
                        f"memory of {owner.name} was given back while {stream.name} had yet to "
                        "work on it"
                    )

    def _go_on(self) -> None:
        """At random, some streams get on a little."""
        if self._random is None:
            return
        with apart():
            while self._random.random() < 0.3:
                stream = self._random.choice(self.streams)
                stream.reach(min(stream.sent, stream.done + self._random.randint(1, 40)))

    @contextlib.contextmanager
    def installed(self) -> Iterator["Late"]:
        """Stand in torch.cuda's place; `entered` for this thread, others enter by themselves."""
        stand_ins: dict[str, Any] = {
            "Stream": self.stream,
            "Event": self.event,
            "CUDAGraph": self.graph,
            "graph": self.capture,
            "stream": Within,
            "current_stream": lambda device=None: self.current,
            "default_stream": lambda device=None: self._default,
            "set_stream": lambda stream: setattr(self.own, "stream", stream),
            "synchronize": self.synchronize,
            "empty_cache": lambda: None,
            "graph_pool_handle": lambda: Block(None),
        }
        with contextlib.ExitStack() as stack:
            for name, stand_in in stand_ins.items():
                stack.enter_context(mock.patch.object(torch.cuda, name, stand_in))
            stack.enter_context(mock.patch.object(torch.Tensor, "record_stream", self._record()))
            stack.enter_context(Functions(self))
            stack.enter_context(Kernels(self))
            yield self

    def enter_thread(self) -> None:
        """Let this thread, to its end, use the device as well."""
        Functions(self).__enter__()
        Kernels(self).__enter__()

    def _record(self) -> Callable[[torch.Tensor, Stream], None]:
        """`Tensor.record_stream`: torch checks its argument's type before it asks any mode."""

        def record_stream(tensor: torch.Tensor, stream: Stream) -> None:
            with torch._C.DisableTorchFunction():
                block = self.memory.find(tensor)
            if block is None:
                raise RuntimeError("record_stream: not a tensor of the device")
            block.recorded.add(stream)

        return record_stream


@contextlib.contextmanager
def on_late(pipeline: Any, seed: int | None = None) -> Iterator[Late]:
    """A pipeline on the late device, as `serve` finds it on a GPU; without gradients."""
    late = Late(seed)
    with late.installed(), torch.inference_mode():
        for part in pipeline.components.values():
            if isinstance(part, torch.nn.Module):
                late.adopt(part)
        with mock.patch(
            "serve.acceleration.cuda_graphs.WARM_UP_CALLS", 1
        ):  # there is nothing to tune
            yield late


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """Kernels run outside of all modes, on inference tensors too."""
    with _disable_current_modes(), torch.inference_mode(), torch._C.DisableTorchFunction():
        yield
