"""How a step reaches the device: eagerly, or as a CUDA graph captured once a bucket of rows.

A step's own numbers are a handful of indices and coefficients (`Plan`). Eagerly they travel as
they are. Captured, a step has a fixed shape: the plan is padded to its bucket with rows that work
on a scratch slot, copied into the graph's input through pinned memory, and the graph is replayed.
Neither waits for the device.
"""

# mypy: disallow-untyped-calls=False
# Parts of torch.cuda are untyped.

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

# A pinned buffer may be written again once its copy has run: with two steps launched ahead and a
# third on its way, the fourth's buffer is free.
RING = 4
WARM_UP_CALLS = 3
INDICES = 4
# t, s, p, q, A, B, C of `serve.diffusion.solver`, and the guidance scale.
NUMBERS = 8


class Plan(msgspec.Struct, frozen=True):
    """One step of n images in r rows of the denoiser's batch, on the host.

    Attributes:
        indices: int64 of shape (4, r): the images' slots and where their unguided row is (in the
            first n columns); the rows' images and their conditionings.
        numbers: float32 of shape (r, 8): t, s, p, q, A, B, C and guidance (in the first n rows).
        images: n.
    """

    indices: NDArray[np.int64]
    numbers: NDArray[np.float32]
    images: int

    @property
    def rows(self) -> int:
        """Rows of the denoiser's batch."""
        return len(self.numbers)


Step = Callable[[torch.Tensor, torch.Tensor, int], None]


class Capture(msgspec.Struct, frozen=True):
    """What all graphs of a process share; they never run at the same time.

    Attributes:
        pool: Their memory.
        stream: Where they are warmed up and captured. One for all: each stream that multiplies
            matrices keeps a cuBLAS workspace of its own, 32 MiB on Hopper.
    """

    pool: Any
    stream: torch.cuda.Stream


def default_buckets(rows: int) -> list[int]:
    """The batches that are captured unless told, up to `rows`: one row is padding, or a fifth.

    1, then every even number to 16, every fourth to 32, every eighth beyond.
    """
    sizes = [1, *range(2, 17, 2), *range(20, 33, 4), *range(40, rows + 8, 8)]
    return [*itertools.takewhile(lambda size: size < rows, sizes), rows]


def padded(plan: Plan, rows: int, scratch_slot: int, scratch_row: int) -> Plan:
    """The same step in a batch of exactly `rows`, the rest working on the scratch slot.

    A scratch image keeps its latent: A is 1 and all else 0.
    """
    indices = np.empty((INDICES, rows), dtype=np.int64)
    numbers = np.zeros((rows, NUMBERS), dtype=np.float32)
    images, used = plan.images, plan.rows
    indices[0, :images], indices[0, images:] = plan.indices[0, :images], scratch_slot
    indices[1, :images], indices[1, images:] = plan.indices[1, :images], 0
    # Rows beyond the used ones look at a scratch image where there is one, else at the first.
    indices[2, :used], indices[2, used:] = plan.indices[2], min(images, rows - 1)
    indices[3, :used], indices[3, used:] = plan.indices[3], scratch_row
    numbers[:images] = plan.numbers[:images]
    numbers[images:, 4] = 1.0
    return Plan(indices, numbers, rows)


class EagerSteps:
    """Runs each step as it is.

    Args:
        step: (indices, numbers, images) -> None, on the device.
        device: Where.
    """

    def __init__(self, step: Step, device: torch.device) -> None:
        self._step = step
        self._device = device

    def run(self, plan: Plan) -> None:
        """Run one step."""
        indices = torch.from_numpy(plan.indices).to(self._device, non_blocking=True)
        numbers = torch.from_numpy(plan.numbers).to(self._device, non_blocking=True)
        self._step(indices, numbers, plan.images)


class CapturedSteps:
    """Runs each step as the CUDA graph of its bucket; a larger plan than any bucket is an error.

    Args:
        step: (indices, numbers, images) -> None, on the device; allocates its results only.
        buckets: The batches to capture, rising.
        scratch_slot: A slot that no image has.
        scratch_row: A conditioning that no image has.
        device: A CUDA device.
        capture: What the graphs of a process share.
    """

    def __init__(
        self,
        step: Step,
        *,
        buckets: Sequence[int],
        scratch_slot: int,
        scratch_row: int,
        device: torch.device,
        capture: Capture,
    ) -> None:
        self._step = step
        self._scratch = (scratch_slot, scratch_row)
        self._device = device
        self._shared = capture
        self._buckets = list(buckets)
        self._graphs = {size: self._capture(size) for size in reversed(self._buckets)}

    def run(self, plan: Plan) -> None:
        """Replay the smallest graph that holds the plan."""
        size = next(size for size in self._buckets if size >= plan.rows)
        self._graphs[size].replay(padded(plan, size, *self._scratch))

    def _capture(self, size: int) -> "Captured":
        empty = Plan(np.zeros((INDICES, 0), np.int64), np.zeros((0, NUMBERS), np.float32), 0)
        plan = padded(empty, size, *self._scratch)
        return Captured(self._step, plan, self._device, self._shared)


class Captured:
    """One bucket's graph, its input on the device, and the pinned buffers on the way there."""

    def __init__(self, step: Step, plan: Plan, device: torch.device, capture: Capture) -> None:
        self._indices = torch.from_numpy(plan.indices).to(device)
        self._numbers = torch.from_numpy(plan.numbers).to(device)
        buffers = [  # a list: pinning memory waits for the device, so it is done here and now
            (
                torch.empty(self._indices.shape, dtype=torch.int64, pin_memory=True),
                torch.empty(self._numbers.shape, dtype=torch.float32, pin_memory=True),
            )
            for _ in range(RING)
        ]
        self._ring = itertools.cycle(buffers)
        capture.stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(capture.stream):
            for _ in range(WARM_UP_CALLS):  # autotuning and lazy set-up must not be captured
                step(self._indices, self._numbers, plan.images)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(  # waits for the warm-up, then records
            self._graph,
            pool=capture.pool,
            stream=capture.stream,
            capture_error_mode="thread_local",  # what other threads do is no part of it
        ):
            step(self._indices, self._numbers, plan.images)

    def replay(self, plan: Plan) -> None:
        """Send the plan and launch the graph; both asynchronously."""
        indices, numbers = next(self._ring)
        indices.numpy()[:] = plan.indices
        numbers.numpy()[:] = plan.numbers
        self._indices.copy_(indices, non_blocking=True)
        self._numbers.copy_(numbers, non_blocking=True)
        self._graph.replay()
