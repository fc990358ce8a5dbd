"""AMD's GPUs as the real amdsmi tells them, over a libamd_smi.so that obeys a script."""

import ctypes
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.profiles import fake_libraries
from tests.profiles.vendor_reading import Read, reading

if fake_libraries.package("amdsmi") is None:
    pytest.skip("amdsmi is not installed: pip install amdsmi", allow_module_level=True)


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_libraries.build_amd(tmp_path_factory.mktemp("amd"))


@pytest.fixture
def read(tmp_path: Path, libraries: Path) -> Read:
    return reading(tmp_path, libraries, "amd")


def test_every_reading_in_its_unit(read: Read) -> None:
    told = read(
        "* current_w 0\n* energy_steps 1e9\n"
        "0 current_w 0\n0 gfx_pct 83\n0 vram_used 5000000000\n0 gfx_mhz 1950\n0 mem_mhz 1200\n"
        "0 edge_c 44\n0 hotspot_c 71\n0 vram_c 57\n"
    )
    [[sample]] = told["cycles"]
    assert sample.pop("energy_j") == pytest.approx(15_259, rel=1e-6)  # 1e9 steps of 15.259 uJ
    assert sample.pop("read_s") >= 0
    known = {name: value for name, value in sample.items() if value is not None}
    assert known == {
        "t_s": 0.0, "lag_s": 0.25, "node": "n1", "index": 3,
        "uuid": "00ff74a1-0000-1000-8000-000000000000",
        "power_w": 0, "util_pct": 83, "mem_used_bytes": 5_000_000_000,
        "sm_clock_mhz": 1950, "mem_clock_mhz": 1200, "temp_c": 44, "mem_temp_c": 57,
    }  # fmt: skip
    assert told["faults"] == []


def test_energy_is_power_over_time(read: Read) -> None:
    told = read("* current_w 500\n", cycles=2, apart_s=0.05)
    [first], [last] = told["cycles"]
    assert last["power_w"] == 500
    assert last["energy_j"] - first["energy_j"] >= 500 * 0.05 * 0.999  # and what reading took


def test_a_gpu_is_described(read: Read) -> None:
    [one, two] = read("- gpus 2\n1 name AMD Instinct MI300X\n1 cap_uw 550000000\n")["info"]
    assert (one["index"], two["index"]) == (3, 4)
    assert two == {
        "node": "n1", "index": 4, "uuid": "01ff74a1-0000-1000-8000-000000000000",
        "name": "AMD Instinct MI300X", "mem_total_bytes": 206_141_652_992,
        "power_limit_w": 550.0, "driver": "6.14.fake",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("script", "attribute", "value"),
    [
        ("* current_w -1\n* average_w 410\n", "power_w", 410),  # before the MI300
        ("* edge_c -1\n* hotspot_c 66\n", "temp_c", 66),  # Instincts have no sensor at the edge
    ],
)
def test_the_next_best_reading(read: Read, script: str, attribute: str, value: float) -> None:
    [[sample]] = read(script)["cycles"]
    assert sample[attribute] == value


@pytest.mark.parametrize(
    ("script", "attribute", "why"),
    [
        ("* current_w -1\n* average_w -1\n", "power_w", "not told by this GPU"),
        ("* error:power 2\n", "power_w", "NOT_SUPPORTED"),
        ("* error:energy 2\n", "energy_j", "NOT_SUPPORTED"),
        ("* step_uj 0\n", "energy_j", "a counter without its unit"),
        ("* gfx_pct -1\n", "util_pct", "not told by this GPU"),
        ("* gfx_mhz -1\n", "sm_clock_mhz", "not told by this GPU"),
        ("* hotspot_c -1\n", "temp_c", "NOT_SUPPORTED"),
        ("* vram_c -1\n", "mem_temp_c", "NOT_SUPPORTED"),
        ("* error:memory 10\n", "mem_used_bytes", "groups render and video"),
        ("", "tensor_pct", "no reading that means the same"),
        ("", "throttle_power_s", "no reading that means the same"),
    ],
)
def test_what_it_cannot_tell_is_null_and_named(
    read: Read, script: str, attribute: str, why: str
) -> None:
    told = read(script)
    [[sample]] = told["cycles"]
    assert sample[attribute] is None
    assert why in told["unable"][0][attribute]
    assert told["faults"] == []


def test_what_is_told_is_not_named_as_unable(read: Read) -> None:
    told = read("* edge_c 40\n")
    [[sample]] = told["cycles"]
    known = {name for name, value in sample.items() if value is not None}
    assert not known & set(told["unable"][0])


def test_a_reading_that_fails_is_null_and_told_once(read: Read) -> None:
    told = read("- gpus 2\n1 error:activity 30\n", cycles=3)  # AMDSMI_STATUS_BUSY
    for good, bad in told["cycles"]:
        assert (good["util_pct"], bad["util_pct"]) == (97, None)
        assert bad["power_w"] == 750
    [[kind, detail, uuid, _, _]] = told["faults"]
    assert kind == "gpu_error"
    assert detail.startswith("GPU 4 (01ff74a1")
    assert "amdsmi_get_gpu_activity: AMDSMI_STATUS_BUSY - Device busy (code 30)" in detail
    assert uuid == "01ff74a1-0000-1000-8000-000000000000"


def test_a_lost_gpu_is_told_and_taken_up_again(read: Read) -> None:
    told = read("- gpus 2\n0 lost_after_s 0.3\n0 back_after_s 0.6\n", until="gpu_back")
    kinds = [fault[0] for fault in told["faults"]]
    assert kinds == ["gpu_lost", "gpu_back"]
    assert {sample["index"] for sample in told["cycles"][-1]} == {3, 4}
    assert any([sample["index"] for sample in cycle] == [4] for cycle in told["cycles"])


@pytest.mark.parametrize("code", [31, 34, 51])  # no device, no driver
def test_no_driver_is_no_gpu(read: Read, code: int) -> None:
    told = read(f"- init {code}\n")
    assert (told["info"], told["cycles"], told["faults"]) == ([], [[]], [])


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("- init 10\n", ["NO_PERM", "groups render and video"]),
        ("- init 16\n", ["INTERNAL_EXCEPTION", "amd-smi list"]),
        ("* error:uuid 7\n", ["API_FAILED", "amd-smi list"]),
    ],
)
def test_a_driver_that_cannot_be_asked(read: Read, script: str, words: list[str]) -> None:
    said = read(script)["error"]
    assert all(word in said for word in words), said


def test_no_library_is_named_with_its_remedy_and_prints_nothing(read: Read) -> None:
    if Path("/opt/rocm/lib/libamd_smi.so").exists():
        pytest.skip("ROCm is installed")
    said = read("", drop=("LD_LIBRARY_PATH",))["error"]  # stdout is nothing but JSON
    assert "libamd_smi.so is not to be found: install ROCm's package amd-smi-lib" in said


def test_a_library_of_another_rocm(tmp_path: Path, libraries: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    source = tmp_path / "old.c"
    source.write_text("void amdsmi_free_name_value_pairs(void *p) { (void)p; }\n")
    subprocess.run(
        ["cc", "-shared", "-fPIC", str(source), "-o", str(old / "libamd_smi.so")], check=True
    )
    said = reading(tmp_path, old, "amd")("")["error"]
    assert "does not fit the ROCm that is installed" in said


def test_structures_are_as_large_as_the_packages(tmp_path: Path, libraries: Path) -> None:
    names = ["power_info", "engine_usage", "clk_info", "power_cap_info", "driver_info", "asic_info"]
    code = (
        "import ctypes, json, sys\nfrom amdsmi import amdsmi_wrapper as w\n"
        "print(json.dumps([ctypes.sizeof(getattr(w, n)) for n in json.loads(sys.argv[1])]))"
    )
    wanted = [f"amdsmi_{name}_t" for name in names]
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(wanted)],
        env=fake_libraries.environment(tmp_path, libraries, amd=""),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    fake: Any = ctypes.CDLL(str(libraries / fake_libraries.AMD_LIBRARY))
    fake.fake_size.restype = ctypes.c_size_t
    assert [fake.fake_size(name.encode()) for name in wanted] == json.loads(done.stdout)
