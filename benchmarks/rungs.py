"""The ways to run a model that the ladder prices, and the rate of each."""

from functools import partial
from typing import Any

import msgspec

from benchmarks.fusion import fused
from benchmarks.kernels import Recording
from benchmarks.model_stages import Case, Stages
from benchmarks.rewrites import (
    fp8_linears,
    gates_in_products,
    joined_products,
    sums_in_products,
    text_keys_once,
)
from benchmarks.roofline import H200, Assumed, Gpu, images_per_s, total
from serve.shortcuts import Shortcuts

OPTIONS = {
    "none": Shortcuts(),
    "guidance_until": Shortcuts(guidance_until=0.67),
    "cache_steps": Shortcuts(cache_steps=2),
    "both": Shortcuts(cache_steps=2, guidance_until=0.67),
}

# What measurement may still find: FlashAttention 3's 476 TFLOP/s at width 64 and 4,096 tokens on
# an H100 (table in arXiv 2407.08608) instead of cuDNN's 408, and better convolutions than cuDNN's
# heuristics choose, by how much being anyone's guess.
FASTER = Assumed(attention=0.60, conv=0.80)


class Rung(msgspec.Struct, frozen=True, kw_only=True):
    """One way to run the model.

    Attributes:
        name: What is new in it.
        basis: `recorded` or `rule`.
        stages: Its kernels; every step also keeps its deep features, for steps that reuse them.
        on: The rung before it.
    """

    name: str
    basis: str
    stages: Stages
    on: str | None = None


def rungs(stock: Stages, own: Stages) -> list[Rung]:
    """The ways there are, from recordings of the stock modules and of the server's own kernels."""
    today = Rung(name="stock modules", basis="recorded", stages=stock)
    compiled = Rung(
        name="stock blocks compiled", basis="rule", on=today.name, stages=each_stage(stock, fused)
    )
    kernels = Rung(name="own kernels", basis="recorded", on=today.name, stages=own)

    def more(name: str, on: Rung, *rules: Any) -> Rung:
        stages = on.stages
        for rule in rules:
            stages = each_stage(stages, rule, decode=False)
        return Rung(name=name, basis="rule", on=on.name, stages=stages)

    return [
        today,
        compiled,
        kernels,
        more("+ text keys and values once an image", kernels, text_keys_once),
        more("+ queries, keys, values in one product", kernels, joined_products),
        more("+ residual sums in the product before", kernels, sums_in_products),
        more("+ gates in the product before", kernels, gates_in_products),
        more("+ FP8, quantized by eager torch", kernels, partial(fp8_linears, by="eager")),
        more("+ FP8, quantized by a kernel of its own", kernels, partial(fp8_linears, by="alone")),
        more("+ FP8, quantized by norms and gates", kernels, fp8_linears),
        more(
            "+ that, text once, joined products",
            kernels,
            text_keys_once,
            joined_products,
            fp8_linears,
        ),
    ]


def each_stage(stages: Stages, rule: Any, *, decode: bool = True) -> Stages:
    """The rule applied to steps, and to the decode where it helps there."""
    return msgspec.structs.replace(
        stages,
        step=rule(stages.step),
        shallow=None if stages.shallow is None else rule(stages.shallow),
        decode=rule(stages.decode) if decode else stages.decode,
    )


def rate(
    case: Case,
    stages: Stages,
    shortcuts: Shortcuts = OPTIONS["none"],
    assumed: Assumed = Assumed(),  # noqa: B008
    gpu: Gpu = H200,
    steps: int | None = None,
) -> float:
    """Images a second; an unguided step is taken to cost half, its row being another image's.

    Raises:
        ValueError: Deep features are to be reused, and no such step was recorded.
    """
    if shortcuts.cache_steps > 1 and stages.shallow is None:
        raise ValueError("cache_steps: no shallow step was recorded")

    def seconds(recording: Recording | None) -> float:
        return 0.0 if recording is None else total(recording.kernels, gpu, assumed).seconds

    steps = steps or case.steps
    whole_s, shallow_s = seconds(stages.step), seconds(stages.shallow)
    guided = shortcuts.guided_steps(steps)
    loop_s = sum(
        (whole_s if shortcuts.is_whole(step) else shallow_s) / (1 if step < guided else 2)
        for step in range(steps)
    )
    return images_per_s(
        images=case.images,
        steps=1,
        step_s=loop_s,
        decode_s=seconds(stages.decode),
        text_s=seconds(stages.text),
    )
