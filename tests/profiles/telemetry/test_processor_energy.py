"""Energy an image of a machine without a GPU: counters of sysfs files to the report's words."""

from pathlib import Path
from typing import Any

import pytest

from profiles.devices.host import Host
from profiles.record.columns import gpu_columns, host_columns, read
from profiles.record.folder import RunFolder
from profiles.report.html import run as run_page
from profiles.report.text import hardware as hardware_text
from profiles.report.text.run import summary_text
from profiles.report.text.sample import sampled_text
from profiles.schema import HostSample, Summary, TargetInfo
from profiles.summary.run import summarize
from profiles.summary.sample import summarize_sampled
from tests.profiles.devices.test_rapl import RANGE_UJ, put, zone
from tests.profiles.synthetic import (
    START_S,
    STUB,
    gpu_sample,
    manifest,
    plan,
    record,
    summed,
    write_run,
)

CPU = TargetInfo(url="http://127.0.0.1:1", embedded=True, model="tiny", device="cpu", replicas=1)
LOAD_S, IDLE_W, BUSY_W = 40.0, 30.0, 90.0
RECORDS = [record(seq, scheduled_s=START_S + 0.5 + 2 * seq) for seq in range(19)]


def sampled(powercap: Path, dram_w: float | None = 10.0) -> list[HostSample]:
    """A machine that idles until the load, then draws BUSY_W; its counter goes round once."""
    begin_uj = RANGE_UJ - 500_000_000
    package = zone(powercap, "intel-rapl:0", "package-0", begin_uj)
    dram = zone(powercap, "intel-rapl:0:0", "dram", 0) if dram_w is not None else None
    host, samples = Host("node-a", powercap), []
    for i in range(int(2 * (START_S + LOAD_S + 1))):
        t_s = i / 2
        joules = IDLE_W * min(t_s, START_S) + BUSY_W * max(0.0, t_s - START_S)
        put(package, (begin_uj + round(1e6 * joules)) % RANGE_UJ)
        if dram is not None:
            put(dram, round(1e6 * (dram_w or 0.0) * t_s))
        samples.append(host.sample(t_s, 0.001))
    return samples


def run_of(root: Path, **changes: Any) -> RunFolder:
    about = manifest(plan(19, LOAD_S), target=CPU, carbon_g_per_kwh=400.0, gpus=[], **changes)
    return write_run(root, about, RECORDS, host=sampled(root / "powercap"))


def test_the_processors_energy_an_image_reaches_summary_text_and_report(tmp_path: Path) -> None:
    folder = run_of(tmp_path)
    summary = summarize(folder)
    found = summary.host_energy
    assert found is not None
    assert found.parts == ["processors", "memory"]
    assert found.energy_j == pytest.approx(100.0 * LOAD_S)  # 90 W and 10 W
    assert found.j_per_image == pytest.approx(4000.0 / 19)
    assert found.net_j_per_image == pytest.approx((4000.0 - 40.0 * LOAD_S) / 19)
    assert found.idle_power_w == pytest.approx(40.0)
    assert found.carbon_g_per_image == pytest.approx(4000.0 / 19 / 3.6e6 * 400.0)
    assert found.low_j_per_image is not None
    assert found.high_j_per_image is not None
    assert found.low_j_per_image < 4000.0 / 19 < found.high_j_per_image
    assert summary.energy_j_per_image is None  # that is the GPUs'
    assert summary.energy_basis is None
    told = " ".join(summary_text(summary, folder.manifest()).split())
    assert "211 J per image, gross (" in told
    assert "126 J above idle; 0.0234 g CO2e at 400 g/kWh; of the machine's processors" in told
    assert "processors and memory (RAPL), the load generator's work too" in told
    page = run_page.render(read(folder), summary)
    assert "Per image, no GPU" in page
    assert "40 W, the processors, median before the load" in page


def test_memory_without_counters_is_not_in_it(tmp_path: Path) -> None:
    hosts = host_columns(sampled(tmp_path, dram_w=None))
    summary = summed(manifest(plan(19, LOAD_S), target=CPU, gpus=[]), RECORDS, hosts=hosts)
    assert summary.host_energy is not None
    assert summary.host_energy.parts == ["processors"]
    assert summary.host_energy.energy_j == pytest.approx(BUSY_W * LOAD_S)


@pytest.mark.parametrize(
    ("why", "target", "with_gpu"),
    [
        ("a GPU made them", TargetInfo(url="http://127.0.0.1:1", embedded=True, device="cuda"), 1),
        ("another machine did", TargetInfo(url="http://10.0.0.9:1", embedded=False), 0),
        ("a stub makes none", STUB, 0),
    ],
)
def test_energy_that_made_no_images_is_not_told(
    tmp_path: Path, why: str, target: TargetInfo, with_gpu: int
) -> None:
    gpus = gpu_columns([gpu_sample(i / 2) for i in range(130)] * with_gpu)
    about = manifest(plan(19, LOAD_S), target=target, gpus=[])
    summary = summed(about, RECORDS, hosts=host_columns(sampled(tmp_path)), gpus=gpus)
    assert summary.host_energy is None, why
    assert summary.hosts[0].cpu_energy_j == pytest.approx(BUSY_W * LOAD_S)  # what was read stays


def test_a_machine_sampled_alone_tells_what_it_used(tmp_path: Path) -> None:
    about = manifest(None, scenario="sample", gpus=[])
    folder = write_run(tmp_path, about, host=sampled(tmp_path / "powercap"))
    told = sampled_text(summarize_sampled(read(folder)))
    assert "4.25 kJ processors, 605 J DRAM" in told  # 20 s of 30 W, 40.5 of 90; 60.5 s of 10 W


def test_counters_that_cannot_be_read_tell_nothing() -> None:
    summary: Summary = summed(manifest(plan(10, 10.0), target=CPU, gpus=[]))
    assert summary.host_energy is None
    assert hardware_text.host_energy_text(summary) is None
