"""A made-up viral hour: a wave of requests on first-come-first-served, bounded servers."""

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from profiles.record.folder import RunFolder
from profiles.schema import (
    Demand,
    DeviceLimits,
    GpuSample,
    HostSample,
    LoadSample,
    Outcome,
    RequestRecord,
    RunEvent,
    TargetInfo,
)
from tests.profiles.synthetic import (
    START_S,
    gpu_info,
    gpu_sample,
    manifest,
    plan,
    record,
    write_run,
)

# SD 1.5 at 512 px: 20 steps of 2 UNet passes at 0.8033 TFLOP, a VAE decode of 2.515, text 0.03
SD15_TFLOP = 34.7
TINY_TFLOP = 0.02
H200 = DeviceLimits(
    device_name="NVIDIA H200",
    matmul_dtype="bfloat16",
    matmul_flop_per_s=790e12,
    fp8_flop_per_s=1400e12,
    copy_bytes_per_s=4.3e12,
    measured_s=2.1,
    torch_version="2.11.0",
)
CPU = DeviceLimits(
    device_name="AMD EPYC",
    matmul_dtype="float32",
    matmul_flop_per_s=98e9,
    copy_bytes_per_s=19e9,
    threads=1,
    measured_s=2.2,
    torch_version="2.11.0",
)


def viral_run(
    root: Path,
    *,
    duration_s: float = 90.0,
    peak_images_per_s: float = 6.0,
    service_s: float = 0.45,
    gpus: int = 2,
    use_gpu: bool = True,
    queue_limit: int = 24,
    compression: float = 40.0,
    seed: int = 7,
    sample_hz: float = 10.0,
    retell: Callable[[GpuSample], GpuSample | None] = lambda sample: sample,
    befell: Sequence[RunEvent] = (),
    **changes: Any,
) -> RunFolder:
    """A wave of Poisson arrivals on `gpus` first-come-first-served servers with a bounded queue.

    `retell` changes a GPU's sample, or leaves it out (None); `befell` are more events.
    """
    random = np.random.default_rng(seed)
    curve_t = np.linspace(0.0, duration_s, 241)
    curve = peak_images_per_s * _wave(curve_t / duration_s)
    arrivals = _poisson(curve_t, curve, random)
    flop = 1e12 * (SD15_TFLOP if use_gpu else TINY_TFLOP)
    records = list(_serve(arrivals, service_s, gpus, queue_limit, random, flop))
    images = sum(one.images for one in records)
    mean = float(np.trapezoid(curve, curve_t)) / duration_s
    load = plan(
        len(records),
        duration_s,
        images=images,
        real_duration_s=duration_s * compression,
        time_compression=compression,
        arrivals="poisson",
        peak_images_per_s=peak_images_per_s,
        mean_images_per_s=mean,
        peak_basis=f"1.5x the measured capacity of {peak_images_per_s / 1.5:.2f} images/s",
        scale=peak_images_per_s / 833.0,
        capacity_images_per_s=peak_images_per_s / 1.5,
        curve_t_s=curve_t.tolist(),
        curve_images_per_s=curve.tolist(),
    )
    busy = _busy(records, duration_s, gpus, 1.0)
    end_s = START_S + duration_s + 12.0
    values: dict[str, Any] = {
        "run_id": "20250331T170000Z-ghibli-hour",
        "scenario": "ghibli-hour",
        "title": "One million users in one hour",
        "command": ["viralload", "run", "ghibli-hour", "--label", "synthetic"],
        "notes": [
            "31 March 2025: “we added one million users in the last hour” (S. Altman on X).",
            "One million users with a cap of three images a day inside that hour is 833 images/s.",
            "Users added are sign-ups; figures are self-reported.",
        ],
        "labels": {"data": "synthetic"},
        "versions": {
            "viralload": "0.1.0",
            "python": "3.12.3",
            "torch": "2.11.0",
            "diffusers": "0.36.0",
            "ray": "2.60.0",
            "locust": "2.43.1",
        },
        "git_commit": "8c0f72a",
        "git_dirty": False,
        "thresholds": {
            "latency": ["p(95) < 10s", "max < 30s"],
            "rejected": ["rate < 1%"],
            "goodput": [f"value > {mean * 0.5:.1f}"],
        },
        "target": TargetInfo(
            url="http://127.0.0.1:8000",
            embedded=True,
            model="sd15" if use_gpu else "tiny",
            replicas=gpus,
            device="cuda" if use_gpu else "cpu",
            settings={"weights": "random", "policy": "request", "max_batch": 8, "steps": 20},
            limits=H200 if use_gpu else CPU,
            flop_per_image=flop,
        ),
        "demand": Demand(
            peak_images_per_s=833.0,
            images=3_000_000.0,
            duration_s=3600.0,
            basis="1 M users in the hour, 3 images each",
        ),
        "gpus": [gpu_info(index) for index in range(gpus)] if use_gpu else [],
        "seed": seed,
    }
    samples = _gpu_series(busy, end_s, gpus, sample_hz, random) if use_gpu else ()
    return write_run(
        root,
        manifest(load, **(values | changes)),
        records,
        gpu=[told for one in samples if (told := retell(one)) is not None],
        host=_host_series(busy, end_s, sample_hz, random),
        load=_load_series(records, duration_s),
        events=[
            RunEvent(t_s=0.5, kind="server_starting", source="runner"),
            RunEvent(t_s=START_S - 5.0, kind="server_ready", source="runner"),
            RunEvent(t_s=START_S, kind="load_start", source="runner"),
            RunEvent(t_s=START_S + duration_s, kind="load_end", source="runner"),
            RunEvent(t_s=end_s - 1.0, kind="drained", source="runner"),
            *befell,
        ],
    )


def _wave(x: Any) -> Any:
    """A rise and fall over 0..1 with its peak of 1 at 0.5."""
    return 0.12 + 0.88 * np.exp(-(((x - 0.5) / 0.17) ** 2))


def _poisson(t: Any, rate: Any, random: np.random.Generator) -> list[float]:
    """Inhomogeneous Poisson arrivals: unit-rate arrivals through the inverse of the integral."""
    area = np.concatenate(([0.0], np.cumsum(np.diff(t) * (rate[1:] + rate[:-1]) / 2)))
    unit = np.cumsum(random.exponential(size=int(area[-1] + 10 * math.sqrt(area[-1]) + 10)))
    times: list[float] = np.interp(unit[unit < area[-1]], area, t).tolist()
    return times


def _serve(
    arrivals: Sequence[float],
    service_s: float,
    gpus: int,
    queue_limit: int,
    random: np.random.Generator,
    flop: float,
) -> Iterable[RequestRecord]:
    free = [0.0] * gpus
    starts: list[float] = []
    head = 0
    for seq, at in enumerate(arrivals):
        due, late = START_S + at, float(random.exponential(0.0012))
        sent = at + late
        while head < len(starts) and starts[head] <= sent:
            head += 1
        if len(starts) - head >= queue_limit:
            done = START_S + sent + 0.004
            yield record(
                seq,
                scheduled_s=due,
                sent_s=START_S + sent,
                first_byte_s=done,
                done_s=done,
                outcome=Outcome.REJECTED,
                status=429,
                error="429: the queue is full, retry after 5 s",
            )
            continue
        gpu = min(range(gpus), key=lambda index: free[index])
        start = max(sent, free[gpu])
        took = service_s * float(random.uniform(0.9, 1.15))
        free[gpu] = start + took
        starts.append(start)
        failed = random.random() < 0.004
        done = START_S + start + took + 0.006
        yield record(
            seq,
            scheduled_s=due,
            sent_s=START_S + sent,
            first_byte_s=done - 0.002,
            done_s=done,
            outcome=Outcome.FAILED if failed else Outcome.OK,
            status=500 if failed else 200,
            error="500: CUDA error: out of memory" if failed else None,
            bytes_in=None if failed else int(random.normal(620_000, 20_000)),
            queue_s=start - sent,
            text_s=0.02 * took,
            denoise_s=0.85 * took,
            decode_s=0.1 * took,
            encode_s=0.03 * took,
            batch_mean=1.0 + min(7.0, (start - sent) / service_s / 2),
            replica=f"replica-{gpu}",
            gpu_uuid=f"GPU-{gpu:08x}",
            flop=None if failed else flop,
        )


def _busy(records: list[RequestRecord], duration_s: float, gpus: int, step_s: float) -> Any:
    """Share of each second the servers worked; shape (seconds,)."""
    edges = np.arange(0.0, duration_s + 60.0, step_s)
    ends = np.array([one.done_s for one in records if one.queue_s is not None]) - START_S
    took = np.array([(one.denoise_s or 0.0) / 0.85 for one in records if one.queue_s is not None])
    work = np.histogram(ends - took / 2, edges, weights=took)[0]
    return np.clip(np.convolve(work, np.ones(3) / 3, mode="same") / gpus / step_s, 0.0, 1.0)


def _level(busy: Any, t_s: float) -> float:
    index = int(t_s - START_S)
    return float(busy[index]) if 0 <= index < len(busy) else 0.0


def _gpu_series(
    busy: Any, end_s: float, gpus: int, hz: float, random: np.random.Generator
) -> Iterable[GpuSample]:
    joules = [9.1e6 + 1000.0 * index for index in range(gpus)]
    for tick in range(int(end_s * hz)):
        level = _level(busy, tick / hz)
        for index in range(gpus):
            power = 118.0 + 12.0 * index + 480.0 * level + float(random.normal(0, 6))
            joules[index] += power / hz
            yield gpu_sample(
                tick / hz,
                index,
                util_pct=min(100.0, max(0.0, 100.0 * level + float(random.normal(0, 2)))),
                power_w=power,
                energy_j=joules[index],
                mem_used_bytes=int((18.0 + 3.0 * level + 0.4 * index) * 1e9),
                sm_clock_mhz=1980.0 - 260.0 * level + float(random.normal(0, 8)),
                temp_c=38.0 + 30.0 * level,
                lag_s=abs(float(random.normal(0.001, 0.0005))),
            )


def _host_series(
    busy: Any, end_s: float, hz: float, random: np.random.Generator
) -> Iterable[HostSample]:
    for tick in range(int(end_s * hz)):
        level = _level(busy, tick / hz)
        yield HostSample(
            t_s=tick / hz,
            node="node-a",
            cpu_pct=min(100.0, max(0.0, 12.0 + 70.0 * level + float(random.normal(0, 2)))),
            mem_used_bytes=int((21.0 + 6.0 * level) * 1e9),
            lag_s=abs(float(random.normal(0.001, 0.0005))),
        )


def _load_series(records: list[RequestRecord], duration_s: float) -> Iterable[LoadSample]:
    due = np.sort([one.scheduled_s for one in records])
    sent = np.sort([one.sent_s for one in records if one.sent_s is not None])
    done = np.sort([one.done_s for one in records if one.done_s is not None])
    for second in range(int(duration_s) + 1):
        t = START_S + second
        counts = [int(np.searchsorted(times, t)) for times in (due, sent, done)]
        yield LoadSample(
            t_s=t,
            generator="0",
            due=counts[0],
            sent=counts[1],
            done=counts[2],
            in_flight=counts[1] - counts[2],
            cpu_pct=9.0,
            loop_lag_s=0.002,
        )
