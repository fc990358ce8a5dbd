"""What recorded kernels would be if the server were written otherwise; each change by its own rule.

They are for pricing what has not been built: a recording of the server's own code replaces such a
rule as soon as there is one.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence

import msgspec

from benchmarks.fusion import ANCHORS
from benchmarks.kernels import Kernel, Recording, Ref
from serve.acceleration.fp8 import pays

# Bytes of an element, as it is served and in FP8.
BF16, FP8 = 2, 1


def _with(recording: Recording, kernels: Sequence[Kernel]) -> Recording:
    return msgspec.structs.replace(recording, kernels=tuple(kernels))


def fp8_quantized_eagerly(recording: Recording) -> Recording:
    """Linear layers in row-wise FP8 where `serve.acceleration.fp8.pays` says so, without a kernel.

    So it is where Triton is missing: for each layer come the operators of
    `serve.acceleration.fp8_rows.quantize_rows`, each a kernel of its own (to float32, absolute
    values, their maxima, quotients, to FP8). Weights take one byte. Scales, four bytes a row, are
    left out.

    Args:
        recording: Of bf16.
    """
    made = []
    for kernel in recording.kernels:
        is_linear = recording.classes.get(kernel.path) == "Linear"
        if is_linear and kernel.shape is not None and pays(*kernel.shape):
            *others, x, weight = kernel.reads
            made += _eagerly(x, kernel.path)
            kernel = msgspec.structs.replace(
                kernel, is_fp8=True, reads=(*others, _halved(x), _halved(weight))
            )
        made.append(kernel)
    return _with(recording, made)


def text_keys_once(recording: Recording) -> Recording:
    """Keys and values of the text computed once an image, and gathered for each step's rows."""
    made = []
    for kernel in recording.kernels:
        if kernel.path.endswith(("attn2.to_k", "attn2.to_v")) and kernel.kind == "matmul":
            kernel = Kernel(
                kind="copy",
                name="kept keys and values",
                path=kernel.path,
                reads=tuple(
                    msgspec.structs.replace(ref, value=-ref.value) for ref in kernel.writes
                ),
                writes=kernel.writes,
            )
        made.append(kernel)
    return _with(recording, made)


def joined_products(
    recording: Recording, names: Collection[str] = ("to_q", "to_k", "to_v")
) -> Recording:
    """Queries, keys and values of one input by one product each, instead of three."""
    groups: dict[tuple[str, int], list[Kernel]] = defaultdict(list)
    for kernel in recording.kernels:
        parent, _, name = kernel.path.rpartition(".")
        if kernel.kind == "matmul" and name in names:
            groups[parent, kernel.reads[-2].value].append(kernel)
    into: dict[int, Kernel | None] = {}
    for some in groups.values():
        if len(some) < 2:
            continue
        rows, width, _ = some[0].shape or (0, 0, 0)
        into |= {id(kernel): None for kernel in some[1:]}
        into[id(some[0])] = msgspec.structs.replace(
            some[0],
            flop=sum(kernel.flop for kernel in some),
            shape=(rows, width, sum(kernel.shape[2] for kernel in some if kernel.shape)),
            reads=(*some[0].reads, *(kernel.reads[-1] for kernel in some[1:])),
            writes=tuple(ref for kernel in some for ref in kernel.writes),
        )
    joined = [into.get(id(kernel), kernel) for kernel in recording.kernels]
    return _with(recording, [kernel for kernel in joined if kernel is not None])


def sums_in_products(recording: Recording) -> Recording:
    """Residual sums added by the product before them (beta = 1 of a GEMM), their biases carried.

    A transformer block's `x + residual` is then what the product writes, so that the norm after
    it only reads it. Biases of those products have to travel beside the sum, as a vector that each
    norm adds and the last projection takes into its own bias.
    """
    producers = {ref.value: kernel for kernel in recording.kernels for ref in kernel.writes}
    extra: dict[int, Ref] = {}
    changed: dict[int, Kernel | None] = {}
    for kernel in recording.kernels:
        if kernel.name not in ("add_layer_norm", "add") or kernel.kind in ANCHORS:
            continue
        x, residual = kernel.reads[0], kernel.reads[1] if len(kernel.reads) > 1 else None
        product = producers.get(x.value)
        is_sum = product is not None and product.path.endswith(("to_out.0", "ff.net.2"))
        if not is_sum or residual is None or residual.bytes != x.bytes or product is None:
            continue
        extra[id(product)] = residual
        changed[id(kernel)] = (
            None
            if kernel.name == "add"
            else msgspec.structs.replace(
                kernel, reads=(x, *kernel.reads[2:]), writes=kernel.writes[1:]
            )
        )
    made = []
    for kernel in recording.kernels:
        if id(kernel) in extra:
            reads = (extra[id(kernel)], *kernel.reads)
            made.append(msgspec.structs.replace(kernel, reads=reads))
        else:
            kept = changed.get(id(kernel), kernel)
            made += [] if kept is None else [kept]
    return _with(recording, made)


def gates_in_products(recording: Recording) -> Recording:
    """GEGLU computed in the epilogue of the product before it, which writes half as much."""
    producers = {ref.value: kernel for kernel in recording.kernels for ref in kernel.writes}
    gates = [kernel for kernel in recording.kernels if kernel.name == "geglu"]
    writes = {id(producers[gate.reads[0].value]): gate.writes for gate in gates}
    return _with(
        recording,
        [
            msgspec.structs.replace(kernel, writes=writes.get(id(kernel), kernel.writes))
            for kernel in recording.kernels
            if kernel.name != "geglu"
        ],
    )


def _eagerly(source: Ref, path: str) -> list[Kernel]:
    """What eager torch launches to quantize a tensor; kernels on a number a row are left out."""
    sizes = {"float": (BF16, 4), "abs": (4, 4), "amax": (4, 0), "div": (4, 4), "to FP8": (4, FP8)}
    return [_pass(name, path, source, read, written) for name, (read, written) in sizes.items()]


def _pass(name: str, path: str, source: Ref, read: int, written: int) -> Kernel:
    """A pass over a bf16 tensor that reads and writes so many bytes an element."""

    def sized(size: int) -> tuple[Ref, ...]:
        return (Ref(source.value, source.offset, source.bytes * size // BF16),) if size else ()

    return Kernel(kind="pointwise", name=name, path=path, reads=sized(read), writes=sized(written))


def _halved(ref: Ref) -> Ref:
    return Ref(ref.value, ref.offset, ref.bytes * FP8 // BF16)
