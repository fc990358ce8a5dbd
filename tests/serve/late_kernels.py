"""Operators on the late device: their results' shapes now, their numbers later."""

import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec
import torch
from torch.utils._python_dispatch import _disable_current_modes

from tests.serve.late_streams import CaptureError, Launch

if TYPE_CHECKING:
    from tests.serve.late import Late

aten = torch.ops.aten
CUDA = torch.device("cuda", 0)

# What the host must know before it goes on: values, or how large a result is.
AWAITED = {
    aten._local_scalar_dense.default,
    aten.item.default,
    aten.is_nonzero.default,
    aten.equal.default,
    aten.nonzero.default,
    aten.masked_select.default,
    aten._unique2.default,
    aten.repeat_interleave.Tensor,
}
INDEXING = {aten.index.Tensor, aten.index_put_.default, aten._unsafe_index.Tensor}
ALLOCATING = {
    aten.empty_like.default,
    aten.new_empty.default,
    aten.new_empty_strided.default,
}


class Kind(msgspec.Struct, frozen=True):
    """What an operator's schema tells.

    Attributes:
        is_view: Its results are views of its arguments.
        written: Positions of the arguments it writes to.
        written_names: Their names.
        results: How many it returns.
    """

    is_view: bool
    written: tuple[int, ...]
    written_names: tuple[str, ...]
    results: int


@functools.cache
def kind(func: Any) -> Kind:
    schema = func._schema
    written = [
        (i, argument.name)
        for i, argument in enumerate(schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    ]
    return Kind(
        is_view=not schema.is_mutable
        and bool(schema.returns)
        and all(each.alias_info is not None for each in schema.returns),
        written=tuple(i for i, _ in written),
        written_names=tuple(name for _, name in written),
        results=len(schema.returns),
    )


def launch(late: "Late", func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """An operator's results, to be computed when the stream gets there."""
    blocks = [(t, late.memory.find(t)) for t in tensors((args, kwargs))]
    if not any(block for _, block in blocks):
        return func(*args, **kwargs)
    if func is aten.copy_.default:
        return copy(late, *args, **kwargs)
    for tensor, block in blocks:
        if block is None and tensor.ndim and func not in INDEXING:
            raise RuntimeError(
                f"{func}: expected all tensors on the same device, but found cuda:0 and cpu: "
                f"{[tuple(each.shape) for each, _ in blocks]}"
            )
    told = kind(func)
    if told.is_view:
        made = func(*args, **kwargs)
        if all(late.memory.find(each) for each in tensors(made)):
            return made  # `contiguous` and `reshape` copy now and then
    if func in INDEXING:
        args = indexed(late, args)

    def aliased(tensor: torch.Tensor) -> torch.Tensor:
        block = late.memory.find(tensor)
        return tensor.clone() if block is None else block.alias(tensor)

    reads = [block for _, block in blocks if block]
    inputs, options = swap(args, aliased), swap(kwargs, aliased)
    name = str(func)
    if func in AWAITED or (func in INDEXING and has_mask(args)):
        late.drain(name)
        with _disable_current_modes():
            made = func(*inputs, **options)
        return made if told.written else swap(made, lambda each: filled(late, each))
    if told.written:
        written = [args[i] for i in told.written if i < len(args)]
        written += [kwargs[name] for name in told.written_names if name in kwargs]
        writes = [block for t in tensors(written) if (block := late.memory.find(t))]
        late.send(Launch(name, lambda: func(*inputs, **options), reads, writes))
        return written[0] if told.results == 1 else tuple(written) if told.results else None
    writes, outputs = [], []

    def allocated(like: torch.Tensor) -> torch.Tensor:
        made, block = late.allocate(like)
        writes.append(block)
        outputs.append(block.alias(made))
        return made

    made = swap(shapes(func, args, kwargs), allocated)
    if func in ALLOCATING:
        return made

    def run() -> None:
        results = tensors(func(*inputs, **options))
        for output, result in zip(outputs, results, strict=True):
            output.copy_(result)

    late.send(Launch(name, run, reads, writes))
    return made


def copy(
    late: "Late", target: torch.Tensor, source: torch.Tensor, non_blocking: bool = False
) -> torch.Tensor:
    """`target.copy_(source)`, between the host and the device or on it."""
    to_block, from_block = late.memory.find(target), late.memory.find(source)
    is_pinned = late.pinned.find(source if to_block else target) is not None
    if from_block is None and not is_pinned:
        if late.own.graph is not None:
            raise CaptureError("a copy from pageable memory cannot be captured")
        source = source.clone()  # the driver stages it before the call returns
    to = to_block.alias(target) if to_block else target
    what = from_block.alias(source) if from_block else source
    late.send(
        Launch(
            "copy_",
            functools.partial(to.copy_, what),
            [from_block] if from_block else [],
            [to_block] if to_block else [],
        )
    )
    is_transfer = to_block is None or from_block is None
    if is_transfer and not (non_blocking and (is_pinned or to_block)):
        late.drain("a blocking copy")
    return target


def indexed(late: "Late", args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Arguments of an indexing operator, its indices on the device."""

    def moved(index: torch.Tensor) -> torch.Tensor:
        return index if late.memory.find(index) else uploaded(late, index)

    return (args[0], [each if each is None else moved(each) for each in args[1]], *args[2:])


def uploaded(late: "Late", index: torch.Tensor) -> torch.Tensor:
    made = late.allocate(index)[0]
    return copy(late, made, index)


def has_mask(args: tuple[Any, ...]) -> bool:
    """Whether a mask tells what is indexed: how many, the device alone knows."""
    return any(each is not None and each.dtype in (torch.bool, torch.uint8) for each in args[1])


def filled(late: "Late", result: torch.Tensor) -> torch.Tensor:
    """A result that is there already."""
    made, block = late.allocate(result)
    with _disable_current_modes():
        block.alias(made).copy_(result)
    return made


def tensors(tree: Any) -> Iterator[torch.Tensor]:
    """The tensors among nested arguments or results."""
    if isinstance(tree, torch.Tensor):
        yield tree
    elif isinstance(tree, list | tuple):
        for each in tree:
            yield from tensors(each)
    elif isinstance(tree, dict):
        for each in tree.values():
            yield from tensors(each)


def swap(tree: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """The same nest with other tensors."""
    if isinstance(tree, torch.Tensor):
        return change(tree)
    if isinstance(tree, list | tuple):
        swapped = [swap(each, change) for each in tree]
        return swapped if isinstance(tree, list) else tuple(swapped)
    if isinstance(tree, dict):
        return {name: swap(each, change) for name, each in tree.items()}
    return tree


SHAPES: dict[Any, Any] = {}


def shapes(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """An operator's results as tensors without values, by torch's meta device."""
    asked = (func, signature(args), signature(kwargs))
    if asked not in SHAPES:
        with _disable_current_modes():
            SHAPES[asked] = func(*on_meta(args), **on_meta(kwargs))
    return SHAPES[asked]


def signature(tree: Any) -> Any:
    """What the shapes of results hang on, hashable."""
    if isinstance(tree, torch.Tensor):
        return (tree.size(), tree.stride(), tree.dtype)
    if isinstance(tree, list | tuple):
        return tuple(signature(each) for each in tree)
    if isinstance(tree, dict):
        return tuple((name, signature(each)) for name, each in sorted(tree.items()))
    return type(tree), tree


def on_meta(tree: Any) -> Any:
    def meta(tensor: torch.Tensor) -> torch.Tensor:
        size, stride = tensor.size(), tensor.stride()
        return torch.empty_strided(size, stride, dtype=tensor.dtype, device="meta")

    if isinstance(tree, torch.device):
        return torch.device("meta")
    if isinstance(tree, list | tuple):
        return type(tree)(on_meta(each) for each in tree)
    if isinstance(tree, dict):
        return {name: on_meta(each) for name, each in tree.items()}
    return swap(tree, meta)
