"""A GPU day's real run: `viralload run` starts the server with SDXL and loads it over HTTP.

Poisson arrivals at nine tenths of what the model was found to make (`images/s, predicted` of part
`sdxl`), for 75 s, the GPU read by NVML all the while. The run folder stays in DIR/runs.
"""

import json
import subprocess
import sys
from pathlib import Path

import msgspec

from benchmarks.gpu_day_models import unknown, words_of
from benchmarks.gpu_day_part import NEEDS_GPU, Session, session
from profiles.record.folder import RunFolder
from profiles.schema import Summary

LOAD_SHARE = 0.9  # of what the model makes: p99 within 20 s to some 0.94 on paper
# Where part `sdxl` told nothing: what SDXL should make at least, 1.2 images/s on paper.
FALLBACK_IMAGES_PER_S = 1.2
ENDED = (0, 3, 99)  # the run was recorded whole; 3: INVALID, 99: a threshold failed
SCENARIO = """
name = "gpu-day"
title = "gpu-day: Poisson arrivals at {share:.0%} of what the model makes"
[curve]
kind = "constant"
rate_per_s = 1.0
duration = "{seconds:g}s"
[load]
arrivals = "poisson"
peak = {peak:.6g}
drain = "30s"
[request]
timeout = "60s"
[slo]
latency = "20s"
[thresholds]
latency = ["p(99) < 20s"]
failed = ["rate < 1%"]
"""
# Figure, unit and field of summary.json.
FIELDS = (
    ("goodput, within 20 s", "images/s", "goodput_images_per_s"),
    ("completed", "images/s", "completed_images_per_s"),
    ("offered", "images/s", "offered_images_per_s"),
    ("latency p50", "s", "latency_p50_s"),
    ("latency p95", "s", "latency_p95_s"),
    ("latency p99", "s", "latency_p99_s"),
    ("queue p95", "s", "queue_p95_s"),
    ("images in a step's batch", "images", "batch_mean"),
    ("rate of the model", "TFLOP/s", "achieved_tflops"),
    ("share of the measured matmul limit", "%", "limit_percent"),
    ("generator late, p99", "s", "lateness_p99_s"),
)
OF_A_GPU = (
    ("GPU busy", "%", "util_mean_pct"),
    ("tensor cores active", "%", "tensor_mean_pct"),
    ("memory interface active", "%", "dram_mean_pct"),
    ("power", "W", "power_mean_w"),
    ("SM clock", "MHz", "sm_clock_mean_mhz"),
    ("clock held down by the power cap", "share", "power_capped_share"),
    ("GPU memory used, most", "bytes", "mem_used_max_bytes"),
)


def main(argv: list[str] | None = None) -> int:
    """Run and tell; returns the exit code."""
    part, _ = session("gpu_day_http", __doc__, argv)
    part.attempt("run", "text", lambda: _run(part))
    return part.end()


def load_of(predicted: float | None) -> tuple[float, str]:
    """Images/s to offer, and where they come from."""
    if predicted is None:
        return LOAD_SHARE * FALLBACK_IMAGES_PER_S, (
            f"{LOAD_SHARE:g} of {FALLBACK_IMAGES_PER_S:g} images/s on paper: part sdxl told nothing"
        )
    return LOAD_SHARE * predicted, f"{LOAD_SHARE:g} of part sdxl's images/s, predicted"


def _run(part: Session) -> None:
    peak, basis = load_of(part.value("sdxl", "images/s, predicted"))
    part.book.add("load", peak, "images/s", "asked for", basis)
    seconds = 6.0 if part.rehearse else 75.0
    scenario = part.out / "gpu-day.toml"
    scenario.write_text(SCENARIO.format(share=LOAD_SHARE, seconds=seconds, peak=peak))
    words = words_of("sdxl", rehearse=part.rehearse)
    left = unknown(words)
    command = [sys.executable, "-m", "loadtest.cli", "run", str(scenario), "--json"]
    command += ["--out", str(part.out / "runs"), "--label", words.pop("model")]
    command += ["--model", words_of("sdxl", rehearse=part.rehearse)["model"]]
    for key, value in (words | {"device": part.device}).items():
        if key not in left:
            command += ["--set", f"{key}={value}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode not in ENDED:
        raise RuntimeError(f"viralload run: exit code {done.returncode}; server.log is in the runs")
    tell(part, msgspec.json.decode(done.stdout, type=Summary))
    (folder,) = (one for one in (part.out / "runs").iterdir() if one.is_dir())
    _tell_start(part, folder)


def tell(part: Session, summary: Summary) -> None:
    """The run's figures, from its summary."""
    reasons = "; ".join(summary.reasons)
    part.book.add("verdict", summary.verdict.value, "text", "viralload run", reasons)
    outcomes = json.dumps({k: v for k, v in summary.outcomes.items() if v})
    part.book.add("requests", summary.scheduled, "requests", "viralload run", outcomes)
    for name, unit, field in FIELDS:
        value = getattr(summary, field)
        if value is None:
            part.book.lack(name, unit, "the run told none")
        else:
            part.book.add(name, value, unit, "viralload run, over HTTP")
    for name, unit, field in OF_A_GPU:
        values = [getattr(gpu, field) for gpu in summary.gpus]
        if not summary.gpus:
            part.book.lack(name, unit, NEEDS_GPU)
        elif values[0] is None:
            part.book.lack(name, unit, summary.gpus[0].unable.get(field, "NVML told none"))
        else:
            part.book.add(name, values[0], unit, "NVML, over the load")
    for name, joules in joules_per_image(summary).items():
        if joules is None:
            part.book.lack(name, "J", "NVML told none" if summary.gpus else NEEDS_GPU)
        else:
            part.book.add(name, joules, "J", "NVML, all GPUs, over the load")


def joules_per_image(summary: Summary) -> dict[str, float | None]:
    """All GPUs' energy over the images done in the load, by counter and by integrated power."""
    per_image = summary.energy_j_per_image
    basis = [gpu.energy_j for gpu in summary.gpus]
    images = None
    if per_image and None not in basis:
        images = sum(each for each in basis if each is not None) / per_image
    told: dict[str, float | None] = {}
    for name, field in (("by counter", "energy_counter_j"), ("by power", "energy_integrated_j")):
        joules = [getattr(gpu, field) for gpu in summary.gpus]
        known = images and joules and None not in joules
        told[f"energy an image, {name}"] = sum(joules) / images if known and images else None
    return told


def _tell_start(part: Session, path: Path) -> None:
    """How long the server took to be ready, by the run's events."""
    at_s = {event.kind: event.t_s for event in RunFolder(path).events()}
    if {"server_starting", "server_ready"} <= set(at_s):
        seconds = at_s["server_ready"] - at_s["server_starting"]
        part.book.add("server ready after", seconds, "s", "events.jsonl")


if __name__ == "__main__":
    sys.exit(main())
