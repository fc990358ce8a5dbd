"""What a GPU would be given to do: kernels, what each computes, reads and writes. Plain values."""

from collections.abc import Sequence
from typing import Literal

import msgspec

Kind = Literal["matmul", "conv", "attention", "norm", "pointwise", "layout", "copy", "fused"]


class Ref(msgspec.Struct, frozen=True):
    """A read or a write of a tensor, or of a part of it.

    Attributes:
        value: Which: a number for each tensor and for each time it is written anew.
        offset: Where the part begins, in elements.
        bytes: Of the part; elements that are repeated by a stride of 0 count once.
    """

    value: int
    offset: int
    bytes: int


class Kernel(msgspec.Struct, frozen=True, kw_only=True):
    """One call of the device.

    Attributes:
        kind: What bounds it and what it may be fused with.
        name: The operator, or the operators it was fused from.
        path: The module that called it, dotted from the pipeline's part on.
        flop: Floating-point operations of products; pointwise arithmetic counts nothing.
        padding: What it executes of products by what was asked: attention pads its width.
        shape: (rows, in, out) of a matrix product.
        reads: What it reads.
        writes: What it writes.
        passes: How often it reads it.
        launches: Kernels that torch launches for it.
        is_fp8: Whether it multiplies 8-bit numbers.
    """

    kind: Kind
    name: str
    path: str = ""
    flop: float = 0.0
    padding: float = 1.0
    shape: tuple[int, int, int] | None = None
    reads: tuple[Ref, ...] = ()
    writes: tuple[Ref, ...] = ()
    passes: int = 1
    launches: int = 1
    is_fp8: bool = False

    @property
    def bytes(self) -> int:
        """Bytes from and to memory, nothing being kept in caches between kernels."""
        return self.passes * _sum(self.reads) + _sum(self.writes)


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """What one stage of the server would launch.

    Attributes:
        kernels: In order.
        host_copies: What passes between host and device, in words, with the module that asked.
        largest_elements: Elements of the largest tensor that a kernel reads or writes.
        classes: Class names of the modules by path.
    """

    kernels: Sequence[Kernel]
    host_copies: Sequence[str] = ()
    largest_elements: int = 0
    classes: dict[str, str] = {}

    @property
    def launches(self) -> int:
        """Kernels that torch launches."""
        return sum(kernel.launches for kernel in self.kernels)

    @property
    def bytes(self) -> int:
        """Bytes from and to memory."""
        return sum(kernel.bytes for kernel in self.kernels)

    @property
    def flop(self) -> float:
        """Floating-point operations of products, as asked, without padding."""
        return sum(kernel.flop for kernel in self.kernels)


def _sum(refs: Sequence[Ref]) -> int:
    return sum(ref.bytes for ref in refs)
