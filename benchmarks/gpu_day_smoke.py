"""A GPU day's second part: the device's limits, and one tiny image that must come out right.

`tiny` runs its steps recorded (as CUDA graphs; on a CPU as traces) and as they are, and the latents
must agree: a wrong row, stale number or forgotten wait shows as tens of percent.
"""

import sys
from typing import Any

import msgspec
import torch

from benchmarks.gpu_day_loops import denoise, pixels_of, rms_apart
from benchmarks.gpu_day_models import settings_of
from benchmarks.gpu_day_part import CLOCK, NEEDS_GPU, Session, session
from serve.diffusion.startup import default_recipe, start
from serve.doctor import examine
from serve.engine.request import Encoding, Row
from serve.image_files import encode
from serve.settings import Settings

# Captured against eager in bf16, whose rounding cuDNN's choice of kernels may move; see
# tests/serve/test_on_gpu.py. On a CPU both compute in float32.
MAX_APART = 0.05
ROWS = [Row(prompt=f"a red fox, {seed}", negative_prompt="", seed=seed) for seed in range(3)]


def main(argv: list[str] | None = None) -> int:
    """Measure; returns the exit code."""
    part, _ = session("gpu_day_smoke", __doc__, argv)
    part.attempt("bf16 matmul", "TFLOP/s", lambda: _limits(part))
    part.attempt("tiny", "rms", lambda: _tiny(part))
    return part.end()


def _limits(part: Session) -> None:
    (limits,) = examine(settings_of({}, part.device)).limits[:1]
    source = f"serve.doctor, {limits.measured_s:.1f} s"
    name = f"{limits.matmul_dtype} matmul"
    part.book.add(name, limits.matmul_flop_per_s / 1e12, "TFLOP/s", source, limits.device_name)
    part.book.add("copy, read and written", limits.copy_bytes_per_s / 1e9, "GB/s", source)
    if limits.fp8_flop_per_s is None:
        part.book.lack("fp8 matmul", "TFLOP/s", f"{NEEDS_GPU} of capability 8.9 or later")
    else:
        part.book.add("fp8 matmul", limits.fp8_flop_per_s / 1e12, "TFLOP/s", source)


def _tiny(part: Session) -> None:
    settings = settings_of({"model": "tiny", "max_batch": "4", "default_steps": "8"}, part.device)
    warm = {on: start(msgspec.structs.replace(settings, graphs=on)).model for on in (True, False)}
    recipe = default_recipe(settings)
    pairs = zip(*(denoise(warm[on], recipe, ROWS) for on in (True, False)), strict=True)
    apart = max(rms_apart(recorded, eager) for recorded, eager in pairs)
    how = "CUDA graphs" if part.on_gpu else "traces on a CPU; CUDA graphs need a GPU"
    part.book.add("tiny, recorded against eager", apart, "rms", f"8 steps of 3 images, {how}")
    if not apart < MAX_APART:
        raise AssertionError(f"recorded steps differ from eager ones by {apart:.3g} of the latents")
    _image(part, warm[True], settings)


def _image(part: Session, model: Any, settings: Settings) -> None:
    """One image to its file, looked at for a picture's variety of values."""
    size = default_recipe(settings).size
    (latent,) = denoise(model, default_recipe(settings), ROWS[:1])
    on_device = latent.to(part.device)
    if part.on_gpu:
        torch.cuda.synchronize()  # the decoder has a stream of its own
    (decoded,) = model.decoder.decode(size, [(on_device, None)])
    pixels = pixels_of(decoded)
    file = encode(pixels, Encoding())
    (part.out / "smoke.png").write_bytes(file)
    spread = float(pixels.std())
    part.book.add("one image, spread of its pixels", spread, "of 255", "standard deviation")
    part.book.add("one image, seconds so far", part.seconds, "s", CLOCK)
    if not spread > 1.0:
        raise AssertionError("the image is of one colour")


if __name__ == "__main__":
    sys.exit(main())
