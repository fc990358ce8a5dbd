"""Counting the operations of a call on meta tensors beside threads that serve.

torch's own `FlopCounterMode` hooks every module of the process while it counts, and is a second or
two of Python for a large model: a thread that computes gives the interpreter up at every operation
and waits 5 ms to have it back (`sys.getswitchinterval`), so that a step of some hundred operations
took seconds. This one hooks nothing, and gives way before each operation that it lays out.
"""

# mypy: disallow-untyped-calls=False
# Parts of torch are untyped.

import time
from collections.abc import Mapping, Sequence
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

GIVE_WAY_S = 1e-4  # long enough for a thread that waits for the interpreter to wake up


def give_way() -> None:
    """Let the threads that wait for the interpreter have it."""
    time.sleep(GIVE_WAY_S)


class GivingWay(TorchDispatchMode):
    """Every operation within the block gives way first."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        give_way()
        return self._run(func, args, dict(kwargs or {}))

    def _run(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return func(*args, **kwargs)


class FlopCounter(GivingWay):
    """Adds up the FLOPs within the block, by torch's own formulas.

    Attributes:
        flop: So far: 2 a multiply-add of matrix products, convolutions and attention.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flop = 0
        self._elementary: set[Any] = set()  # operations that are not made of others

    def _run(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        formula = flop_registry.get(func._overloadpacket)
        if formula is None and func not in self._elementary:
            with self:  # of the others, some may have one
                made = func.decompose(*args, **kwargs)
            if made is not NotImplemented:
                return made
            self._elementary.add(func)
        made = func(*args, **kwargs)
        if formula is not None:
            self.flop += formula(*args, **kwargs, out_val=made)
        return made
