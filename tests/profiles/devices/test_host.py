from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from profiles.devices.host import Host, cpu_name, node_name


def test_samples_leave_out_the_reading_that_has_nothing_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    readings = iter([0.0, 37.5, 62.5])
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval: next(readings))
    memory = SimpleNamespace(total=16_000, available=6_000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    host = Host("n1")
    first, second = host.sample(1.0000004, 0.25), host.sample(1.5, 0.0)
    assert (first.cpu_pct, second.cpu_pct) == (37.5, 62.5)
    assert first.mem_used_bytes == 10_000  # total - available: caches do not count as used
    assert (first.t_s, first.lag_s, first.node) == (1.0, 0.25, "n1")


def test_the_machine_is_described_by_its_kernel() -> None:
    info = Host("n1").describe()
    memory_line = Path("/proc/meminfo").read_text().splitlines()[0].split()
    assert memory_line[0] == "MemTotal:"
    assert info.mem_total_bytes == int(memory_line[1]) * 1024  # kB
    stat = Path("/proc/stat").read_text().splitlines()
    assert info.cores == sum(line.startswith("cpu") for line in stat) - 1  # less their sum
    assert Path("/proc/sys/kernel/osrelease").read_text().strip() in info.os
    assert info.node == "n1"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (
            "processor\t: 0\nmodel name\t: AMD EPYC 9654 : 96\nmodel name\t: x\n",
            "AMD EPYC 9654 : 96",
        ),
        ("processor\t: 0\nmodel name\t:\n", "fallback"),
        (None, "fallback"),
    ],
)
def test_cpu_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, name: str
) -> None:
    monkeypatch.setattr("platform.processor", lambda: "fallback")
    path = tmp_path / "cpuinfo"
    if text is not None:
        path.write_text(text)
    assert cpu_name(path) == name


def test_node_name_is_the_host_name() -> None:
    assert node_name() == Path("/proc/sys/kernel/hostname").read_text().strip()
