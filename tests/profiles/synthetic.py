"""Run folders made up from arithmetic: no clock, no GPU, no server; the same every time."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from profiles.record.columns import Recorded, host_columns, request_columns
from profiles.record.folder import RunFolder
from profiles.schema import (
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
    Summary,
    TargetInfo,
)
from profiles.summary.run import compute

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


PEAKED = plan(  # 1/s, from 40 to 60 s 10/s, then 1/s
    20, 100.0, curve_t_s=[0.0, 40.0, 40.1, 60.0, 60.1, 100.0],
    curve_images_per_s=[1.0, 1.0, 10.0, 10.0, 1.0, 1.0],
)  # fmt: skip


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
        "gpu_price_basis": "assumed, between the $1.14 and 2.28 of the published contracts",
    }
    return RunManifest(**(values | changes))


def host_samples(end_s: float, *, start_s: float = 0.0, hz: float = 2.0) -> list[HostSample]:
    """A machine at a steady 50% CPU with 8 GiB used."""
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


# -- a run in memory -------------------------------------------------------------------------

TEN = plan(10, 10.0)
OK = [record(seq) for seq in range(10)]
STUB = TargetInfo(url="http://127.0.0.1:8000", embedded=True, model="stub", is_stub=True)


def recorded(about: RunManifest, records: Sequence[RequestRecord] = OK, **changes: Any) -> Recorded:
    """A run of `about` as it is read, with a machine sampled throughout."""
    values: dict[str, Any] = {
        "gpus": [],
        "hosts": host_columns(host_samples(START_S + 10.0)),
        "load": [],
        "events": [],
    }
    return Recorded(manifest=about, requests=request_columns(records), **(values | changes))


def summed(about: RunManifest, records: Sequence[RequestRecord] = OK, **changes: Any) -> Summary:
    """That run summed up."""
    return compute(recorded(about, records, **changes))


def replaced(*changes: RequestRecord) -> list[RequestRecord]:
    """The ten of OK, with these in place of theirs."""
    return list(({one.seq: one for one in OK} | {one.seq: one for one in changes}).values())
