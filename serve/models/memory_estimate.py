"""Memory that a computation takes, counted on the meta device: shapes alone, no memory of any kind.

pipeline_of(model, dtype)        the model laid out under meta
weight_bytes(pipeline)           its parameters and buffers
peak_bytes(run)                  most bytes alive at once in what `run` makes
"""

# mypy: disallow-untyped-calls=False
# diffusers ships no types.

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from serve.models.architectures import ARCHITECTURES, Pipeline


def pipeline_of(model: str, dtype: torch.dtype) -> Pipeline:
    """A model's pipeline under the meta device, in a second or two for the largest."""
    lay_out, assemble = ARCHITECTURES[model]
    with torch.device("meta"):
        parts = lay_out()
    for part in parts.values():
        nn.Module.to(part, dtype).eval()  # diffusers' own to() warns
    return assemble(parts)


def weight_bytes(pipeline: Pipeline) -> int:
    """Bytes of all of a pipeline's parameters and buffers, a tied one counted once."""
    modules = [part for part in pipeline.components.values() if isinstance(part, nn.Module)]
    tensors = {
        id(tensor): tensor
        for module in modules
        for tensor in (*module.parameters(), *module.buffers())
    }
    return sum(tensor.nbytes for tensor in tensors.values())


def peak_bytes(run: Callable[[], object]) -> int:
    """Most bytes alive at once among the tensors that `run` makes on the meta device.

    The kernels' own workspaces and the allocator's rounding come on top. Attention counts as its
    result alone: fused kernels hold no scores.
    """
    alive = _Alive()
    with torch.inference_mode(), torch.device("meta"), _FusedAttention(), alive:
        run()
    return alive.peak


class _FusedAttention(TorchFunctionMode):
    """Attention as its fused kernels allocate it; under meta, torch takes the unfused one."""

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is not scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        named = dict(zip(("query", "key", "value"), args, strict=False)) | dict(kwargs or {})
        query, value = named["query"], named["value"]
        return query.new_empty((*query.shape[:-1], value.shape[-1]))


class _Alive(TorchDispatchMode):
    """Adds up the storages that are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._now = 0
        self._known: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        before = {
            each.untyped_storage()._cdata
            for each in tree_leaves((args, kwargs))
            if isinstance(each, torch.Tensor)
        }
        result = func(*args, **(kwargs or {}))
        for each in tree_leaves(result):
            if isinstance(each, torch.Tensor) and each.untyped_storage()._cdata not in before:
                self._add(each.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return

        def gone(_: Any) -> None:
            del self._known[key]
            self._now -= size

        self._known[key] = weakref.ref(storage, gone)
        self._now += size
        self.peak = max(self.peak, self._now)
