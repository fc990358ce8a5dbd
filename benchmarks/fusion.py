"""What a compiler would make of recorded kernels: a rule of fusion over their dataflow.

The rule stands for torch.compile's inductor applied to a model's repeated blocks one by one
(`compile_repeated_blocks` of diffusers), each with static shapes:

- Matrix products, convolutions and attention stay the kernels that they are.
- Everything else within one call of a block is fused with what it gives to or takes from, as long
  as no product lies between them on any path: so no cycle can come of it.
- A fused kernel reads once each tensor that comes from outside it, and writes those that are read
  outside of it; what stays inside moves no bytes. Copies from one layout to another lie inside.
- A group norm's statistics take a pass and a kernel of their own before the one that applies
  them, as a group (0.3 MB at SDXL's largest) is more than a multiprocessor holds: a kernel with a
  group norm in it reads twice. A layer norm's row does fit.

Checked against inductor's own code for SDXL's BasicTransformerBlock: 5 Triton kernels beside 10
products and 2 attentions, which is what the rule gives. It takes inductor to fuse whatever it may;
where its heuristics stop earlier, more bytes move.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

import msgspec

from benchmarks.kernels import Kernel, Recording, Ref

ANCHORS = ("matmul", "conv", "attention")
REGIONS = ("BasicTransformerBlock", "ResnetBlock2D")


def fused(recording: Recording, regions: Collection[str] = REGIONS) -> Recording:
    """The same work with each block of these classes compiled, its kernels in their old order."""
    kernels = recording.kernels
    producers = {ref.value: i for i, kernel in enumerate(kernels) for ref in kernel.writes}
    blocks = [region(kernel.path, recording.classes, regions) for kernel in kernels]
    depths = _depths(kernels, producers)
    group = list(range(len(kernels)))  # a forest: each points to an earlier member, or to itself

    def first(i: int) -> int:
        while group[i] != i:
            i = group[i]
        return i

    for i, kernel in enumerate(kernels):
        for ref in kernel.reads:
            source = producers.get(ref.value)
            if (
                source is not None
                and source < i
                and blocks[i] is not None
                and (blocks[i], depths[i]) == (blocks[source], depths[source])
                and not {kernel.kind, kernels[source].kind} & set(ANCHORS)
            ):
                one, other = sorted((first(source), first(i)))
                group[other] = one
    members = defaultdict(list)
    for i in range(len(kernels)):
        members[first(i)].append(kernels[i])
    readers = _readers(kernels)
    # A component comes where its last member was: all that it reads is there by then.
    last = {first(i): i for i in range(len(kernels))}
    at = {end: members[start] for start, end in last.items()}
    made = [_as_one(at[i], readers) for i in sorted(at)]
    return msgspec.structs.replace(recording, kernels=tuple(made))


def region(path: str, classes: Mapping[str, str], regions: Collection[str]) -> str | None:
    """The innermost module of one of these classes that a path lies in; None: none."""
    parts = path.split(".")
    for end in range(len(parts), 0, -1):
        inner = ".".join(parts[:end])
        if classes.get(inner) in regions:
            return inner
    return None


def _depths(kernels: Sequence[Kernel], producers: Mapping[int, int]) -> list[int]:
    """For each kernel, the most products on any path from the beginning to it, itself excluded."""
    depths: list[int] = []
    for i, kernel in enumerate(kernels):
        sources = {producers[ref.value] for ref in kernel.reads if ref.value in producers}
        depths.append(
            max(
                (depths[s] + (kernels[s].kind in ANCHORS) for s in sources if s < i),
                default=0,
            )
        )
    return depths


def _readers(kernels: Sequence[Kernel]) -> Mapping[int, set[int]]:
    """Who reads each value, by the kernel's identity."""
    readers: dict[int, set[int]] = defaultdict(set)
    for kernel in kernels:
        for ref in kernel.reads:
            readers[ref.value].add(id(kernel))
    return readers


def _as_one(members: Sequence[Kernel], readers: Mapping[int, set[int]]) -> Kernel:
    """One kernel for all of them."""
    if len(members) == 1:
        return members[0]
    inside = {id(kernel) for kernel in members}
    written = {ref.value: ref for kernel in members for ref in kernel.writes}
    reads: dict[tuple[int, int], Ref] = {}
    for kernel in members:
        for ref in kernel.reads:
            known = reads.get((ref.value, ref.offset))
            if ref.value not in written and (known is None or known.bytes < ref.bytes):
                reads[ref.value, ref.offset] = ref
    passes = max(kernel.passes for kernel in members)
    return Kernel(
        kind="fused",
        name=" + ".join(kernel.name for kernel in members),
        path=members[-1].path,
        reads=tuple(reads.values()),
        writes=tuple(
            ref
            for value, ref in written.items()
            if not readers.get(value) or readers[value] - inside
        ),
        passes=passes,
        launches=passes,
    )
