"""What the server would launch on a GPU, told without one: kernels, bytes, layouts, waits.

    python -m benchmarks.census sdxl:16 sd15:16 [sdxl:16:768 …] [--fp8] [--stock]

A case is MODEL:ROWS[:PX]: ROWS of the denoiser's batch (an image with guidance has two), PX the
model's own size unless given. The server's own text embedding, slots, denoising step and decode
run on fake tensors: shapes, layouts and devices without values. A read by the host raises; copies
between host and device are listed; each kernel is priced by its arithmetic and traffic
(`benchmarks.roofline`). All times and rates are ON PAPER: none was measured.

stderr shows a table a case; the last line of stdout is one JSON object.
Exit codes: 0, 2 usage.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import msgspec

from benchmarks.kernels import Recording
from benchmarks.model_stages import Case, Stages, record
from benchmarks.options import environment
from benchmarks.roofline import H200, Assumed, Gpu, by_kind, images_per_s, total
from serve.catalog import MODEL_DEFAULTS, ModelName

MODELS = [name for name in get_args(ModelName) if name != "stub"]


def case_of(word: str) -> Case:
    """The case that MODEL:ROWS[:PX] names.

    Raises:
        argparse.ArgumentTypeError: Says what is wrong with it.
    """
    model, _, numbers = word.partition(":")
    if model not in MODELS:
        raise argparse.ArgumentTypeError(
            f"'{word}': no model '{model}'; one of {', '.join(MODELS)}"
        )
    try:
        rows, *rest = map(int, numbers.split(":"))
        (px,) = rest or [MODEL_DEFAULTS[model].side]
    except ValueError as err:
        raise argparse.ArgumentTypeError(f"'{word}': expected MODEL:ROWS or MODEL:ROWS:PX") from err
    case = Case(model, rows, px)
    if rows < 1 or (case.is_guided and rows % 2):
        raise argparse.ArgumentTypeError(
            f"'{word}': ROWS are 1 or more, and even where images have guidance, two rows each"
        )
    step = MODEL_DEFAULTS[model].side_step
    if px < step or px % step:
        raise argparse.ArgumentTypeError(f"'{word}': PX is a multiple of {step} for {model}")
    return case


def figures(
    case: Case,
    stages: Stages,
    gpu: Gpu = H200,
    assumed: Assumed = Assumed(),  # noqa: B008
) -> dict[str, Any]:
    """A case in JSON's values; kernels, bytes and host copies are the step's."""
    seconds = {
        name: total(getattr(stages, name).kernels, gpu, assumed).seconds
        for name in ("text", "step", "decode")
    }
    all_stages = {
        name: getattr(stages, name)
        for name in stages.__struct_fields__
        if getattr(stages, name) is not None
    }
    rate = images_per_s(
        images=case.images,
        steps=case.steps,
        step_s=seconds["step"],
        decode_s=seconds["decode"],
        text_s=seconds["text"],
    )
    return {
        "model": case.model,
        "rows": case.rows,
        "px": case.px,
        "images": case.images,
        "steps": case.steps,
        "images_per_s_on_paper": rate,
        "step_ms_on_paper": seconds["step"] * 1e3,
        "kernels": stages.step.launches,
        "bytes": stages.step.bytes,
        "host_copies": list(stages.step.host_copies),
        "largest_tensor_elements": max(stage.largest_elements for stage in all_stages.values()),
        "stages": {name: _stage(stage, gpu, assumed) for name, stage in all_stages.items()},
    }


def _stage(recording: Recording, gpu: Gpu, assumed: Assumed) -> dict[str, Any]:
    whole = total(recording.kernels, gpu, assumed)
    return {
        **_told(whole),
        "host_copies": list(recording.host_copies),
        "largest_tensor_elements": recording.largest_elements,
        "by_kind": {
            kind: _told(each) for kind, each in by_kind(recording.kernels, gpu, assumed).items()
        },
    }


def _told(sums: Any) -> dict[str, float]:
    return {
        "kernels": sums.kernels,
        "tflop": round(sums.flop / 1e12, 4),
        "bytes": sums.bytes,
        "ms_on_paper": round(sums.seconds * 1e3, 4),
    }


def table(told: Mapping[str, Any]) -> str:
    """A case for people."""
    what = f"{told['model']}, {told['px']} px, {told['rows']} rows = {told['images']} images"
    rate = f"{told['images_per_s_on_paper']:.2f} images/s on paper, {told['steps']} steps each"
    lines = [f"{what}: {rate}"]
    for name, stage in told["stages"].items():
        lines.append(
            f"{name:8}{stage['kernels']:7,} kernels {stage['tflop']:8.2f} TFLOP "
            f"{stage['bytes'] / 1e9:8.2f} GB {stage['ms_on_paper']:9.2f} ms; "
            f"largest tensor 2^{stage['largest_tensor_elements'].bit_length() - 1}"
        )
        if name in ("step", "decode"):
            lines += [
                f"  {kind:10}{sums['kernels']:5,} kernels {sums['tflop']:8.2f} TFLOP "
                f"{sums['bytes'] / 1e9:8.2f} GB {sums['ms_on_paper']:9.2f} ms"
                f"{sums['ms_on_paper'] / stage['ms_on_paper']:7.1%}"
                for kind, sums in stage["by_kind"].items()
            ]
        lines += [f"  host copy: {copy}" for copy in stage["host_copies"]]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Record and print; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.census",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("cases", nargs="+", type=case_of, metavar="MODEL:ROWS[:PX]")
    parser.add_argument("--stock", action="store_true", help="diffusers' modules (fused=false)")
    parser.add_argument("--fp8", action="store_true", help="8-bit linear layers (fp8=true)")
    asked = parser.parse_args(argv)
    told = []
    for case in asked.cases:
        told.append(figures(case, record(case, is_fused=not asked.stock, is_fp8=asked.fp8)))
        print(table(told[-1]), file=sys.stderr)  # noqa: T201
    result = {
        "benchmark": "census",
        "is_measured": False,
        "fused": not asked.stock,
        "fp8": asked.fp8,
        "gpu": msgspec.to_builtins(H200),
        "assumed": msgspec.to_builtins(Assumed()),
        "cases": told,
        **environment("benchmarks.census"),
    }
    print(json.dumps(result))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
