"""Intel's GPUs as the real pyzes tells them, over a libze_loader.so.1 that obeys a script."""

import ctypes
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.profiles import fake_libraries
from tests.profiles.vendor_reading import Read, reading

if fake_libraries.package("pyzes") is None:
    pytest.skip("pyzes is not installed: pip install pyzes", allow_module_level=True)

# Counters of the fake have steps of a microsecond: over this long, their rates are exact to 0.01%.
APART_S = 0.02


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_libraries.build_intel(tmp_path_factory.mktemp("intel"))


@pytest.fixture
def read(tmp_path: Path, libraries: Path) -> Read:
    return reading(tmp_path, libraries, "intel")


def test_every_reading_in_its_unit(read: Read) -> None:
    told = read(
        "0 power_w 120\n0 busy_pct 35\n0 mem_total 16000000000\n0 mem_used 7000000000\n"
        "0 read_bps 100e9\n0 write_bps 50e9\n0 max_bps 500e9\n"
        "0 gpu_mhz 2050\n0 mem_mhz 1188\n0 gpu_c 51\n0 mem_c 64\n",
        apart_s=APART_S,
    )
    [[sample]] = told["cycles"]
    assert sample["power_w"] == pytest.approx(120, rel=1e-3)
    assert sample["util_pct"] == pytest.approx(35, rel=1e-2)
    assert sample["dram_pct"] == pytest.approx(30, rel=1e-2)  # 150 of 500 GB/s
    exact = ("mem_used_bytes", "sm_clock_mhz", "mem_clock_mhz", "temp_c", "mem_temp_c")
    assert [sample[name] for name in exact] == [7_000_000_000, 2050, 1188, 51, 64]
    assert (sample["t_s"], sample["lag_s"], sample["index"]) == (0.0, 0.25, 3)
    assert told["faults"] == []


def test_energy_and_pcie_are_counters(read: Read) -> None:
    told = read("* energy_uj 5e6\n* rx_bps 1e9\n* tx_bps 4e9\n", cycles=2, apart_s=APART_S)
    [first], [last] = told["cycles"]
    seconds = (last["energy_j"] - first["energy_j"]) / 300  # W
    assert seconds >= APART_S * 0.999
    assert first["energy_j"] > 5.0
    received = last["pcie_rx_bytes"] - first["pcie_rx_bytes"]
    sent = last["pcie_tx_bytes"] - first["pcie_tx_bytes"]
    assert sent / received == pytest.approx(4, rel=0.05)  # read at once
    assert received == pytest.approx(1e9 * seconds, rel=0.2)


@pytest.mark.parametrize(
    ("script", "attribute", "value"),
    [
        # the card's domain stands behind its package's, of 90% of the power
        ("* power_w 200\n* domains card\n", "power_w", 200),
        ("* power_w 200\n* domains package\n", "power_w", 200),
        ("* power_w 200\n* domains tiles\n", "power_w", 200),  # two of 100 W
        ("* engines all\n* busy_pct 60\n", "util_pct", 60),
        ("* engines compute\n* busy_pct 60\n", "util_pct", 60),
        ("* gpu_c -1\n* global_c 62\n", "temp_c", 62),
    ],
)
def test_the_parts_that_stand_for_the_gpu(
    read: Read, script: str, attribute: str, value: float
) -> None:
    [[sample]] = read(script, apart_s=APART_S)["cycles"]
    assert sample[attribute] == pytest.approx(value, rel=1e-2)


def test_gpus_are_described_and_other_devices_left_out(read: Read) -> None:
    told = read("- gpus 2\n- cpus 1\n1 name Intel(R) Data Center GPU Max\n1 limit_mw 450000\n")
    assert [gpu["index"] for gpu in told["info"]] == [3, 4]
    assert told["info"][1] == {
        "node": "n1", "index": 4, "uuid": "868056e2-0000-0000-0000-000000000001",
        "name": "Intel(R) Data Center GPU Max", "mem_total_bytes": 24_000_000_000,
        "power_limit_w": 450.0, "driver": "1.6.fake",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("script", "attribute", "why"),
    [
        ("* error:power 0x78000003\n", "power_w", "UNSUPPORTED_FEATURE"),
        ("* error:energy 0x78000003\n", "energy_j", "UNSUPPORTED_FEATURE"),
        ("* error:energy 0x70010000\n", "energy_j", "groups render and video"),
        ("* engines none\n", "util_pct", "this GPU has none"),
        ("* gpu_c -1\n* global_c -1\n", "temp_c", "this GPU has none"),
        ("* error:bandwidth 0x78000003\n", "dram_pct", "UNSUPPORTED_FEATURE"),
        ("* pcie 0\n", "pcie_rx_bytes", "does not count PCIe bytes"),
        ("", "mem_clock_mhz", "this GPU has none"),
        ("", "tensor_pct", "no reading that means the same"),
        ("", "throttle_power_s", "no reading that means the same"),
    ],
)
def test_what_it_cannot_tell_is_null_and_named(
    read: Read, script: str, attribute: str, why: str
) -> None:
    told = read(script, cycles=2, apart_s=APART_S)
    assert all(cycle[0][attribute] is None for cycle in told["cycles"])
    assert why in told["unable"][0][attribute]
    assert told["faults"] == []


def test_a_reading_that_fails_is_null_and_told_once(read: Read) -> None:
    told = read("* error:memory_state 0x7ffffffe\n", cycles=3)
    assert all(cycle[0]["mem_used_bytes"] is None for cycle in told["cycles"])
    [[kind, detail, _, _, _]] = told["faults"]
    assert kind == "gpu_error"
    assert "zesMemoryGetState: ZE_RESULT_ERROR_UNKNOWN (0x7ffffffe)" in detail


def test_a_lost_gpu_is_told_and_taken_up_again(read: Read) -> None:
    told = read("- gpus 2\n0 lost_after_s 0.3\n0 back_after_s 0.6\n", until="gpu_back")
    assert [fault[0] for fault in told["faults"]] == ["gpu_lost", "gpu_back"]
    assert {sample["index"] for sample in told["cycles"][-1]} == {3, 4}
    assert any([sample["index"] for sample in cycle] == [4] for cycle in told["cycles"])


@pytest.mark.parametrize("code", ["0x78000001", "0x70020000"])  # no driver
def test_no_driver_is_no_gpu(read: Read, code: str) -> None:
    told = read(f"- init {code}\n")
    assert (told["info"], told["cycles"], told["faults"]) == ([], [[]], [])


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("- init 0x70010000\n", ["INSUFFICIENT_PERMISSIONS", "groups render and video"]),
        ("- init 0x78000002\n", ["UNSUPPORTED_VERSION", "xpu-smi discovery"]),
        ("* error:properties 0x7ffffffe\n", ["ERROR_UNKNOWN"]),
    ],
)
def test_a_driver_that_cannot_be_asked(read: Read, script: str, words: list[str]) -> None:
    said = read(script)["error"]
    assert all(word in said for word in words), said


def test_no_loader_is_named_with_its_remedy(read: Read) -> None:
    if Path(fake_libraries.INTEL_NAME).exists():
        pytest.skip("Level Zero is installed")
    said = read("", drop=("LD_PRELOAD",))["error"]
    assert "install libze1" in said


def test_structures_are_as_large_as_the_packages(tmp_path: Path, libraries: Path) -> None:
    wanted = [
        "ze_device_properties_t", "zes_device_properties_t", "zes_pci_properties_t",
        "zes_pci_stats_t", "zes_power_properties_t", "zes_power_limit_ext_desc_t",
        "zes_power_ext_properties_t", "zes_power_energy_counter_t", "zes_mem_properties_t",
        "zes_mem_state_t", "zes_mem_bandwidth_t", "zes_freq_properties_t", "zes_freq_state_t",
        "zes_temp_properties_t", "zes_engine_properties_t", "zes_engine_stats_t",
    ]  # fmt: skip
    code = (
        "import ctypes, json, sys, pyzes\n"
        "print(json.dumps([ctypes.sizeof(getattr(pyzes, n)) for n in json.loads(sys.argv[1])]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(wanted)],
        env=fake_libraries.environment(tmp_path, libraries, intel=""),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    fake: Any = ctypes.CDLL(str(libraries / fake_libraries.INTEL_LIBRARY))
    fake.fake_size.restype = ctypes.c_size_t
    assert [fake.fake_size(name.encode()) for name in wanted] == json.loads(done.stdout)
