"""Run folders made up from arithmetic: no clock, no GPU, no server; the same every time."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from profiles.run import RunFolder
from profiles.schema import (
    Demand,
    EndReason,
    GpuInfo,
    GpuSample,
    HostInfo,
    HostSample,
    LoadPlan,
    LoadSample,
    Outcome,
    RequestRecord,
    RunEvent,
    RunManifest,
    TargetInfo,
)

START_S = 20.0  # on the run's clock: server start-up comes before
GIB = 1 << 30


def record(seq: int, **changes: Any) -> RequestRecord:
    """Request `seq`: one image, scheduled `seq` seconds into the load, ok after 1 s."""
    due = changes.pop("scheduled_s", START_S + seq)
    sent = changes.pop("sent_s", due)
    values: dict[str, Any] = {
        "seq": seq,
        "scheduled_s": due,
        "sent_s": sent,
        "first_byte_s": None if sent is None else sent + 0.9,
        "done_s": None if sent is None else sent + 1.0,
        "outcome": Outcome.OK,
        "status": 200,
        "images": 1,
        "width": 512,
        "height": 512,
        "prompt_chars": 40,
    }
    return RequestRecord(**(values | changes))


def plan(requests: int, duration_s: float, **changes: Any) -> LoadPlan:
    """A plan of `requests` one-image requests at a constant rate."""
    rate = requests / duration_s
    values: dict[str, Any] = {
        "requests": requests,
        "images": requests,
        "duration_s": duration_s,
        "real_duration_s": duration_s,
        "time_compression": 1.0,
        "arrivals": "even",
        "peak_images_per_s": rate,
        "mean_images_per_s": rate,
        "peak_basis": "stated in the scenario",
        "schedule_sha256": "5f" * 32,
        "curve_t_s": [0.0, duration_s],
        "curve_images_per_s": [rate, rate],
    }
    return LoadPlan(**(values | changes))


def manifest(load: LoadPlan | None, **changes: Any) -> RunManifest:
    """A completed run of `load` against an embedded server on a CPU."""
    values: dict[str, Any] = {
        "run_id": "20250331T170000Z-synthetic",
        "start_utc": "2025-03-31T17:00:00Z",
        "end_utc": "2025-03-31T18:00:00Z",
        "end_reason": EndReason.COMPLETED,
        "clock_zero_monotonic_s": 1000.0,
        "load_start_s": None if load is None else START_S,
        "load_end_s": None if load is None else START_S + load.duration_s,
        "command": ["viralload", "run", "synthetic"],
        "scenario": "synthetic",
        "title": "A made-up run",
        "seed": 7,
        "target": TargetInfo(
            url="http://127.0.0.1:8000", embedded=True, model="tiny", replicas=1, device="cpu"
        ),
        "plan": load,
        "slo_latency_s": 10.0,
        "lateness_bound_s": 0.05,
        "hosts": [HostInfo(node="node-a", os="Linux 6.8", cores=16, mem_total_bytes=128 * GIB)],
        "gpu_price_usd_per_h": 2.0,
        "gpu_price_basis": "assumed, between the 1.14 and 2.28 $ of the published contracts",
    }
    return RunManifest(**(values | changes))


def host_samples(end_s: float, *, start_s: float = 0.0, hz: float = 2.0) -> list[HostSample]:
    """A machine at a steady 50 % CPU with 8 GiB used."""
    return [
        HostSample(
            t_s=start_s + i / hz, node="node-a", cpu_pct=50.0, mem_used_bytes=8 * GIB, lag_s=0.001
        )
        for i in range(int((end_s - start_s) * hz) + 1)
    ]


def gpu_info(index: int) -> GpuInfo:
    """An H200 of the node."""
    return GpuInfo(
        node="node-a",
        index=index,
        uuid=f"GPU-{index:08x}",
        name="NVIDIA H200",
        mem_total_bytes=141 * 10**9,
        power_limit_w=700.0,
        driver="580.95.05",
    )


def gpu_sample(t_s: float, index: int = 0, **changes: Any) -> GpuSample:
    """GPU `index` at 100 W, its energy counter in step with that."""
    values: dict[str, Any] = {
        "t_s": t_s,
        "node": "node-a",
        "index": index,
        "uuid": f"GPU-{index:08x}",
        "util_pct": 50.0,
        "mem_used_bytes": 10 * GIB,
        "power_w": 100.0,
        "energy_j": 5000.0 + 100.0 * t_s,
        "sm_clock_mhz": 1980.0,
        "temp_c": 45.0,
        "lag_s": 0.002,
    }
    return GpuSample(**(values | changes))


def write_run(
    root: Path,
    about: RunManifest,
    records: Iterable[RequestRecord] = (),
    *,
    gpu: Iterable[GpuSample] = (),
    host: Iterable[HostSample] | None = None,
    load: Iterable[LoadSample] = (),
    events: Iterable[RunEvent] = (),
) -> RunFolder:
    """Write a run folder; `host` None stands for steady samples over the whole load."""
    path = root / about.run_id
    path.mkdir(parents=True)
    folder = RunFolder(path)
    folder.write_manifest(about)
    folder.scenario_path.write_text(f'name = "{about.scenario}"\n')
    if host is None:
        host = host_samples(START_S + about.plan.duration_s if about.plan else START_S)
    for writer, values in (
        (folder.requests_writer("0"), records),
        (folder.gpu_writer("node-a"), gpu),
        (folder.host_writer("node-a"), host),
        (folder.load_writer("0"), load),
    ):
        lines: Iterable[msgspec.Struct] = values
        for value in lines:
            writer.add(value)
        writer.close()
    for event in events:
        folder.append_event(event)
    return folder


# -- a viral hour ----------------------------------------------------------------------------


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
    **changes: Any,
) -> RunFolder:
    """A wave of Poisson arrivals on `gpus` first-come-first-served servers with a bounded queue."""
    random = np.random.default_rng(seed)
    curve_t = np.linspace(0.0, duration_s, 241)
    curve = peak_images_per_s * _wave(curve_t / duration_s)
    arrivals = _poisson(curve_t, curve, random)
    records = list(_serve(arrivals, service_s, gpus, queue_limit, random))
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
    return write_run(
        root,
        manifest(load, **(values | changes)),
        records,
        gpu=_gpu_series(busy, end_s, gpus, sample_hz, random) if use_gpu else (),
        host=_host_series(busy, end_s, sample_hz, random),
        load=_load_series(records, duration_s),
        events=[
            RunEvent(t_s=0.5, kind="server_starting", source="runner"),
            RunEvent(t_s=START_S - 5.0, kind="server_ready", source="runner"),
            RunEvent(t_s=START_S, kind="load_start", source="runner"),
            RunEvent(t_s=START_S + duration_s, kind="load_end", source="runner"),
            RunEvent(t_s=end_s - 1.0, kind="drained", source="runner"),
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
