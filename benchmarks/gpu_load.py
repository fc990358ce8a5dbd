"""A steady load in a process of its own, which counts what it does.

    python -m benchmarks.gpu_load LOAD [--set KEY=VALUE]

LOAD is `matmul`, or a model such as `sdxl` with random weights: its full batch is stepped again and
again, which is nearly all of what a busy replica does. stdout has a line of JSON about the load,
then a line `<CLOCK_MONOTONIC, s> <work so far>` each time the device has done some. It ends when
nobody reads them. Exit code 2: there is no GPU (and no `--set device=cpu`), or no such load.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec

from benchmarks.options import parser_of, settings_of
from serve.settings import Settings, SettingsError

MATMULS = 64  # a round
TERA = 1e12

Round = tuple[Callable[[], object], float]  # does some work and waits for it; how much it is


def main() -> int:
    """Run the load; returns the exit code."""
    parser = parser_of("benchmarks.gpu_load", __doc__)
    parser.add_argument("load")
    arguments = parser.parse_args()
    is_matmul = arguments.load == "matmul"
    arguments.model = "tiny" if is_matmul else arguments.load
    try:
        settings = settings_of(arguments)
        about, (run, work) = _matmul(settings) if is_matmul else _model(settings)
    except (SettingsError, NoGpuError) as err:
        print(f"error: {err}", file=sys.stderr)  # noqa: T201
        return 2
    if settings.device != "cpu":
        import torch

        about["gpu_uuid"] = f"GPU-{torch.cuda.get_device_properties(0).uuid}"
    run()  # the first chooses kernels
    return _go_on(about, run, work)


class NoGpuError(Exception):
    """torch sees no GPU."""


def _go_on(about: dict[str, Any], run: Callable[[], object], work: float) -> int:
    done = 0.0
    try:
        print(json.dumps(about), flush=True)  # noqa: T201
        while True:
            run()
            done += work
            print(repr(time.monotonic()), repr(done), flush=True)  # noqa: T201
    except (BrokenPipeError, KeyboardInterrupt):
        sys.stderr.close()  # nothing is amiss: nobody reads
        return 0


def _device(settings: Settings) -> Any:
    import torch

    from serve.models.loading import pick_device

    if settings.device != "cpu" and not torch.cuda.is_available():
        raise NoGpuError(
            f"torch {torch.__version__} sees no CUDA GPU: run this on a machine with one "
            "(--set device=cpu tries it out on the CPU)"
        )
    return pick_device(settings.device)


def _matmul(settings: Settings) -> tuple[dict[str, Any], Round]:
    """Large bf16 matmuls; work is in TFLOP: a multiplication and an addition each, 2 n^3."""
    import torch

    device = _device(settings)
    on_gpu = device.type == "cuda"
    size = 8192 if on_gpu else 512
    dtype = torch.bfloat16 if on_gpu else torch.float32
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    out = torch.empty_like(left)

    def run() -> None:
        for _ in range(MATMULS):
            torch.matmul(left, right, out=out)
        if on_gpu:
            torch.cuda.synchronize()

    name = torch.cuda.get_device_name(device) if on_gpu else "cpu"
    about = {"load": "matmul", "unit": "TFLOP", "device": name, "size": size, "dtype": str(dtype)}
    return about, (run, MATMULS * 2.0 * size**3 / TERA)


def _model(settings: Settings) -> tuple[dict[str, Any], Round]:
    """A model's full batch; work is in steps, each of one image."""
    _device(settings)
    from benchmarks.breakdown import TICKS, FullBatch
    from serve.diffusion.startup import default_recipe, start

    warm = start(msgspec.structs.replace(settings, policy="step"))
    slots = settings.batch_limit
    batch = FullBatch(warm.model, default_recipe(settings), slots)
    about = {
        "load": settings.model,
        "unit": "steps of an image",
        "batch": slots,
        "settings": msgspec.to_builtins(settings),
        "facts": dict(warm.facts),
    }
    return about, (batch.run, float(TICKS * slots))


if __name__ == "__main__":
    sys.exit(main())
