"""Records what torch would launch on a GPU, operator by operator, from a run on fake tensors.

An operator is taken for the kernels that torch 2.11 to 2.13 launch for it on CUDA (bf16, cuDNN,
cuBLASLt), where a CPU build tells otherwise:

- A convolution answers in channels_last where its input or weight is (`cudnn_convolution` copies
  the other), and adds its bias by a kernel of its own. Where neither is, cuDNN converts both and
  the answer for the tensor cores (`nchwToNhwcKernel`).
- A group norm takes and gives NCHW: one pass for the moments, a small kernel, one that applies
  them (aten/src/ATen/native/cuda/group_norm_kernel.cu). So a channels_last input is copied first.
- Attention is one kernel that reads its inputs by their strides, at the next width it has.
"""

# mypy: disallow-untyped-calls=False
# Parts of torch are untyped.

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks.fake_cuda import CUDA
from benchmarks.kernels import Kernel, Kind, Recording, Ref

aten = torch.ops.aten

# The widths of a head that attention kernels are built for; another is computed as the next one.
WIDTHS = (64, 96, 128, 192, 256)
MATMULS = (aten.mm, aten.addmm, aten.bmm, aten.baddbmm)
CONVOLUTIONS = (aten.convolution, aten._convolution)
UNTOUCHED = (
    aten.empty,
    aten.empty_like,
    aten.new_empty,
    aten.empty_strided,
    aten._unsafe_view,
    aten.lift_fresh,
)
# They read as many elements as they give, whatever the size of what they choose from.
GATHERS = (aten.index_select, aten.index, aten.embedding, aten.gather)
OVERWRITES = (aten.copy_, aten.fill_, aten.zero_)
COPIES = (aten._to_copy, aten.copy_, aten.clone, aten.cat, aten.index_copy_, *GATHERS)
# A group norm, torch's or our own: moments by parts, the moments of each group, their use.
GROUP_NORM = {"passes": 2, "launches": 3}


@contextlib.contextmanager
def recording(parts: Mapping[str, torch.nn.Module]) -> Iterator["Recorder"]:
    """A context in which all that reaches the fake GPU is recorded.

    Args:
        parts: Modules by name, so that kernels can tell which called them.
    """
    recorder = Recorder()
    hooks = []
    for name, part in parts.items():
        for path, module in part.named_modules(prefix=name):
            recorder.classes[path] = type(module).__name__
            hooks.append(module.register_forward_pre_hook(recorder.entering(path)))
            hooks.append(module.register_forward_hook(recorder.leaving))
    try:
        with recorder, _Attention(recorder):
            yield recorder
    finally:
        for hook in hooks:
            hook.remove()


class Recorder(TorchDispatchMode):
    """Notes the kernels of every operator on the fake GPU; `recorded` gives them."""

    def __init__(self) -> None:
        super().__init__()
        self.classes: dict[str, str] = {}
        self._kernels: list[Kernel] = []
        self._host_copies: list[str] = []
        self._largest = 0
        self._paths: list[str] = []
        self._values: dict[int, int] = {}
        self._next_value = 0
        self._alive: list[torch.UntypedStorage] = []  # so that no two share an address

    def recorded(self) -> Recording:
        """All that was noted so far."""
        return Recording(
            kernels=tuple(self._kernels),
            host_copies=tuple(self._host_copies),
            largest_elements=self._largest,
            classes=self.classes,
        )

    def entering(self, path: str) -> Callable[..., None]:
        """A hook for the module at that path."""

        def enter(module: torch.nn.Module, args: Any) -> None:
            self._paths.append(path)

        return enter

    def leaving(self, module: torch.nn.Module, args: Any, output: Any) -> None:
        """A hook for every module."""
        self._paths.pop()

    def attention(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Note softmax(q kᵀ) v of (batch, heads, tokens, width); its result lies as q does."""
        batch, heads, tokens, width = q.shape
        others, wide = k.shape[2], v.shape[3]
        made = torch.empty((batch, tokens, heads, wide), dtype=q.dtype, device=q.device)
        self.note(
            "attention",
            f"sdpa {tokens}x{others} of width {width}",
            [q, k, v],
            [made],
            flop=2.0 * batch * heads * tokens * others * (width + wide),
            padding=next((each for each in WIDTHS if each >= width), width) / width,
        )
        return made.transpose(1, 2)

    def note(
        self,
        kind: Kind,
        name: str,
        reads: Sequence[torch.Tensor | Ref],
        writes: Sequence[torch.Tensor | Ref],
        **more: Any,
    ) -> None:
        """One kernel."""
        tensors = [each for each in (*reads, *writes) if isinstance(each, torch.Tensor)]
        self._largest = max(self._largest, *(each.numel() for each in tensors), 0)
        kernel = Kernel(
            kind=kind,
            name=name,
            path=self._paths[-1] if self._paths else "",
            reads=tuple(each if isinstance(each, Ref) else self._ref(each) for each in reads),
            writes=tuple(each if isinstance(each, Ref) else self._written(each) for each in writes),
            **more,
        )
        self._kernels.append(kernel)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        inputs = _tensors((args, kwargs))
        packet = func.overloadpacket
        out = func(*args, **kwargs)
        outputs = _tensors(out)
        self._note_host_copy(packet, inputs, outputs)
        if not any(each.device.type == "cuda" for each in outputs):
            return out
        if packet in CONVOLUTIONS:
            return self._convolution(func, args, kwargs, out)
        if packet is aten.native_group_norm:
            return self._group_norm(args, out)
        if packet in UNTOUCHED or _is_view(func):
            return out
        name = packet.__name__
        kind: Kind
        if packet in MATMULS:
            width, features = inputs[-1].shape[-2:]
            flop = float(flop_registry[packet](*args, **kwargs, out_val=out))
            rows = round(flop / (2 * width * features))  # those of all products of a batch
            shape = (rows, width, features)
            self.note("matmul", f"{name} {shape}", inputs, outputs, flop=flop, shape=shape)
        elif packet in GATHERS:
            source = self._ref(inputs[0], numel=outputs[0].numel())
            self.note("copy", name, [source, *inputs[1:]], outputs)
        elif packet is aten.index_copy_:
            self.note("copy", name, inputs[1:], [self._written(inputs[0], inputs[-1].numel())])
        elif packet in OVERWRITES:
            kind = "copy" if packet is aten.copy_ else "pointwise"
            self.note(kind, name, inputs[1:], outputs)
        elif packet in COPIES:
            is_layout = packet is aten.clone and outputs[0].ndim == 4
            self.note("layout" if is_layout else "copy", name, inputs, outputs)
        else:
            kind = "norm" if "norm" in name else "pointwise"
            more = GROUP_NORM if name == "group_norm" else {}
            self.note(kind, name, inputs, outputs, **more)
        return out

    def _convolution(self, func: Any, args: Any, kwargs: Any, out: torch.Tensor) -> torch.Tensor:
        x, weight, bias = args[0], args[1], args[2]
        flop = float(flop_registry[func.overloadpacket](*args, **kwargs, out_val=out))
        name = f"conv {tuple(x.shape)} to {weight.shape[0]}, {weight.shape[-1]}x{weight.shape[-1]}"
        is_last = any(_is_last(each) for each in (x, weight))
        if not is_last:
            x, weight = (self._laid_out(each, torch.channels_last) for each in (x, weight))
        elif not _is_last(x):
            x = self._laid_out(x, torch.channels_last)
        elif not _is_last(weight):
            weight = self._laid_out(weight, torch.channels_last)
        made = torch.empty(
            out.shape, dtype=out.dtype, device=CUDA, memory_format=torch.channels_last
        )
        self.note("conv", name, [x, weight], [made], flop=flop)
        if not is_last:
            made = self._laid_out(made, torch.contiguous_format)
        if bias is not None:
            self.note("pointwise", "bias of a convolution", [made, bias], [made])
        return made

    def _group_norm(self, args: Any, out: Any) -> Any:
        x = args[0]
        if not x.is_contiguous():
            x = self._laid_out(x, torch.contiguous_format)
        made = torch.empty(out[0].shape, dtype=out[0].dtype, device=CUDA)
        affine = [each for each in args[1:3] if each is not None]
        self.note("norm", "native_group_norm", [x, *affine], [made], **GROUP_NORM)
        return made, *out[1:]

    def _laid_out(self, x: torch.Tensor, layout: torch.memory_format) -> torch.Tensor:
        """A copy of x in that layout, made by a kernel."""
        made = torch.empty(x.shape, dtype=x.dtype, device=CUDA, memory_format=layout)
        to = "NHWC" if layout == torch.channels_last else "NCHW"
        self.note("layout", f"to {to}", [x], [made])
        return made

    def _note_host_copy(
        self, packet: Any, inputs: Sequence[torch.Tensor], outputs: Sequence[torch.Tensor]
    ) -> None:
        # A number on the host goes into a kernel's arguments, unless it is copied by itself.
        is_copy = packet in (aten._to_copy, aten.copy_)
        seen = [*(each for each in inputs if each.ndim or is_copy), *(outputs if is_copy else ())]
        if {each.device.type for each in seen} >= {"cpu", "cuda"}:
            where = self._paths[-1] if self._paths else "the server"
            self._host_copies.append(f"{tuple(inputs[-1].shape)} in {where}")

    def _ref(self, tensor: torch.Tensor, numel: int | None = None) -> Ref:
        """What a kernel reads of a tensor."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._values:
            self._alive.append(storage)
            self._values[key] = self._new()
        elements = _distinct(tensor) if numel is None else numel
        return Ref(
            self._values[key], int(tensor.storage_offset()), elements * tensor.element_size()
        )

    def _written(self, tensor: torch.Tensor, numel: int | None = None) -> Ref:
        """The tensor as a kernel leaves it: a value of its own."""
        self._ref(tensor)
        self._values[tensor.untyped_storage()._cdata] = self._new()
        return self._ref(tensor, numel)

    def _new(self) -> int:
        self._next_value += 1
        return self._next_value


class _Attention(TorchFunctionMode):
    """Attention as one kernel, whichever a CPU build would choose."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.nn.functional.scaled_dot_product_attention:
            q, k, v = _products(*args, **kwargs)
            if q.device.type == "cuda":
                return self._recorder.attention(q, k, v)
        return func(*args, **kwargs)


def _products(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *args: Any, **kwargs: Any
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What attention multiplies, of its arguments; masks are small beside it."""
    return query, key, value


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [each for each in pytree.tree_leaves(tree) if isinstance(each, torch.Tensor)]


def _is_view(func: Any) -> bool:
    """Whether an operator gives another view of its input and launches nothing."""
    returns = func._schema.returns
    return bool(returns) and all(
        each.alias_info is not None and not each.alias_info.is_write for each in returns
    )


def _is_last(tensor: torch.Tensor) -> bool:
    return tensor.is_contiguous(memory_format=torch.channels_last)


def _distinct(tensor: torch.Tensor) -> int:
    """Elements, those repeated by a stride of 0 counted once."""
    count = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        count *= size if stride or size == 0 else 1
    return count
