"""Figures that a server tells of itself, taken only where they can be true. Pure.

A figure that is no number, not above 0, or beyond anything there is counts as not told: a server
may be somebody else's, and its nonsense must not become a measurement.
"""

import math
from collections.abc import Mapping
from typing import Any

from loadtest.client.response import parse_server_timing
from profiles.schema import Approximation, DeviceLimits

MAX_FLOP_PER_S = 1e18  # of one device; the fastest GPU of 2025 does 2e16 with its smallest numbers
MAX_FLOP = 1e20  # of one request; ten images of 50 FLUX steps at 2048 px take some 2e17
MAX_BYTES_PER_S = 1e15
MAX_THREADS = 1e5
MAX_SECONDS = 1e5
MAX_STEPS = 1000
MAX_NAME_CHARS = 100
# SDXL takes 6e6 a pixel and step, FLUX at 1024 px 1e8; up to a hundred times as much may be true.
MAX_PIXEL_STEP_FLOP = 1e10
STAGES = ("queue", "text", "denoise", "decode", "encode")  # of viralload's servers, one by one
CLOCKS_S = 0.05  # by which two machines' clocks may differ over one request
MAX_ERROR = 1e6
MAX_BATCH = 1e4


def positive(value: object, most: float) -> float | None:
    """The number, or None for anything but a finite number in (0, most]."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 < value <= most else None


def flop_header(text: str | None) -> float | None:
    """FLOP of an answer's images from its `X-Flop` header; None where it tells none."""
    try:
        value = math.nan if text is None else float(text)
    except ValueError:
        return None
    return positive(value, MAX_FLOP)


def flop_of(text: str | None, images: int, pixels: int, steps: int | None) -> float | None:
    """FLOP of an answer's images from its `X-Flop` header, if so much can be computed for them.

    Args:
        text: The header; None: there is none.
        images: Asked for.
        pixels: Of each.
        steps: Asked for; None: the server's own number, taken to be at most MAX_STEPS.
    """
    most = MAX_PIXEL_STEP_FLOP * images * pixels * (steps or MAX_STEPS)
    found = flop_header(text)
    return found if found is None or found <= most else None


def stages(header: str, took_s: float | None) -> dict[str, float]:
    """Seconds by stage of a Server-Timing header, if they can be true; else none.

    Args:
        header: Empty where there is none.
        took_s: From sending the request to the end of its answer: no part took longer, and those
            of `STAGES` follow each other. None: unknown.
    """
    found = parse_server_timing(header)
    known = [found[name] for name in STAGES if name in found]
    most_s = math.inf if took_s is None else took_s + CLOCKS_S
    if not all(0 <= seconds < math.inf for seconds in known) or sum(known) > most_s:
        return {}
    return found


def flop(value: object) -> float | None:
    """FLOP of one image."""
    return positive(value, MAX_FLOP)


def device_limits(value: object) -> DeviceLimits | None:
    """A device's limits from a server's JSON object, each field by itself; None if none is told."""
    if not isinstance(value, dict):
        return None
    threads = positive(value.get("threads"), MAX_THREADS)
    limits = DeviceLimits(
        device_name=_name(value.get("device_name")),
        matmul_dtype=_name(value.get("matmul_dtype")),
        matmul_flop_per_s=positive(value.get("matmul_flop_per_s"), MAX_FLOP_PER_S),
        fp8_flop_per_s=positive(value.get("fp8_flop_per_s"), MAX_FLOP_PER_S),
        copy_bytes_per_s=positive(value.get("copy_bytes_per_s"), MAX_BYTES_PER_S),
        threads=None if threads is None else int(threads) or None,
        measured_s=positive(value.get("measured_s"), MAX_SECONDS),
        torch_version=_name(value.get("torch_version")),
    )
    return limits if limits != DeviceLimits() else None


def approximations(extra: Mapping[str, object]) -> list[Approximation]:
    """What a server says it leaves out or rounds, of its JSON object about a model."""
    found = []
    quantized, cut = extra.get("fp8"), extra.get("shortcuts")
    if isinstance(quantized, dict):
        found.append(_approximation("fp8", "denoiser's output", quantized))
    if isinstance(cut, dict):
        settings = [
            f"{name}={value:g}"
            for name, most in (("cache_steps", MAX_STEPS), ("guidance_until", 1.0))
            if (value := positive(cut.get(name), most)) is not None and value != 1
        ]
        found.append(_approximation(", ".join(settings) or "shortcuts", "final latent", cut))
    return found


def _approximation(name: str, of: str, value: Mapping[str, object]) -> Approximation:
    error = value.get("relative_error")
    exact = error == 0 and not isinstance(error, bool)
    return Approximation(
        name=name, of=of, relative_error=0.0 if exact else positive(error, MAX_ERROR)
    )


def _name(value: Any) -> str | None:
    """A short printable text."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        return None
    return value.strip()[:MAX_NAME_CHARS]
