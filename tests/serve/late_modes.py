"""How calls of torch reach the late device: what launches, what only looks, what makes wait."""

# mypy: disallow-untyped-calls=False
# Parts of torch are untyped.

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from tests.serve.late_kernels import CUDA, launch
from tests.serve.late_streams import Launch

if TYPE_CHECKING:
    from tests.serve.late import Late

Call = Callable[..., Any]
Handler = Callable[["Late", Call, tuple[Any, ...], dict[str, Any]], Any]


class Kernels(TorchDispatchMode):
    """Sends what touches the device's memory to its streams."""

    def __init__(self, late: "Late") -> None:
        super().__init__()
        self._late = late

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        with torch._C.DisableTorchFunction():
            return launch(self._late, func, args, kwargs or {})


class Functions(TorchFunctionMode):
    """Takes "cuda" for the device, and sees where the host looks at the device's values."""

    def __init__(self, late: "Late") -> None:
        super().__init__()
        self._late = late

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        handler = HANDLERS.get(func)
        if handler is not None:
            return handler(self._late, func, args, kwargs)
        if "device" not in kwargs and not kwargs.get("pin_memory"):
            return func(*args, **kwargs)
        return make(self._late, func, args, kwargs)


def make(late: "Late", func: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
    """What a function makes that is told where."""
    is_late = is_cuda(kwargs.get("device"))
    if is_late:
        kwargs["device"] = torch.device("cpu")
    is_pinned = kwargs.pop("pin_memory", False)
    made: torch.Tensor = func(*args, **kwargs)
    if is_pinned:
        return late.pin(made)
    if not is_late or late.memory.find(made):
        return made
    if func is torch.tensor:  # copies from pageable memory, and waits
        return upload(late, made, non_blocking=False)
    there, block = late.allocate(made)
    if func not in (torch.empty, torch.empty_strided):
        run = functools.partial(block.alias(there).copy_, made)
        late.send(Launch(func.__name__, run, [], [block]))
    return there


def upload(
    late: "Late", source: torch.Tensor, *, non_blocking: bool, dtype: torch.dtype | None = None
) -> torch.Tensor:
    """A copy on the device."""
    like = torch.empty_like(source, dtype=dtype or source.dtype, device="meta")
    made = late.allocate(like)[0]
    return made.copy_(source, non_blocking=non_blocking)


def download(late: "Late", source: torch.Tensor, *, non_blocking: bool) -> torch.Tensor:
    """A copy on the host, which torch pins if nobody is to wait."""
    target = late.pin(source) if non_blocking else torch.empty_like(source, device="meta")
    if not non_blocking:
        target = torch.empty_strided(target.size(), target.stride(), dtype=target.dtype)
    return target.copy_(source, non_blocking=non_blocking)


def is_cuda(device: Any) -> bool:
    """Whether a `device` argument names the late device."""
    return device is not None and torch.device(device).type == "cuda"


def _to(late: "Late", func: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
    tensor, *rest = args
    if rest and isinstance(rest[0], torch.Tensor):  # like another one
        rest[:1] = [CUDA if late.memory.find(rest[0]) else rest[0].device, rest[0].dtype]
    device, dtype, non_blocking, _ = torch._C._nn._parse_to(*rest, **kwargs)
    is_late = late.memory.find(tensor) is not None
    if device is None or is_cuda(device) == is_late:
        told: dict[str, Any] = {"dtype": dtype or tensor.dtype, "copy": kwargs.get("copy", False)}
        if kwargs.get("memory_format") is not None:
            told["memory_format"] = kwargs["memory_format"]
        moved: torch.Tensor = func(tensor, **told)
        return moved
    if is_late:
        return download(late, func(tensor, dtype=dtype or tensor.dtype), non_blocking=non_blocking)
    return upload(late, tensor, non_blocking=non_blocking, dtype=dtype)


def _cpu(late: "Late", func: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
    return _to(late, torch.Tensor.to, (args[0], torch.device("cpu")), kwargs)


def _cuda(late: "Late", func: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
    return _to(late, torch.Tensor.to, (args[0], CUDA), {})


def _new_tensor(
    late: "Late", func: Call, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> torch.Tensor:
    made: torch.Tensor = func(*args, **kwargs)
    return upload(late, made, non_blocking=False) if late.memory.find(args[0]) else made


def _pin_memory(
    late: "Late", func: Call, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> torch.Tensor:
    if late.memory.find(args[0]):
        raise RuntimeError("cannot pin 'torch.cuda.FloatTensor': only dense CPU tensors can be")
    return late.pin(args[0]).copy_(args[0])


def _is_pinned(late: "Late", func: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    return late.pinned.find(args[0]) is not None


def _numpy(late: "Late", func: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if late.memory.find(args[0]):
        raise TypeError("can't convert cuda:0 device type tensor to numpy: use Tensor.cpu() first")
    return func(*args, **kwargs)


def _tolist(late: "Late", func: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if not late.memory.find(args[0]):
        return func(*args, **kwargs)
    return func(download(late, args[0], non_blocking=False))


def _device(late: "Late", func: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return CUDA if late.memory.find(args[0]) else func(*args)


def _is_cuda(late: "Late", func: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return late.memory.find(args[0]) is not None


def _getters() -> Iterator[tuple[Call, Handler]]:
    attributes: Mapping[str, Any] = vars(torch._C.TensorBase)
    yield attributes["device"].__get__, _device
    yield attributes["is_cuda"].__get__, _is_cuda


HANDLERS: dict[Call, Handler] = {
    torch.Tensor.to: _to,
    torch.Tensor.cpu: _cpu,
    torch.Tensor.cuda: _cuda,
    torch.Tensor.new_tensor: _new_tensor,
    torch.Tensor.pin_memory: _pin_memory,
    torch.Tensor.is_pinned: _is_pinned,
    torch.Tensor.numpy: _numpy,
    torch.Tensor.__array__: _numpy,
    torch.Tensor.tolist: _tolist,
    **dict(_getters()),
}
