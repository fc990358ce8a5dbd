"""What each way to make a step faster would bring, on paper: the census priced before and after.

    python -m benchmarks.ladder [sdxl:16 sd15:16]

A rung is *recorded* where the server has the code, and comes of a rule (`benchmarks.fusion`,
`benchmarks.rewrites`) where it does not. Each is priced with and without the options that change
the images: `cache_steps=2` and `guidance_until=0.67`. Then the rungs' rates with each assumption
of `benchmarks.roofline` a tenth lower and higher, and the model against published times of an
A100. Nothing here was measured by this project.

stderr shows a table a case; the last line of stdout is one JSON object.
Exit codes: 0, 2 usage.
"""

# mypy: disallow-untyped-calls=False
# diffusers ships no types.

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from benchmarks.census import case_of
from benchmarks.fusion import fused
from benchmarks.model_stages import Case, Stages, record
from benchmarks.options import environment
from benchmarks.roofline import A100, H200, Assumed, by_kind, total
from benchmarks.rungs import FASTER, OPTIONS, Rung, each_stage, rate, rungs
from serve.catalog import MODEL_DEFAULTS


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds an image that others measured on an A100, one image at a time.

    Attributes:
        model: Which, at its own size.
        steps: Of the image.
        eager_s: With fused attention, weights in NCHW.
        compiled_s: By torch.compile, in channels_last.
        source: Who says so.
    """

    model: str
    steps: int
    eager_s: float
    compiled_s: float
    source: str


PUBLISHED = (
    Published(
        model="sdxl",
        steps=30,
        eager_s=3.31,
        compiled_s=2.54,
        source="diffusers: Accelerate inference of text-to-image diffusion models (bf16)",
    ),
    Published(
        model="sd15",
        steps=50,
        eager_s=1.604,
        compiled_s=1.058,
        source="fal-ai/stable-diffusion-benchmarks (torch 2.1, fp16)",
    ),
)


def figures(case: Case, some: Sequence[Rung]) -> dict[str, Any]:
    """A case's rungs in JSON's values."""
    return {
        "model": case.model,
        "rows": case.rows,
        "px": case.px,
        "rungs": [_figures(case, rung) for rung in some],
        "sensitivity": {rung.name: sensitivity(case, rung.stages) for rung in some},
    }


def _figures(case: Case, rung: Rung) -> dict[str, Any]:
    step, decode = total(rung.stages.step.kernels), total(rung.stages.decode.kernels)
    shallow = rung.stages.shallow
    return {
        "name": rung.name,
        "basis": rung.basis,
        "on": rung.on,
        "step_ms_on_paper": step.seconds * 1e3,
        "shallow_step_ms_on_paper": None
        if shallow is None
        else total(shallow.kernels).seconds * 1e3,
        "decode_ms_on_paper": decode.seconds * 1e3,
        "kernels": step.kernels,
        "bytes": step.bytes,
        "decode_bytes": decode.bytes,
        "images_per_s_on_paper": {
            name: rate(case, rung.stages, shortcuts) for name, shortcuts in OPTIONS.items()
        },
        "images_per_s_if_faster_on_paper": rate(case, rung.stages, assumed=FASTER),
        "step_ms_by_kind_on_paper": {
            kind: each.seconds * 1e3 for kind, each in by_kind(rung.stages.step.kernels).items()
        },
    }


def sensitivity(case: Case, stages: Stages) -> dict[str, list[float]]:
    """Images a second with each assumption a tenth lower, and a tenth higher."""
    plain = msgspec.structs.asdict(Assumed())
    return {
        name: [
            rate(case, stages, assumed=Assumed(**{**plain, name: value * by})) for by in (0.9, 1.1)
        ]
        for name, value in plain.items()
    }


def checked(known: Published) -> dict[str, Any]:
    """The model's seconds of an image on an A100, beside the published ones."""
    case = case_of(f"{known.model}:2")
    eager = record(case, is_fused=False, channels_last=False)
    compiled = each_stage(record(case, is_fused=False), fused)
    return {
        **msgspec.to_builtins(known),
        "eager_s_on_paper": 1 / rate(case, eager, gpu=A100, steps=known.steps),
        "compiled_s_on_paper": 1 / rate(case, compiled, gpu=A100, steps=known.steps),
    }


def table(told: Mapping[str, Any]) -> str:
    """A case for people."""
    lines = [
        f"{told['model']}, {told['px']} px, {told['rows']} rows, on paper",
        f"{'':46}{'ms/step':>9}{'GB':>7}{'kernels':>9}   images/s: {', '.join(OPTIONS)}",
    ]
    for rung in told["rungs"]:
        rates = "".join(f"{value:8.2f}" for value in rung["images_per_s_on_paper"].values())
        lines.append(
            f"{rung['name']:46}{rung['step_ms_on_paper']:9.2f}{rung['bytes'] / 1e9:7.1f}"
            f"{rung['kernels']:9,}   {rates}"
        )
    return "\n".join(lines)


def stages_of(case: Case) -> tuple[Stages, Stages, Stages]:
    """The case with stock modules, with the server's own kernels, and with those in FP8."""
    layers = MODEL_DEFAULTS[case.model].cache_layers
    stock = record(case, is_fused=False, cache_layers=layers)
    own, fp8 = (record(case, is_fp8=each, cache_layers=layers) for each in (False, True))
    return stock, own, fp8


def main(argv: Sequence[str] | None = None) -> int:
    """Price and print; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ladder",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "cases",
        nargs="*",
        type=case_of,
        default=[case_of("sdxl:16"), case_of("sd15:16")],
        metavar="MODEL:ROWS[:PX]",
    )
    cases: list[Case] = parser.parse_args(argv).cases
    for case in cases:
        if MODEL_DEFAULTS[case.model].unet_layers is None:
            parser.error(f"{case.model} has no UNet: the rungs are those of UNets")
    told = []
    for case in cases:
        told.append(figures(case, rungs(*stages_of(case))))
        print(table(told[-1]), file=sys.stderr)  # noqa: T201
    result = {
        "benchmark": "ladder",
        "is_measured": False,
        "gpu": msgspec.to_builtins(H200),
        "assumed": msgspec.to_builtins(Assumed()),
        "faster": msgspec.to_builtins(FASTER),
        "options": {name: msgspec.to_builtins(each) for name, each in OPTIONS.items()},
        "cases": told,
        "checked": [checked(known) for known in PUBLISHED],
        **environment("benchmarks.ladder"),
    }
    print(json.dumps(result))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
