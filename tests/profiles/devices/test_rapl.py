"""Energy counters of a sysfs folder that is made here."""

import os
from pathlib import Path

import pytest

from profiles.devices.host import Host
from profiles.devices.rapl import Rapl

RANGE_UJ = 262_143_328_850  # of a desktop processor


def zone(powercap: Path, folder: str, name: str, energy_uj: int, range_uj: int = RANGE_UJ) -> Path:
    path = powercap / folder
    path.mkdir(parents=True)
    (path / "name").write_text(name + "\n")
    (path / "max_energy_range_uj").write_text(f"{range_uj}\n")
    return put(path, energy_uj)


def put(path: Path, energy_uj: int) -> Path:
    (path / "energy_uj").write_text(f"{energy_uj}\n")
    return path


def test_processors_and_memory_apart_and_nothing_twice(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl", "", 0)
    socket0 = zone(tmp_path, "intel-rapl:0", "package-0", 1_000_000)
    socket1 = zone(tmp_path, "intel-rapl:1", "package-1", 7_000_000)
    dram0 = zone(tmp_path, "intel-rapl:0:0", "dram", 3_000_000)
    core = zone(tmp_path, "intel-rapl:0:1", "core", 0)
    platform = zone(tmp_path, "intel-rapl:2", "psys", 0)
    mirror = zone(tmp_path, "intel-rapl-mmio:0", "package-0", 0)
    rapl = Rapl(tmp_path)
    assert rapl.read() == (0.0, 0.0)
    put(socket0, 1_500_000), put(socket1, 9_000_000), put(dram0, 3_250_000)
    for path in (core, platform, mirror):
        put(path, 50_000_000)
    assert rapl.read() == (2.5, 0.25)  # 0.5 J + 2 J; 0.25 J
    assert rapl.unreadable is None


@pytest.mark.parametrize(
    ("counter_uj", "joules"),
    [
        ([RANGE_UJ - 1_000_000, 500_000], 1.5),  # once round
        ([100, 100], 0.0),
        ([RANGE_UJ - 1_000_000, 2_000_000, 1_000_000], 3.0 + RANGE_UJ / 1e6 - 1.0),  # twice
    ],
)
def test_a_counter_that_goes_round_only_grows(
    tmp_path: Path, counter_uj: list[int], joules: float
) -> None:
    path = zone(tmp_path, "intel-rapl:0", "package-0", counter_uj[0])
    rapl = Rapl(tmp_path)
    told = [rapl.read().cpu_j for value in counter_uj if put(path, value)]
    assert told[-1] == pytest.approx(joules)
    assert all(joules is not None for joules in told)
    assert rapl.read().dram_j is None


def test_without_counters_energy_is_unknown(tmp_path: Path) -> None:
    rapl = Rapl(tmp_path / "none")
    assert rapl.read() == (None, None)
    assert rapl.unreadable is None


def test_one_processor_unknown_is_all_unknown(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 1)
    (zone(tmp_path, "intel-rapl:1", "package-1", 1) / "energy_uj").write_text("")
    assert Rapl(tmp_path).read().cpu_j is None


def test_counters_for_root_alone_are_null_and_named_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zone(tmp_path, "intel-rapl:0", "package-0", 1)
    (path / "energy_uj").chmod(0)
    if os.geteuid() == 0:  # nothing is closed to root
        read_text = Path.read_text

        def closed(file: Path) -> str:
            if file.name == "energy_uj":
                raise PermissionError(13, "Permission denied")
            return read_text(file)

        monkeypatch.setattr(Path, "read_text", closed)
    host = Host("n1", tmp_path)
    sample = host.sample(1.0, 0.0)
    assert (sample.cpu_energy_j, sample.dram_energy_j) == (None, None)
    assert host.unreadable is not None
    assert f"{path}/energy_uj" in host.unreadable
    assert "sudo chmod a+r" in host.unreadable


def test_a_host_sample_has_what_was_spent_since_it_began(tmp_path: Path) -> None:
    package = zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    dram = zone(tmp_path, "intel-rapl:0:0", "dram", 0)
    host = Host("n1", tmp_path)
    put(package, 12_000_000), put(dram, 1_000_000)
    sample = host.sample(1.0, 0.0)
    assert (sample.cpu_energy_j, sample.dram_energy_j) == (7.0, 1.0)
