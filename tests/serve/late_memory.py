"""Memory of the late device: whose it is, who still uses it, and what is wrong with giving it back.

A block of memory has two faces. The tensors that the program holds stand on one storage; the
launches that wait in the streams work through aliases on another one, over the same bytes. So the
moment in which the program drops its last tensor is seen, whatever is launched and not yet done,
as CUDA's caching allocator sees it.
"""

import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from tests.serve.late_streams import Stream

POISON = 123456


class Block:
    """Memory that was allocated at once.

    Attributes:
        owner: The stream it was allocated on, which may be given it again at once when it is free;
            None for weights, and for what belongs to a graph.
        uses: Streams, each with the position of the last launch on it that touches this block.
        writer: The last launch that writes here: its stream and its position.
        recorded: Streams that `Tensor.record_stream` named.
        is_free: Whether the program dropped it.
        is_captured: Whether a graph that was captured works on it.
    """

    def __init__(self, owner: "Stream | None", memory: Any = None) -> None:
        self.owner = owner
        self.uses: dict[Stream, int] = {}
        self.writer: tuple[Stream, int] | None = None
        self.recorded: set[Stream] = set()
        self.is_free = False
        self.is_captured = False
        self._memory = memory

    def alias(self, tensor: torch.Tensor) -> torch.Tensor:
        """The same elements, on the storage that keeps the block alive."""
        if self._memory is None:  # weights stay
            return tensor
        flat: torch.Tensor = self._memory.view(tensor.dtype)
        return flat.as_strided(tensor.size(), tensor.stride(), tensor.storage_offset())

    def poison(self) -> None:
        """Write what another owner of this memory might have written."""
        if self._memory is not None:
            self._memory.fill_(255)  # NaN in every floating point type, -1 in every integer


class Heap:
    """All blocks by the storage that the program sees."""

    def __init__(self) -> None:
        self._blocks: dict[int, Block] = {}
        self._watched: dict[int, Any] = {}
        self._freed: list[Block] = []

    def find(self, tensor: torch.Tensor) -> Block | None:
        """The block that a tensor stands on, None for the host's memory."""
        return self._blocks.get(tensor.untyped_storage()._cdata)

    def adopt(self, tensor: torch.Tensor) -> None:
        """Take memory that is there, for ever; its values are there too."""
        self._watched[tensor.untyped_storage()._cdata] = tensor
        self._blocks[tensor.untyped_storage()._cdata] = Block(None)

    def allocate(
        self, size: Iterable[int], stride: Iterable[int], dtype: torch.dtype, owner: "Stream | None"
    ) -> tuple[torch.Tensor, Block]:
        """A poisoned tensor and its block."""
        size, stride = list(size), list(stride)
        extent = 1 + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        nbytes = 0 if 0 in size else extent * dtype.itemsize
        memory = np.empty(-(-max(nbytes, 1) // 16) * 16, dtype=np.uint8)
        seen = memory[:]
        block = Block(owner, torch.from_numpy(memory))
        block.poison()
        tensor = torch.from_numpy(seen).view(dtype).as_strided(size, stride)
        storage = tensor.untyped_storage()._cdata
        self._blocks[storage] = block
        self._watched[storage] = weakref.ref(seen, lambda _: self._free(storage))
        return tensor, block

    def freed(self) -> list[Block]:
        """The blocks that were dropped since this was asked last."""
        freed = []
        while self._freed:
            freed.append(self._freed.pop())
        return freed

    def _free(self, storage: int) -> None:
        """Whichever thread dropped the last tensor, and inside of whatever: only noted."""
        block = self._blocks.pop(storage)
        del self._watched[storage]
        block.is_free = True
        self._freed.append(block)
