"""FLOP an image, achieved FLOP/s, and percent of the limits; and what is said of them."""

from typing import Any

import msgspec
import pytest

from profiles.record.columns import gpu_columns
from profiles.report.text.limits import limit_rows, limit_sentence, limit_text
from profiles.schema import DeviceLimits, GpuInfo, Outcome, RequestRecord, Summary, TargetInfo
from profiles.telemetry.flop_limits import devices_in_use
from tests.profiles.synthetic import (
    OK,
    START_S,
    TEN,
    gpu_info,
    gpu_sample,
    manifest,
    record,
    replaced,
    summed,
)

H200 = DeviceLimits(
    device_name="NVIDIA H200", matmul_dtype="bfloat16", matmul_flop_per_s=800e12,
    copy_bytes_per_s=4.3e12, measured_s=2.0,
)  # fmt: skip
CPU = DeviceLimits(
    device_name="AMD EPYC", matmul_dtype="float32", matmul_flop_per_s=100e9, threads=1
)


def target(device: str | None = "cuda", limits: DeviceLimits | None = H200, **more: Any) -> Any:
    values: dict[str, Any] = {"url": "http://127.0.0.1:8000", "embedded": True, "model": "sdxl"}
    return TargetInfo(**(values | {"replicas": 2, "device": device, "limits": limits} | more))


TWO = [gpu_info(0), gpu_info(1)]
GPU_RUN = manifest(TEN, target=target(), gpus=TWO)
CPU_RUN = manifest(TEN, target=target("cpu", CPU, replicas=1))


def told(tflop: float, records: list[RequestRecord] = OK) -> list[RequestRecord]:
    """The records with that FLOP an image."""
    return [
        msgspec.structs.replace(one, flop=tflop * 1e12 * one.images)
        if one.outcome is Outcome.OK
        else one
        for one in records
    ]


def sampled(util: float = 100.0, gpus: int = 2) -> dict[str, Any]:
    """GPUs sampled twice a second over the load, the first at `util`, each next 60% below."""
    samples = [
        gpu_sample(START_S + tick / 2, index, util_pct=util * 0.4**index)
        for tick in range(21)
        for index in range(gpus)
    ]
    return {"gpus": gpu_columns(samples)}


def test_the_figures_of_a_gpu_run() -> None:
    # ten images a second apart of 160 TFLOP, done 1 s after they were due: nine at 21..29 s and
    # the tenth at 30, the window's edge, which counts; 10 x 160 / 10 s / 2 GPUs = 80 TFLOP/s
    summary = summed(GPU_RUN, told(160.0), **sampled())
    assert summary.tflop_per_image == pytest.approx(160.0)
    assert summary.achieved_devices == 2
    assert summary.achieved_tflops == pytest.approx(80.0)
    assert summary.limit_tflops == pytest.approx(800.0)
    assert summary.limit_percent == pytest.approx(10.0)
    assert summary.limit_basis == "bfloat16 matmul measured on NVIDIA H200"
    assert summary.datasheet_tflops == pytest.approx(989.0)
    assert summary.datasheet_percent == pytest.approx(100 * 80 / 989)
    assert summary.datasheet_basis is not None
    assert "NVIDIA H200 datasheet" in summary.datasheet_basis


def test_only_ok_images_done_in_the_load_count() -> None:
    # one is refused, one comes 1 s after the load's end: 8 of 10 images in 10 s
    late = record(9, done_s=START_S + 11.0)
    refused = record(3, outcome=Outcome.REJECTED, flop=1e15)
    summary = summed(GPU_RUN, told(100.0, replaced(late, refused)))
    assert summary.achieved_tflops == pytest.approx(8 * 100 / 10 / 2)
    assert summary.tflop_per_image == pytest.approx(100.0)  # nine ok images, the late one too


def test_the_mean_image_weighs_images_not_requests() -> None:
    # one request of three images that took 300, nine of one that took 10 each: 390 / 12
    records = [
        msgspec.structs.replace(one, images=3, flop=300e12)
        if one.seq == 0
        else msgspec.structs.replace(one, flop=10e12)
        for one in OK
    ]
    assert summed(GPU_RUN, records).tflop_per_image == pytest.approx(390 / 12)


def test_the_peak_is_above_the_mean_of_an_idle_load() -> None:
    # 100 s, ten images all due in the first ten, which are the curve's peak
    curve = {"curve_t_s": [0.0, 10.0, 10.1, 100.0], "curve_images_per_s": [1.0, 1.0, 0.1, 0.1]}
    load = msgspec.structs.replace(TEN, duration_s=100.0, **curve)
    about = manifest(load, target=target(), gpus=TWO, load_end_s=120.0)
    summary = summed(about, told(160.0))
    assert (summary.peak_start_s, summary.peak_end_s) == (0.0, 10.0)
    assert summary.achieved_tflops == pytest.approx(8.0)
    assert summary.peak_achieved_tflops == pytest.approx(80.0)
    assert summary.peak_limit_percent == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("records", "image", "achieved"),
    [
        (OK, None, None),  # the server tells no FLOP
        ([msgspec.structs.replace(OK[0], flop=1e12), *OK[1:]], 1.0, None),  # of one only
        ([], None, None),
    ],
)
def test_what_was_not_told_is_unknown(
    records: list[RequestRecord], image: float | None, achieved: float | None
) -> None:
    summary = summed(GPU_RUN, records)
    assert summary.tflop_per_image == image
    assert summary.achieved_tflops == summary.limit_percent == achieved
    assert summary.achieved_devices is None


@pytest.mark.parametrize(
    ("about", "datasheet"),
    [
        (GPU_RUN, 989.0),
        (manifest(TEN, target=target(limits=None), gpus=TWO), 989.0),  # as NVML named them
        (CPU_RUN, None),
        (manifest(TEN, target=target("cpu", None), gpus=TWO), None),  # a CPU run beside GPUs
        (manifest(TEN, target=target(limits=CPU), gpus=TWO), None),  # float32: another precision
        (
            manifest(
                TEN, target=target(limits=None), gpus=[TWO[0], GpuInfo(node="a", index=1, uuid="b",
                name="NVIDIA L4")],
            ),
            None,
        ),  # two models of GPU
        (
            manifest(
                TEN,
                target=target(
                    limits=msgspec.structs.replace(H200, device_name="NVIDIA H100 80GB HBM3")
                ),
                gpus=TWO,
            ),
            989.0,
        ),
        (manifest(TEN, target=target(is_stub=True), gpus=TWO), None),
    ],
)  # fmt: skip
def test_the_datasheet_is_of_the_device_that_made_the_images(
    about: Any, datasheet: float | None
) -> None:
    assert summed(about, told(1.0)).datasheet_tflops == datasheet


@pytest.mark.parametrize(
    ("about", "devices"),
    [
        (GPU_RUN, 2),
        (manifest(TEN, target=target(replicas=1), gpus=TWO), 1),
        (manifest(TEN, target=target(replicas=9), gpus=TWO), 2),  # never more than there are
        (CPU_RUN, 1),
        (manifest(TEN, target=target("cpu", replicas=3), gpus=TWO), 3),
        (manifest(TEN, target=target(None, replicas=None, embedded=False), gpus=TWO), 2),
        (manifest(TEN, target=target(None, replicas=1, embedded=False), gpus=TWO), 1),
        (
            manifest(TEN, target=target(url="http://10.0.0.9", embedded=False, replicas=8)),
            8,
        ),  # remote: as it told
        (
            manifest(TEN, target=target(url="http://10.0.0.9", embedded=False, replicas=None)),
            None,
        ),
    ],
)
def test_devices_in_use(about: Any, devices: int | None) -> None:
    assert devices_in_use(about) == devices


# -- words -----------------------------------------------------------------------------------


def test_full_utilization_at_a_tenth_of_the_flop_is_seen() -> None:
    summary = summed(GPU_RUN, told(160.0), **sampled(gpus=1))
    assert limit_sentence(summary, GPU_RUN) == (
        "100% utilized, 10% of the measured matmul limit: "
        "80 of 800 TFLOP/s per GPU, mean over the load"
    )
    assert limit_text(summary, GPU_RUN) == (
        "100% utilized, 10% of the measured matmul limit: "
        "80 of 800 TFLOP/s per GPU, mean over the load; "
        "10% of it during the peak; 8.09% of the datasheet limit; 160 TFLOP per image"
    )


def test_gpus_without_a_replica_do_not_dilute_the_utilization() -> None:
    about = manifest(TEN, target=target(replicas=1), gpus=TWO)
    told_of = limit_sentence(summed(about, told(160.0), **sampled(90.0)), about)
    assert told_of is not None
    assert told_of.startswith("90% utilized, 20% of")  # 160 of 800 TFLOP/s, one GPU


def test_a_cpu_run_has_its_threads_and_no_datasheet() -> None:
    summary = summed(CPU_RUN, told(0.04))
    assert limit_sentence(summary, CPU_RUN) == (
        "host CPU 50% busy, 40% of the measured matmul limit: "
        "40 of 100 GFLOP/s per replica, mean over the load"
    )
    rows = dict(limit_rows(summary, CPU_RUN))
    assert rows["Measured limit"] == (
        "100 GFLOP/s, 40% of it on average: float32 matmul measured on AMD EPYC, 1 CPU thread"
    )
    assert "Datasheet limit" not in rows


def test_without_a_measured_limit_the_datasheet_stands_and_without_both_the_rate() -> None:
    about = manifest(TEN, target=target(limits=None), gpus=TWO)
    summary = summed(about, told(160.0))
    assert limit_sentence(summary, about) == (
        "8.09% of the datasheet limit: 80 of 989 TFLOP/s per GPU, mean over the load"
    )
    about = manifest(TEN, target=target("cpu", None, replicas=1))
    assert limit_sentence(summed(about, told(0.04)), about) == (
        "host CPU 50% busy, 40 GFLOP/s per replica, mean over the load; "
        "the server reported no measured limit"
    )


def test_nothing_is_said_of_a_server_that_told_nothing() -> None:
    summary = summed(GPU_RUN, OK)
    assert limit_sentence(summary, GPU_RUN) is None
    assert limit_text(summary, GPU_RUN) is None
    assert limit_rows(summary, GPU_RUN) == []


def test_a_summary_of_before_is_still_read() -> None:
    whole = msgspec.to_builtins(summed(GPU_RUN))
    names = [name for name in whole if "tflop" in name or "percent" in name or "basis" in name]
    assert len(names) >= 9
    old = {name: value for name, value in whole.items() if name not in names}
    assert msgspec.convert(old, Summary).limit_percent is None
