"""Where an image's time goes: text, steps by kind of kernel, gaps, VAE, file.

    python -m benchmarks.breakdown [--model sdxl --px 1024 --steps 20 …]

Runs each stage of policy `step` alone on a warm model at its full batch: the seconds that it takes
of the device for one image, the rate that its FLOPs make of that, and the percentage of the
measured matmul limit. torch's profiler splits the steps by kind of kernel (on a CPU: of operator);
gaps are what the device spent on none. The stages overlap while serving, so their sum is more
than a busy replica needs for an image.

stderr shows a table; the last line of stdout is one JSON object.
"""

import json
import re
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.options import environment, parser_of, settings_of
from serve.diffusion.pipeline import DiffusionModel
from serve.diffusion.startup import default_recipe, start
from serve.engine.request import Encoding, Recipe, Row, Tick
from serve.image_files import encode
from serve.settings import Settings, SettingsError

TICKS = 10
REPEATS = 5
# Kernels that torch's compiler or we wrote, which hold several operators each: Triton's names are
# plain identifiers, told before the kinds, since inductor's list all operators that they fuse
# (triton_poi_fused_convolution_native_group_norm_3).
FUSED = re.compile(
    r"triton_|_?(group_norm|layer_norm|norm_silu|geglu|moments|combine|apply|sum_of_three|"
    r"sum_and_norm|gated)\w*$"
)
# The first kind whose word stands in a kernel's (or operator's) name, in lower case.
KINDS: Mapping[str, tuple[str, ...]] = {
    "layout": ("nchwtonhwc", "nhwctonchw"),  # cuDNN's, around convolutions
    "attention": ("attention", "flash", "fmha", "sdpa"),
    "convolution": ("conv", "implicit", "fprop", "dgrad"),
    "matmul": ("gemm", "nvjet", "cutlass", "cublas", "addmm", "bmm", "::mm", "linear", "matmul"),
    "norm": ("norm", "moments", "softmax", "reduce", "welford"),
    "copy": ("memcpy", "memset", "copy", "index", "gather", "cat", "transpose", "contiguous"),
    "pointwise": ("elementwise", "vectorized", "silu", "gelu", "mul", "add", "aten::"),
}


def kind_of(name: str) -> str:
    """The kind of a kernel or operator, by its name."""
    lower = name.lower()
    if FUSED.match(lower):
        return "fused"
    for kind, words in KINDS.items():
        if any(word in lower for word in words):
            return kind
    return "other"


def by_kind(seconds: Iterable[tuple[str, float]], wall_s: float) -> dict[str, float]:
    """Seconds by kind of kernel, and the gaps between them.

    Args:
        seconds: Kernels' names and times; they do not overlap.
        wall_s: The time in which they ran.
    """
    kinds: dict[str, float] = defaultdict(float)
    for name, spent_s in seconds:
        kinds[kind_of(name)] += spent_s
    kinds["gaps"] = max(0.0, wall_s - sum(kinds.values()))
    return dict(sorted(kinds.items(), key=lambda item: -item[1]))


def main() -> int:
    """Run the benchmark; returns the exit code."""
    arguments = parser_of("benchmarks.breakdown", __doc__).parse_args()
    try:
        settings = settings_of(arguments)
    except SettingsError as err:
        print(f"error: {err}", file=sys.stderr)  # noqa: T201
        return 2
    warm = start(settings)
    told = _measure(warm.model, settings, warm.facts)
    for stage, figures in told["stages"].items():
        line = f"{stage:10}{figures['s_per_image'] * 1e3:10.2f} ms an image"
        percent = figures.get("limit_percent")
        print(line + (f"{percent:8.1f}% of the limit" if percent else ""), file=sys.stderr)  # noqa: T201
    for kind, share in told["steps_by_kind"].items():
        print(f"  steps: {kind:14}{share:7.1%}", file=sys.stderr)  # noqa: T201
    print(json.dumps(told))  # noqa: T201
    return 0


def _measure(model: DiffusionModel, settings: Settings, facts: Mapping[str, Any]) -> dict[str, Any]:
    recipe, slots = default_recipe(settings), settings.batch_limit
    row = Row(prompt="a red fox", negative_prompt="", seed=0)
    cost = model.costs.of(recipe.size)
    texts = iter(range(10**6))

    def prepare() -> None:
        fresh = msgspec.structs.replace(row, prompt=f"a red fox, {next(texts)}")
        model.preparation.prepare([(recipe, fresh)])

    ticks = FullBatch(model, recipe, slots)
    latents = ticks.latents()[: model.decoder.batch(recipe.size)]
    pixels = model.decoder.decode(recipe.size, latents)
    step_s = median_s(ticks.run) / TICKS
    rows = 2 if recipe.is_guided else 1
    stages = {
        "text": (median_s(prepare), float(cost.text_flop)),  # the negative prompt is cached
        "denoise": (step_s * recipe.steps / slots, float(cost.row_flop * rows * recipe.steps)),
        "decode": (
            median_s(lambda: model.decoder.decode(recipe.size, latents)) / len(latents),
            float(cost.decode_flop),
        ),
        "encode": (median_s(lambda: encode(pixels[0].image, Encoding())), None),  # type: ignore[union-attr]
    }
    limit = (facts.get("limits") or {}).get("matmul_flop_per_s")  # None: it was not measured
    return {
        "benchmark": "breakdown",
        "stages": {name: rates(seconds, flop, limit) for name, (seconds, flop) in stages.items()},
        "steps_by_kind": profiled(ticks, model.device_name),
        "slots": slots,
        "settings": msgspec.to_builtins(settings),
        "facts": dict(facts),
        **environment("benchmarks.breakdown"),
    }


class FullBatch:
    """A full batch that can be stepped again and again."""

    def __init__(self, model: DiffusionModel, recipe: Recipe, slots: int) -> None:
        self._model = model
        self._recipe = msgspec.structs.replace(recipe, steps=max(recipe.steps, TICKS))
        rows = [(self._recipe, Row(prompt="x", negative_prompt="", seed=i)) for i in range(slots)]
        self._starts = {}
        for slot, prepared in enumerate(model.preparation.prepare(rows)):
            if isinstance(prepared, Exception):
                raise prepared
            self._starts[slot] = prepared.state

    def run(self) -> None:
        """Join, step `TICKS` times, and wait for the device."""
        for step in range(TICKS):
            self._tick(step, finishes=False)
        self._model.stepper.catch_up()

    def steps_s(self) -> list[float]:
        """Join, step `TICKS` times; the device's seconds of each step, by its own clock."""
        measured = []
        for step in range(TICKS):
            measured += self._tick(step, finishes=False).measured
        return [each.seconds for each in [*measured, *self._model.stepper.catch_up()]]

    def latents(self) -> list[Any]:
        """The latents after one step."""
        return list(self._tick(0, finishes=True).latents.values())

    def _tick(self, step: int, *, finishes: bool) -> Any:
        slots = list(self._starts)
        return self._model.stepper.tick(
            Tick(
                size=self._recipe.size,
                joins=self._starts if step == 0 else {},
                active=dict.fromkeys(slots, step),
                finishes=slots if finishes else [],
            )
        )


def rates(seconds: float, flop: float | None, limit: float | None) -> dict[str, float | None]:
    """A stage's seconds an image, and its rate in TFLOP/s and percent of the limit in FLOP/s.

    Without FLOP there is no rate; without a measured limit, no percentage.
    """
    rate = None if flop is None else flop / seconds
    return {
        "s_per_image": seconds,
        "tflop": None if flop is None else flop / 1e12,
        "tflops": None if rate is None else rate / 1e12,
        "limit_percent": None if rate is None or limit is None else 100 * rate / limit,
    }


def profiled(ticks: FullBatch, device: str) -> dict[str, float]:
    """Shares of the steps' time by kind of kernel; `device` is `cuda` or `cpu`."""
    is_cuda = device == "cuda"
    activity = ProfilerActivity.CUDA if is_cuda else ProfilerActivity.CPU
    with profile(activities=[activity]) as seen:
        started_s = time.perf_counter()
        ticks.run()
        wall_s = time.perf_counter() - started_s
    field = "self_device_time_total" if is_cuda else "self_cpu_time_total"
    spent = [(each.key, getattr(each, field) / 1e6) for each in seen.key_averages()]
    kinds = by_kind(spent, wall_s)
    total = sum(kinds.values())
    return {kind: seconds / total for kind, seconds in kinds.items()}


def median_s(run: Callable[[], object]) -> float:
    """Median seconds of a few runs, after one that does not count."""
    run()
    took = []
    for _ in range(REPEATS):
        started_s = time.perf_counter()
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        took.append(time.perf_counter() - started_s)
    return statistics.median(took)


if __name__ == "__main__":
    sys.exit(main())
