"""One transformer block and one resnet of a denoiser: as they are, compiled, compiled with FP8.

Each is of its kind's most frequent shape in a call of the whole denoiser. What it saves times the
blocks of that shape predicts what compiling all of these would save: seconds instead of minutes.
"""

import copy
import functools
import time
from collections import Counter
from typing import Any

import msgspec
import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D
from torch import nn

from benchmarks.gpu_day_calls import Call, source, timed
from benchmarks.gpu_day_part import CLOCK, NEEDS_GPU, Session
from serve.acceleration.compilation import compile_regions
from serve.acceleration.fp8 import is_supported, quantize

LIMIT_S = 15.0
COMPILE_LIMIT_S = 45.0
REHEARSAL_COMPILE_LIMIT_S = 120.0  # by a C++ compiler
KINDS: tuple[type[nn.Module], ...] = (BasicTransformerBlock, ResnetBlock2D)


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """A block as the denoiser calls it.

    Attributes:
        module: It.
        arguments: Of its call, by position.
        named: Of its call, by name.
        count: Blocks of its kind and shape in the denoiser.
        of: Blocks of its kind.
    """

    module: Any
    arguments: tuple[Any, ...]
    named: dict[str, Any]
    count: int
    of: int

    def call(self, module: nn.Module) -> Call:
        """The call with another module in its place."""
        return lambda: module(*self.arguments, **self.named)


def blocks(part: Session, denoiser: nn.Module, call: Call) -> None:
    """Measure a block of each kind; `call` calls the denoiser."""
    for kind in KINDS:
        _kind(part, denoiser, call, kind)


def _kind(part: Session, denoiser: nn.Module, call: Call, kind: type[nn.Module]) -> None:
    name = kind.__name__
    block = part.attempt(name, "s", lambda: usual(denoiser, kind, call))
    if block is None:
        return
    told = f"{block.count} of this shape, {block.of} in all"
    how = source(part, captured=part.on_gpu)

    def time_it(module: nn.Module) -> float:
        return timed(part, block.call(module), captured=part.on_gpu)

    base_s = part.attempt(name, "s", lambda: time_it(block.module), LIMIT_S)
    if base_s is None:
        return
    part.book.add(name, base_s, "s", how, told)

    def compile_it(label: str, *, with_fp8: bool) -> None:
        seconds = time_it(_compiled(part, label, block, with_fp8=with_fp8))
        part.book.add(label, seconds, "s", how, told)
        saved_s = block.count * (base_s - seconds)
        part.book.add(f"{label}: saves a step", saved_s, "s", "predicted: saving x count", told)

    for with_fp8 in (False, True):
        label = f"{name}, compiled{', FP8' if with_fp8 else ''}"
        if with_fp8 and is_supported(torch.device(part.device)) is not None:
            part.book.lack(label, "s", f"{NEEDS_GPU} of capability 8.9 or later")
        elif part.rehearse and kind is not KINDS[-1]:  # one shows the way
            part.book.lack(label, "s", "not rehearsed: half a minute of a CPU's compiler")
        else:
            limit_s = REHEARSAL_COMPILE_LIMIT_S if part.rehearse else COMPILE_LIMIT_S
            run = functools.partial(compile_it, label, with_fp8=with_fp8)
            part.attempt(label, "s", run, limit_s)


def usual(denoiser: nn.Module, kind: type[nn.Module], call: Call) -> Block:
    """A block of the kind's most frequent shape in a call of the denoiser.

    Raises:
        LookupError: The denoiser has none of the kind.
    """
    seen: list[tuple[nn.Module, tuple[Any, ...], dict[str, Any]]] = []

    def note(module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        seen.append((module, arguments, named))

    hooks = [
        module.register_forward_pre_hook(note, with_kwargs=True)
        for module in denoiser.modules()
        if isinstance(module, kind)
    ]
    try:
        call()
    finally:
        for hook in hooks:
            hook.remove()
    if not seen:
        raise LookupError(f"no {kind.__name__} in this denoiser")
    shapes = Counter(_shape(*one) for one in seen)
    shape, count = shapes.most_common(1)[0]
    module, arguments, named = next(one for one in seen if _shape(*one) == shape)
    return Block(module=module, arguments=arguments, named=named, count=count, of=len(seen))


def _shape(module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> object:
    """What two blocks share that take the same time: shapes of inputs and of parameters."""
    tensors = [*arguments, *named.values()]
    inputs = tuple(tuple(each.shape) for each in tensors if isinstance(each, torch.Tensor))
    return inputs, tuple(tuple(each.shape) for each in module.parameters())


def _compiled(part: Session, label: str, block: Block, *, with_fp8: bool) -> nn.Module:
    """A copy of the block, compiled by its first call; what that took is told."""
    mine = copy.deepcopy(block.module)
    if with_fp8:
        made = quantize(mine, block.call(mine))  # type: ignore[arg-type]
        error = made.relative_error
        part.book.add(f"{label}: error", error, "relative", "against bf16, random weights",
                      f"{made.layers} of {made.of_layers} layers")  # fmt: skip
    compiled = compile_regions(mine, cache_folder=part.out / "cache")
    began_s = time.perf_counter()
    block.call(compiled)()
    part.book.add(f"{label}: compiling", time.perf_counter() - began_s, "s", CLOCK)
    return compiled
