"""What Prometheus is told, read as Prometheus reads it."""

import re
import signal
import socket
from collections.abc import Iterator
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from profiles.sampler.exporter import STALE_S, Exporter
from profiles.sampler.metrics import KINDS, Sample, names
from profiles.schema import GpuInfo, GpuSample, HostSample, SamplerSample
from tests.profiles.sampling import Start, wait_for

GPU_A = {"node": "n1", "index": "0", "uuid": "GPU-a"}
Page = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def exporter() -> Iterator[tuple[Exporter, list[float]]]:
    now = [10.0]
    exporter = Exporter(0, lambda: now[0])
    yield exporter, now
    exporter.close()


def page(url: str) -> Page:
    with urlopen(url, timeout=10) as answer:
        text = answer.read().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(told: Page, metric: str, /, **labels: str) -> float | None:
    return told.get((metric, frozenset(labels.items())))


def gpu(t_s: float, **readings: float) -> GpuSample:
    whole = {"t_s": t_s, "node": "n1", "index": 0, "uuid": "GPU-a", "lag_s": 0.001}
    return GpuSample(**whole, **readings)  # type: ignore[arg-type]


def test_readings_in_base_units(exporter: tuple[Exporter, list[float]]) -> None:
    served, _ = exporter
    served.take(
        gpu(
            10.0, power_w=351.5, energy_j=12.0, util_pct=97.0, tensor_pct=25.0, sm_clock_mhz=1980.0,
            mem_used_bytes=3, temp_c=45.0, throttle_power_s=1.5, throttle_brake_s=0.5,
            pcie_rx_bytes=7,
        )
    )  # fmt: skip
    served.take(
        GpuInfo(node="n1", index=0, uuid="GPU-a", name="H100", driver="580", power_limit_w=700.0)
    )
    told = page(served.url)
    for name, expected in {
        "viralload_gpu_power_watts": 351.5,
        "viralload_gpu_energy_joules_total": 12.0,
        "viralload_gpu_utilization_ratio": 0.97,
        "viralload_gpu_tensor_active_ratio": 0.25,
        "viralload_gpu_sm_clock_hertz": 1.98e9,
        "viralload_gpu_memory_used_bytes": 3.0,
        "viralload_gpu_temperature_celsius": 45.0,
        "viralload_gpu_pcie_receive_bytes_total": 7.0,
        "viralload_gpu_sample_lag_seconds": 0.001,
        "viralload_gpu_power_limit_watts": 700.0,
    }.items():
        assert value(told, name, **GPU_A) == pytest.approx(expected), name
    throttled = "viralload_gpu_throttled_seconds_total"
    assert value(told, throttled, cause="power", **GPU_A) == 1.5
    assert value(told, throttled, cause="brake", **GPU_A) == 0.5
    assert value(told, "viralload_gpu_info", name="H100", driver="580", **GPU_A) == 1.0


def test_what_is_unknown_has_no_series(exporter: tuple[Exporter, list[float]]) -> None:
    served, _ = exporter
    served.take(gpu(10.0))
    served.take(HostSample(t_s=10.0, node="n1", cpu_pct=50.0, mem_used_bytes=1, lag_s=0.0))
    told = {name for name, _ in page(served.url)}
    assert told == {
        "viralload_gpu_sample_lag_seconds",
        "viralload_host_cpu_ratio",
        "viralload_host_memory_used_bytes",
    }


def test_a_reading_stays_until_it_is_stale(exporter: tuple[Exporter, list[float]]) -> None:
    served, now = exporter
    served.take(gpu(10.0, sm_active_pct=50.0, power_w=100.0))
    now[0] = 10.9
    served.take(gpu(10.9, power_w=110.0))  # GPM tells once a second
    told = page(served.url)
    assert value(told, "viralload_gpu_sm_active_ratio", **GPU_A) == 0.5
    assert value(told, "viralload_gpu_power_watts", **GPU_A) == 110.0
    now[0] = 10.5 + STALE_S
    told = page(served.url)
    assert value(told, "viralload_gpu_sm_active_ratio", **GPU_A) is None
    assert value(told, "viralload_gpu_power_watts", **GPU_A) == 110.0


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_attribute_named_is_there(kind: type[Sample]) -> None:
    metrics, labels = KINDS[kind]
    fields = set(kind.__struct_fields__)
    assert {metric.attribute for metric in metrics} | set(labels) <= fields


def test_every_reading_of_a_gpu_is_told() -> None:
    told = {metric.attribute for metric in KINDS[GpuSample][0]}
    beside = {"t_s", "node", "index", "uuid", "parent_uuid", "gpm_span_s", "read_s"}
    assert set(GpuSample.__struct_fields__) - told == beside


def test_names_end_in_their_unit() -> None:
    units = "watts|joules|ratio|bytes|hertz|celsius|seconds|info|cycles"
    for name in names():
        assert re.fullmatch(rf"viralload_[a-z_]+_({units})(_total)?", name), name
    assert {"viralload_gpu_energy_joules_total", "viralload_sampler_cycles_total"} <= names()


def test_the_samplers_own_account(exporter: tuple[Exporter, list[float]]) -> None:
    served, _ = exporter
    served.take(SamplerSample(t_s=10.0, node="n1", hz=10.0, cycles=600, missed=2, cpu_pct=3.0))
    told = page(served.url)
    assert value(told, "viralload_sampler_cycles_total", node="n1") == 600
    assert value(told, "viralload_sampler_missed_cycles_total", node="n1") == 2
    assert value(told, "viralload_sampler_cpu_ratio", node="n1") == pytest.approx(0.03)


def test_a_sampler_serves_what_it_records(start_sampler: Start) -> None:
    sampling = start_sampler("- gpus 2\n1 power_mw 250000\n", "--hz", "20", "--metrics-port", "0")
    ready = sampling.ready()
    assert isinstance(ready, dict)
    url = ready["metrics"]
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/metrics", url)

    def power(index: int) -> float | None:
        told = page(url)
        by_index = {
            dict(labels)["index"]: watts
            for (name, labels), watts in told.items()
            if name == "viralload_gpu_power_watts"
        }
        return by_index.get(str(index))

    wait_for(lambda: power(0) == 350.0 and power(1) == 250.0)
    wait_for(lambda: any(name == "viralload_host_cpu_ratio" for name, _ in page(url)))
    infos = [dict(labels) for name, labels in page(url) if name == "viralload_gpu_info"]
    assert {info["name"] for info in infos} == {"NVIDIA FAKE"}
    assert sampling.stop(signal.SIGTERM) == (0, "")


def test_a_port_that_is_taken_is_a_one_line_error(start_sampler: Start) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        sampling = start_sampler("", "--metrics-port", str(port))
        code, said = sampling.end()
    assert code == 1
    assert said.startswith(f"error: no metrics at 127.0.0.1:{port}: ")
    assert said.endswith("name another --metrics-port\n")
