"""A fake GPU on a machine without one: torch runs a model on shapes, strides, types and devices.

torch's FakeTensorMode gives every operator's result without values or memory, on a device that
need not be there. Device mixes and reads by the host raise, as they would not, or would cost, on
a real GPU. A few of torch's Python bindings want a CUDA build nevertheless; they are stood in for
here, each by what it does on a GPU.
"""

# mypy: disallow-untyped-calls=False
# diffusers ships no types.

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode

CUDA = torch.device("cuda", 0)
# What the server lays out in channels_last (`serve.diffusion.startup.lay_out`).
CONVOLUTIONAL = ("unet", "vae")

aten = torch.ops.aten


@contextlib.contextmanager
def fake_gpu() -> Iterator[None]:
    """A context in which tensors on `cuda:0` may be made and used, all of them fake."""
    with (
        mock.patch.object(torch.cuda, "Event", _Event),
        mock.patch.object(torch.cuda, "Stream", _Stream),
        mock.patch.object(torch.cuda, "current_stream", _Stream),
        mock.patch.object(torch.cuda, "stream", return_value=contextlib.nullcontext()),
        # It hands operators over whole that are taken apart elsewhere, on their way to a GPU.
        mock.patch.object(torch.inference_mode, "__enter__", _nothing),
        mock.patch.object(torch.inference_mode, "__exit__", _nothing),
        mock.patch.object(torch.Tensor, "record_stream", _nothing),
        FakeTensorMode(allow_non_fake_inputs=True),
        torch.no_grad(),
        Bindings(),
    ):
        yield


def move_to_fake(parts: Mapping[str, torch.nn.Module], *, channels_last: bool = True) -> None:
    """Put modules onto the fake GPU in bf16, laid out as the server lays them out.

    Args:
        parts: A pipeline's modules by name, on any device; changed in place.
        channels_last: Whether convolutional weights are.
    """
    for name, part in parts.items():
        is_last = channels_last and name in CONVOLUTIONAL
        for module in part.modules():
            for key, weight in module._parameters.items():
                if weight is not None:
                    fake = _moved(weight, is_last=is_last)
                    module._parameters[key] = torch.nn.Parameter(fake, requires_grad=False)
            for key, values in module._buffers.items():
                if values is not None:
                    module._buffers[key] = _moved(values, is_last=is_last)
        part.eval()


def _moved(tensor: torch.Tensor, *, is_last: bool) -> torch.Tensor:
    dtype = torch.bfloat16 if tensor.is_floating_point() else tensor.dtype
    layout = torch.channels_last if is_last and tensor.ndim == 4 else torch.contiguous_format
    return torch.empty(tensor.shape, dtype=dtype, device=CUDA, memory_format=layout)


class Bindings(TorchFunctionMode):
    """Stands in for bindings of torch.Tensor that a build without CUDA refuses on `cuda:0`."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        instead = _STAND_INS.get(func)
        if instead is not None and isinstance(args[0], torch.Tensor):
            return instead(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _nothing(*args: Any) -> None:
    pass


class _Stream:
    """A stream on which nothing ever has to be waited for."""

    def __init__(self, device: Any = None, priority: int = 0) -> None:
        self.device = device

    def wait_event(self, event: Any) -> None:
        pass

    def wait_stream(self, stream: Any) -> None:
        pass

    def synchronize(self) -> None:
        pass


class _Event:
    """An event that has happened."""

    def __init__(self, enable_timing: bool = False, blocking: bool = False) -> None:
        pass

    def record(self, stream: Any = None) -> None:
        pass

    def synchronize(self) -> None:
        pass


def _indexed(x: torch.Tensor, index: Any) -> torch.Tensor:
    """The part x[index]."""
    if x.device.type != "cuda":
        return x[index]
    items = _items(index)
    if any(isinstance(item, torch.Tensor | list) for item in items):
        chosen = [None if isinstance(item, slice) else torch.as_tensor(item) for item in items]
        gathered: torch.Tensor = aten.index.Tensor(x, chosen)
        return gathered
    if Ellipsis in items:
        at, named = items.index(Ellipsis), sum(item is not None for item in items) - 1
        items[at : at + 1] = [slice(None)] * (x.ndim - named)
    dim = 0
    for item in items:
        if item is None:
            x = x.unsqueeze(dim)
        elif isinstance(item, int):
            x = x.select(dim, item)
            continue
        else:
            x = aten.slice.Tensor(x, dim, item.start, item.stop, item.step or 1)
        dim += 1
    return x


def _items(index: Any) -> list[Any]:
    """An index, dimension by dimension."""
    return list(index) if isinstance(index, tuple) else [index]


def _set(x: torch.Tensor, index: Any, value: Any) -> None:
    """The statement x[index] = value, of slices and numbers."""
    if x.device.type != "cuda":
        x[index] = value
        return
    if any(isinstance(each, torch.Tensor | list) for each in _items(index)):
        raise NotImplementedError("a fake GPU sets slices and numbers only")
    part = _indexed(x, index)
    if isinstance(value, torch.Tensor):
        aten.copy_.default(part, value)
    else:
        part.fill_(value)


def _contiguous(x: torch.Tensor, memory_format: Any = torch.contiguous_format) -> torch.Tensor:
    """The tensor itself, or a copy laid out so."""
    if x.device.type != "cuda":
        return x.contiguous(memory_format=memory_format)
    if x.is_contiguous(memory_format=memory_format):
        return x
    copied: torch.Tensor = aten.clone.default(x, memory_format=memory_format)
    return copied


def _new_tensor(x: torch.Tensor, data: Any, **kwargs: Any) -> torch.Tensor:
    """A tensor of x's type and device with this data: made on the host, then copied."""
    return torch.tensor(data, dtype=kwargs.get("dtype", x.dtype)).to(x.device)


def _copied(x: torch.Tensor, source: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
    """The tensor, overwritten."""
    copied: torch.Tensor = aten.copy_.default(x, source, non_blocking)
    return copied


def _numpy(x: torch.Tensor, **kwargs: Any) -> Any:
    """Zeros of its shape, which take no memory."""
    return np.broadcast_to(np.zeros((), str(x.dtype).removeprefix("torch.")), x.shape)


def _itself(x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """Pages are not pinned where nothing is copied."""
    return x


_STAND_INS: Mapping[Any, Callable[..., Any]] = {
    torch.Tensor.__getitem__: _indexed,
    torch.Tensor.__setitem__: _set,
    torch.Tensor.contiguous: _contiguous,
    torch.Tensor.copy_: _copied,
    torch.Tensor.new_tensor: _new_tensor,
    torch.Tensor.numpy: _numpy,
    torch.Tensor.pin_memory: _itself,
}
