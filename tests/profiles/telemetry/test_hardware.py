"""The load joined to the hardware: phases, replicas, what held the clocks, what befell."""

from typing import Any

import msgspec
import pytest

from profiles.record.columns import gpu_columns, host_columns
from profiles.report.text import hardware as hardware_text
from profiles.requests.phases import phase_spans
from profiles.schema import (
    CallCost,
    GpuProcess,
    GpuSample,
    GpuState,
    RunEvent,
    SamplerSample,
    Summary,
    TargetInfo,
    Verdict,
)
from tests.profiles.synthetic import (
    PEAKED,
    START_S,
    gpu_info,
    gpu_sample,
    host_samples,
    manifest,
    plan,
    record,
    summed,
)

CUDA = TargetInfo(url="http://127.0.0.1:1", embedded=True, model="sd15", device="cuda", replicas=2)


@pytest.mark.parametrize(
    ("curve", "spans"),
    [
        (PEAKED, [("rise", 0.0, 40.1), ("peak", 40.1, 60.0), ("decay", 60.0, 100.0)]),
        (plan(10, 10.0), [("peak", 0.0, 10.0)]),  # constant
        (
            plan(10, 10.0, curve_t_s=[0.0, 5.0, 10.0], curve_images_per_s=[0.0, 5.0, 10.0]),
            [("rise", 0.0, 10.0)],  # its peak is an instant: the end
        ),
        (plan(10, 10.0, curve_t_s=[], curve_images_per_s=[]), []),
    ],
)
def test_phases_of_a_curve(curve: Any, spans: list[tuple[str, float, float]]) -> None:
    assert phase_spans(curve, curve.duration_s) == spans


def samples(index: int) -> list[GpuSample]:
    """100 s of load at 2 Hz; in the peak 700 W, capped 31% of it; GPM's averages each second."""
    found = []
    for i in range(2 * 125 + 1):
        t_s = i / 2
        since = t_s - START_S
        peak = 40.1 < since <= 60.0
        energy_j = 100.0 * t_s + 600.0 * min(max(since - 40.1, 0.0), 19.9)
        found.append(
            gpu_sample(
                t_s,
                index,
                power_w=700.0 if peak else 100.0,
                energy_j=energy_j,
                throttle_power_s=5.0 + 0.31 * min(max(since - 40.1, 0.0), 19.9),
                throttle_thermal_s=0.0,
                tensor_pct=(60.0 if peak else 10.0) if i % 2 == 0 else None,
                gpm_span_s=1.0 if i % 2 == 0 else None,
            )
        )
    return found


def joined(**changes: Any) -> Summary:
    gpus = gpu_columns([one for index in (0, 1) for one in samples(index)])
    requests = [
        record(
            seq,
            scheduled_s=START_S + (10.0 if seq < 4 else 45.0),
            gpu_uuid=f"GPU-{seq % 2:08x}",
            replica=f"r{seq % 2}",
            flop=34e12,
        )
        for seq in range(20)
    ]
    about = manifest(PEAKED, gpus=[gpu_info(0), gpu_info(1)], target=CUDA)
    hosts = host_columns(host_samples(START_S + 100.0))
    values: dict[str, Any] = {"gpus": gpus, "hosts": hosts} | changes
    return summed(about, requests, **values)


def test_phases_put_images_flop_and_tensor_activity_side_by_side() -> None:
    summary = joined()
    rise, peak, decay = summary.phases
    assert [one.images for one in (rise, peak, decay)] == [4, 16, 0]
    assert peak.images_per_s == pytest.approx(16 / 19.9)
    assert peak.tflops == pytest.approx(16 * 34 / 19.9 / 2)
    assert peak.tensor_mean_pct == pytest.approx(60.0, abs=3.0)  # a span astride either end
    # 0.1 s of the peak's first span lies in the rise
    assert rise.tensor_mean_pct == pytest.approx(10.0 + 50.0 * 0.1 / 40.1, abs=0.01)
    assert peak.power_capped_share == pytest.approx(0.31, abs=0.005)
    assert peak.energy_j == pytest.approx(2 * 700 * 19.9, rel=0.01)
    assert decay.energy_j_per_image is None
    assert hardware_text.held_sentence(summary) == "SW power cap 31% of the peak"
    assert [row[0] for row in hardware_text.phase_table(summary)[1:]] == ["rise", "peak", "decay"]


def test_replicas_are_joined_to_their_gpu_by_its_uuid() -> None:
    held = [
        GpuProcess(t_s=30.0, node="node-a", uuid="GPU-00000001", pid=pid, name="ray", ours=ours,
                   mem_used_bytes=size)
        for pid, ours, size in ((7, True, 5), (8, True, 6), (9, False, 100))
    ]  # fmt: skip
    first, second = joined(processes=held).gpus
    assert (first.replicas, first.images) == (["r0"], 10)
    assert second.images_per_s == pytest.approx(0.1)
    assert second.tflops == pytest.approx(3.4)
    assert (first.replica_mem_max_bytes, second.replica_mem_max_bytes) == (None, 11)
    assert first.energy_counter_j == pytest.approx(100 * 100 + 600 * 19.9, rel=0.001)
    assert first.energy_integrated_j == pytest.approx(100 * 100 + 600 * 19.9, rel=0.02)


def test_errors_that_came_during_the_run() -> None:
    def state(when: str, errors: int | None) -> GpuState:
        return GpuState(
            t_s=0.0, node="node-a", index=0, uuid="GPU-00000000", when=when,
            ecc_uncorrected=errors, rows_corrected=1, unable={"tensor_pct": "no GPM"},
        )  # fmt: skip

    summary = joined(states=[state("begin", 2), state("end", 5)])
    assert (summary.gpus[0].ecc_uncorrected, summary.gpus[0].rows_corrected) == (3, 0)
    assert summary.gpus[1].ecc_uncorrected is None
    assert any("3 uncorrectable memory errors" in one for one in summary.warnings)
    told = dict(hardware_text.reading_rows(summary))
    assert told["GPU 0 · node-a does not report"] == "tensor_pct: no GPM"
    assert told["GPU 0 · node-a, new errors"] == "3 ecc uncorrected"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({"rows_pending": False, "rows_failed": False}, None),
        ({"rows_pending": True, "rows_failed": False}, "remaps a memory row at its next reset"),
        ({"rows_pending": True, "rows_failed": True}, "could not remap a memory row: replace it"),
    ],
)
def test_memory_rows_after_the_run(rows: dict[str, bool], said: str | None) -> None:
    begin = GpuState(t_s=0.0, node="node-a", index=0, uuid="GPU-00000000", when="begin",
                     ecc_corrected=7)  # fmt: skip
    end = GpuState(t_s=1.0, node="node-a", index=0, uuid="GPU-00000000", when="end",
                   ecc_corrected=0, **rows)  # type: ignore[arg-type]  # fmt: skip
    summary = joined(states=[begin, end])
    told = [one for one in summary.warnings if "memory row" in one]
    assert len(told) == (said is not None)
    assert said is None or said in told[0]
    assert summary.gpus[0].ecc_corrected is None  # the driver was loaded again: it counts anew


def event(t_s: float, kind: str, **changes: Any) -> RunEvent:
    values: dict[str, Any] = {"source": "node-a", "detail": f"{kind} it was"}
    return RunEvent(t_s=t_s, kind=kind, **(values | changes))


def test_a_lost_gpu_that_comes_back_is_told_and_not_fatal() -> None:
    lost = [one for one in samples(0) if not 50.0 < one.t_s < 70.0]
    gpus = gpu_columns(lost + samples(1))
    events = [
        event(50.1, "gpu_lost", gpu_uuid="GPU-00000000"),
        event(50.2, "xid", gpu_uuid="GPU-00000000", code=79),
        event(70.0, "gpu_back", gpu_uuid="GPU-00000000"),
    ]
    summary = joined(gpus=gpus, events=events)
    assert summary.verdict is Verdict.PASS
    assert {
        "gpu_lost it was (from 30.1 s into the load until 50 s into the load, when it came back).",
        "xid it was (30.2 s into the load).",
    } <= set(summary.warnings)
    rows = dict(hardware_text.reading_rows(summary, START_S))
    assert {
        "GPU lost, 30.1 s into the load",
        "XID, 30.2 s into the load",
        "GPU back, 50 s into the load",
    } <= set(rows)
    assert [one.kind for one in summary.faults] == ["gpu_lost", "xid", "gpu_back"]
    assert summary.gpus[0].energy_integrated_j is None  # a fifth of it was not seen
    assert summary.energy_basis == "counter"

    silent = joined(gpus=gpus)  # the same gap without a reason
    assert silent.verdict is Verdict.INVALID
    assert "silent for 20.0 s" in silent.reasons[0]


def test_events_have_the_zero_of_the_charts() -> None:
    # the server took 15 s of the run's 20 before the load; one GPU stays lost, another errs early
    events = [
        event(15.0, "gpu_error", detail="GPU 0: an error"),
        event(65.0, "gpu_lost", gpu_uuid="GPU-00000001", detail="GPU 1: lost"),
        *(event(70.0 + k, "xid", code=31) for k in range(30)),
    ]
    summary = joined(gpus=gpu_columns(samples(0) + samples(1)), events=events)
    assert "GPU 0: an error (5 s before the load)." in summary.warnings
    assert "GPU 1: lost (45 s into the load, and it did not come back)." in summary.warnings
    rows = hardware_text.reading_rows(summary, START_S)
    assert rows[-1] == ("… and", "12 more events")


@pytest.mark.parametrize(
    ("net_j", "low_j", "high_j", "words"),
    [
        (219.0, 211.0, 227.0, "; 219 J above idle (211 to 227 J)"),
        (219.0, None, None, "; 219 J above idle"),
        (20.0, -12.0, 52.0, "; 20 J above idle (-12 to 52 J, so it may be none)"),
        (-153.0, -200.0, -100.0, "; none above idle: the 300 W drawn before the load were more"),
    ],
)
def test_energy_below_idle_is_told_in_words(
    net_j: float, low_j: float | None, high_j: float | None, words: str
) -> None:
    summary = msgspec.structs.replace(
        joined(),
        energy_j_per_image=300.0,
        energy_basis="counter",
        idle_power_w=300.0,
        energy_net_j_per_image=net_j,
        energy_net_low_j_per_image=low_j,
        energy_net_high_j_per_image=high_j,
    )
    told = hardware_text.energy_text(summary)
    assert told is not None
    assert words in told
    assert "-153" not in told


def test_a_sampler_that_fell_behind_makes_the_run_say_so() -> None:
    def line(t_s: float, missed: int) -> SamplerSample:
        calls = {"fields": CallCost(count=10, mean_s=0.002, max_s=0.1)}
        return SamplerSample(t_s=t_s, node="node-a", hz=2.0, cycles=0, missed=missed,
                             cpu_pct=1.5, calls=calls)  # fmt: skip

    summary = joined(sampler=[line(5.0, 1), line(15.0, 2), line(60.0, 9), line(121.0, 14)])
    (one,) = summary.samplers
    assert (one.planned, one.missed) == (200, 12)
    assert one.calls == {"fields": pytest.approx(0.002)}
    assert one.lateness_p99_s == pytest.approx(0.002)
    (told,) = [one for one in summary.warnings if "fell behind" in one]
    assert "12 of 200 cycles" in told
    (row,) = [value for name, value in hardware_text.reading_rows(summary) if "Sampler" in name]
    assert "12 of 200 missed" in row
    assert one.read_p99_s is None
    assert "GPU" not in row
    read = msgspec.structs.replace(one, read_p99_s=0.002)
    summary = msgspec.structs.replace(summary, samplers=[read])
    (row,) = [value for name, value in hardware_text.reading_rows(summary) if "Sampler" in name]
    assert "one GPU read in 2 ms (p99)" in row


def test_replicas_on_gpus_that_were_not_sampled() -> None:
    summary = joined(gpus=gpu_columns(samples(0)))
    assert any("GPU-00000001" in one and "not sampled" in one for one in summary.warnings)


def test_mig_instances_stand_beside_their_gpu() -> None:
    parts = [
        gpu_sample(t / 2, 0, uuid="MIG-a", parent_uuid="GPU-00000000", power_w=None, energy_j=None)
        for t in range(251)
    ]
    summary = joined(instances=gpu_columns(parts))
    (instance,) = summary.instances
    assert (instance.uuid, instance.parent_uuid) == ("MIG-a", "GPU-00000000")
    assert instance.energy_j is None
    assert summary.energy_basis == "counter"  # the instance's lack of a counter is no matter
