"""The real pynvml, driven through a libnvidia-ml.so.1 that obeys a script."""

from pathlib import Path
from typing import Any

import pytest

from profiles.devices.nvidia.gpm import METRICS
from profiles.devices.nvidia.gpu import FIELDS, STATE_FIELDS
from profiles.devices.nvidia.reader import retry_after_s
from tests.profiles import fake_nvml
from tests.profiles.sampling import READER

UUID = "GPU-{:08d}-0000-0000-0000-000000000000"


def test_values_units_and_identity(read_gpus: Any) -> None:
    told = read_gpus(
        "- gpus 2\n- driver 580.11\n"
        "* energy_stands 1\n"
        "1 name NVIDIA H200\n1 uuid GPU-abc\n1 util 63\n1 mem_total 150000000000\n"
        "1 mem_used 5000000000\n1 sm_mhz 1755\n1 mem_mhz 2619\n1 mem_temp_c 71\n1 temp_c 58\n"
        "1 power_mw 361250\n1 limit_mw 700000\n"
        "1 energy_mj 5123456789012\n"  # does not fit 32 bits
        "1 throttle_power_ns 1500000000\n1 throttle_thermal_ns 2500000000\n"
        "1 throttle_hw_ns 3500000000\n1 throttle_brake_ns 4500000000\n"
        "1 pcie_tx 6000000000\n1 pcie_rx 7000000000\n",
        times_s=(3.5,),
    )
    assert told["info"][1] == {
        "node": "n1",
        "index": 1,
        "uuid": "GPU-abc",
        "name": "NVIDIA H200",
        "mem_total_bytes": 150_000_000_000,
        "power_limit_w": 700.0,
        "driver": "580.11",
    }
    first, second = told["cycles"][0]
    assert second.pop("read_s") == 0.0  # on a clock that stands
    assert (first["index"], first["uuid"]) == (0, UUID.format(0))
    assert second == {
        "t_s": 3.5,
        "node": "n1",
        "index": 1,
        "uuid": "GPU-abc",
        "util_pct": 63,
        "sm_active_pct": None,  # no GPM before Hopper
        "sm_occupancy_pct": None,
        "gpm_span_s": None,
        "tensor_pct": None,
        "dram_pct": None,
        "mem_used_bytes": 5_000_000_000,
        "power_w": 361.25,  # 361,250 mW
        "power_average_w": 361.25,
        "energy_j": 5_123_456_789.012,  # mJ / 1000
        "sm_clock_mhz": 1755,
        "mem_clock_mhz": 2619,
        "temp_c": 58,
        "mem_temp_c": 71.0,
        "parent_uuid": None,
        "throttle_power_s": 1.5,  # 1.5e9 ns
        "throttle_thermal_s": 2.5,
        "throttle_hw_thermal_s": 3.5,
        "throttle_brake_s": 4.5,
        "pcie_rx_bytes": 7_000_000_000,
        "pcie_tx_bytes": 6_000_000_000,
        "lag_s": 0.25,  # due at 3.25
    }
    assert told["faults"] == []


# (what the GPU answers with an error, the attributes it can then not tell)
CANNOT: list[tuple[str, set[str]]] = [
    ("", set()),
    ("error:util 3", {"util_pct"}),  # as on a GPU cut up by MIG
    ("error:memory_v2 13", set()),  # an older driver: the first version serves
    ("error:memory_v2 3|error:memory 3", {"mem_used_bytes"}),
    ("error:temp_v 13", set()),
    ("error:temp_v 3|error:temp 3", {"temp_c"}),
    ("error:clock 3", {"sm_clock_mhz", "mem_clock_mhz"}),
    ("error:field:186 3", set()),  # power from its own call
    ("error:field:186 2|error:power 4", {"power_w"}),
    ("error:field:83 3", {"energy_j"}),
    ("error:fields 13", set(FIELDS) - {"power_w"}),  # no field values
    ("error:field:197 3|error:field:270 3", {"pcie_tx_bytes", "throttle_hw_thermal_s"}),
]
TOLD = set(FIELDS) | {"util_pct", "mem_used_bytes", "sm_clock_mhz", "mem_clock_mhz", "temp_c"}


def test_what_a_gpu_cannot_tell_is_none_and_the_rest_is_told(read_gpus: Any) -> None:
    lines = [f"- gpus {len(CANNOT)}"]
    for index, (errors, _) in enumerate(CANNOT):
        lines += [f"{index} {error}" for error in errors.split("|") if error]
    told = read_gpus("\n".join(lines))
    for (errors, missing), sample in zip(CANNOT, told["cycles"][0], strict=True):
        assert {name for name in TOLD if sample[name] is None} == missing, errors
    assert told["cycles"][0][7]["power_w"] == 350.0  # 350,000 mW from nvmlDeviceGetPowerUsage
    assert told["faults"] == []  # not able is no fault


def test_one_field_values_call_a_cycle(read_gpus: Any) -> None:
    told = read_gpus("", times_s=(0.1, 0.2, 0.3))
    assert told["field_calls"] == 1 + 3  # one to find out what there is, one a cycle


def test_a_reading_that_fails_is_none_and_told_once(read_gpus: Any) -> None:
    told = read_gpus("- gpus 2\n1 error:util 999\n1 error:field:83 10\n", times_s=(0.1, 0.2, 0.3))
    for first, second in told["cycles"]:
        assert first["util_pct"] == 97
        assert second["util_pct"] is None
        assert second["energy_j"] is None
        assert second["power_w"] == 350.0
    assert told["faults"] == [
        ["gpu_error", f"GPU 1 ({UUID.format(1)}): energy_j: Timeout"],
        ["gpu_error", f"GPU 1 ({UUID.format(1)}): util_pct: Unknown Error"],
    ]


def test_a_lost_gpu_is_told_and_taken_up_again_while_others_go_on(read_gpus: Any) -> None:
    told = read_gpus("- gpus 2\n0 lost_after_s 0.1\n0 back_after_s 0.3\n", (), until="gpu_back")
    seen = [tuple(sample["index"] for sample in cycle) for cycle in told["cycles"]]
    assert [kind for kind, _ in told["faults"]] == ["gpu_lost", "gpu_back"]
    assert told["faults"][0][1] == f"GPU 0 ({UUID.format(0)}): GPU is lost"
    assert set(seen) == {(0, 1), (1,)}
    assert seen[0] == seen[-1] == (0, 1)


def test_a_lost_gpu_is_not_asked_at_every_cycle(read_gpus: Any) -> None:
    # lost when first sampled; back in no time, but asked again only five seconds on
    code = READER.replace("t_s + 10", "t_s + 1")
    told = read_gpus("0 lost_after_s 0.1\n0 back_after_s 0.3\n", (), until="gpu_back", code=code)
    gone = [cycle for cycle in told["cycles"] if not cycle]
    assert len(gone) >= 5
    assert len(gone) % 5 == 0


def test_a_gpu_that_is_lost_for_days_is_still_asked() -> None:
    assert [retry_after_s(tries) for tries in (0, 1, 3, 4, 100_000)] == [5, 10, 40, 60, 60]


def test_a_gpu_that_cannot_be_opened_leaves_the_others(read_gpus: Any) -> None:
    told = read_gpus("- gpus 3\n1 lost_after_s 0\n")
    assert told["faults"] == [["gpu_error", "GPU 1 cannot be opened: GPU is lost"]]
    assert [sample["index"] for sample in told["cycles"][0]] == [0, 2]


def test_a_gpu_may_say_in_any_reading_that_it_is_lost(read_gpus: Any) -> None:
    told = read_gpus("- gpus 2\n1 error:field:83 15\n", times_s=(1.0, 2.0, 7.0))
    assert told["faults"] == [["gpu_lost", f"GPU 1 ({UUID.format(1)}): GPU is lost"]]
    assert [[sample["index"] for sample in cycle] for cycle in told["cycles"]] == [[0]] * 3


def test_gpm_gives_an_average_a_second_once(read_gpus: Any) -> None:
    told = read_gpus(
        "- gpus 2\n1 gpm 1\n1 gpm_sm 81.5\n1 gpm_occupancy 24\n1 gpm_tensor 37.25\n1 gpm_dram 62\n",
        times_s=(0.0, 0.1, 0.5, 1.1, 1.5, 2.2),
    )
    names = ("sm_active_pct", "sm_occupancy_pct", "tensor_pct", "dram_pct", "gpm_span_s")
    averages = [[cycle[1][name] for name in names] for cycle in told["cycles"]]
    none = [None] * 5
    first, second = [81.5, 24.0, 37.25, 62.0, 1.0], [81.5, 24.0, 37.25, 62.0, 1.1]
    # GPU 1 looks 0.1 s after GPU 0, so that the eight of a node do not look at once
    assert averages == [none, none, none, first, none, second]
    assert all(cycle[0][name] is None for cycle in told["cycles"] for name in names)


def test_gpm_that_fails_is_told_once_and_none(read_gpus: Any) -> None:
    told = read_gpus("0 gpm 1\n0 error:gpm_get 999\n", times_s=(0.0, 1.0, 2.0))
    assert [cycle[0]["tensor_pct"] for cycle in told["cycles"]] == [None] * 3
    assert told["faults"] == [["gpu_error", f"GPU 0 ({UUID.format(0)}): gpm: Unknown Error"]]


@pytest.mark.parametrize("code", [9, 12, 28])  # driver not loaded, no library, no GPU
def test_no_driver_is_no_gpu(read_gpus: Any, code: int) -> None:
    told = read_gpus(f"- init {code}\n")
    assert (told["count"], told["cycles"], told["faults"]) == (0, [[]], [])


@pytest.mark.parametrize(
    ("code", "cause", "remedy"),
    [
        (18, "version mismatch", "restart the machine"),
        (4, "Insufficient Permissions", "/dev/nvidia*"),
        (13, "Function Not Found", "update it"),
        (999, "Unknown Error", "nvidia-smi"),
    ],
)
def test_a_driver_that_cannot_be_asked_is_named_with_its_remedy(
    read_gpus: Any, code: int, cause: str, remedy: str
) -> None:
    error = read_gpus(f"- init {code}\n")["error"]
    assert cause in error
    assert remedy in error


@pytest.mark.parametrize(
    ("source", "remedy"),
    [("nvmlMemory_v2 = 1\n", "pip uninstall -y pynvml"), ("raise ImportError\n", "pip install")],
)
def test_a_package_that_hides_the_real_one(
    read_gpus: Any, tmp_path: Path, source: str, remedy: str
) -> None:
    package = tmp_path / "shadow" / "pynvml"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(source)
    root = Path(fake_nvml.__file__).parents[2]
    assert remedy in read_gpus("", PYTHONPATH=f"{package.parent}:{root}")["error"]


STRUCTURES = """
import ctypes, json, pynvml
from profiles.devices.nvidia.gpm import METRICS
from profiles.devices.nvidia.gpu import FIELDS, STATE_FIELDS
size = ctypes.CDLL("libnvidia-ml.so.1").fake_size
size.restype = ctypes.c_size_t
ours = {name: size(name.encode()) for name in ("utilization_t", "memory_t", "memory_v2_t",
    "temperature_t", "value_t", "field_t", "gpm_metric_t", "gpm_support_t", "process_t",
    "event_t", "gpm_t.metrics")}
theirs = {
    "utilization_t": ctypes.sizeof(pynvml.c_nvmlUtilization_t),
    "memory_t": ctypes.sizeof(pynvml.c_nvmlMemory_t),
    "memory_v2_t": ctypes.sizeof(pynvml.c_nvmlMemory_v2_t),
    "temperature_t": ctypes.sizeof(pynvml.c_nvmlTemperature_v1_t),
    "value_t": ctypes.sizeof(pynvml.c_nvmlValue_t),
    "field_t": ctypes.sizeof(pynvml.c_nvmlFieldValue_t),
    "gpm_metric_t": ctypes.sizeof(pynvml.c_nvmlGpmMetric_t),
    "gpm_support_t": ctypes.sizeof(pynvml.c_nvmlGpmSupport_t),
    "process_t": ctypes.sizeof(pynvml.c_nvmlProcessInfo_v3_t),
    "event_t": ctypes.sizeof(pynvml.c_nvmlEventData_t),
    "gpm_t.metrics": pynvml.c_nvmlGpmMetricsGet_t.metrics.offset,
}
versions = {"memory_v2_t": pynvml.nvmlMemory_v2 & 0xFFFFFF,
    "temperature_t": pynvml.nvmlTemperature_v1 & 0xFFFFFF}
fields = {
    "energy_j": pynvml.NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION,
    "power_w": pynvml.NVML_FI_DEV_POWER_INSTANT,
    "throttle_power_s": pynvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_POWER_CAP,
    "throttle_thermal_s": pynvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN,
    "throttle_hw_thermal_s": pynvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN,
    "throttle_brake_s": pynvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN,
    "pcie_tx_bytes": pynvml.NVML_FI_DEV_PCIE_COUNT_TX_BYTES,
    "pcie_rx_bytes": pynvml.NVML_FI_DEV_PCIE_COUNT_RX_BYTES,
    "power_average_w": pynvml.NVML_FI_DEV_POWER_AVERAGE,
    "mem_temp_c": pynvml.NVML_FI_DEV_MEMORY_TEMP,
}
states = {
    "ecc_corrected": pynvml.NVML_FI_DEV_ECC_SBE_VOL_TOTAL,
    "ecc_uncorrected": pynvml.NVML_FI_DEV_ECC_DBE_VOL_TOTAL,
    "rows_corrected": pynvml.NVML_FI_DEV_REMAPPED_COR,
    "rows_uncorrected": pynvml.NVML_FI_DEV_REMAPPED_UNC,
    "rows_pending": pynvml.NVML_FI_DEV_REMAPPED_PENDING,
    "rows_failed": pynvml.NVML_FI_DEV_REMAPPED_FAILURE,
}
metrics = {
    "sm_active_pct": pynvml.NVML_GPM_METRIC_SM_UTIL,
    "sm_occupancy_pct": pynvml.NVML_GPM_METRIC_SM_OCCUPANCY,
    "tensor_pct": pynvml.NVML_GPM_METRIC_ANY_TENSOR_UTIL,
    "dram_pct": pynvml.NVML_GPM_METRIC_DRAM_BW_UTIL,
}
print(json.dumps({"ours": ours, "theirs": theirs, "versions": versions, "fields": fields,
    "states": states, "metrics": metrics}))
"""


def test_structures_and_fields_are_those_of_pynvml(read_gpus: Any) -> None:
    told = read_gpus("", code=STRUCTURES)
    assert told["ours"] == told["theirs"]
    assert told["versions"].items() <= told["theirs"].items()  # a version holds its size
    assert told["fields"] == {name: number for name, (number, _) in FIELDS.items()}
    assert told["states"] == {name: number for name, (number, _) in STATE_FIELDS.items()}
    assert told["metrics"] == METRICS
