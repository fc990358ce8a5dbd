"""The structures pynvml and the fake library use, against the vendor's own header.

PyPI's `nvidia-nvml-dev` carries nvml.h: a C program prints sizes and offsets of its structures and
the values of its constants, and pynvml's must be the same.
"""

import ctypes
import importlib.metadata
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pynvml
import pytest

STRUCTURES: dict[str, Any] = {  # nvml.h -> pynvml
    "nvmlUtilization_t": pynvml.c_nvmlUtilization_t,
    "nvmlMemory_t": pynvml.c_nvmlMemory_t,
    "nvmlMemory_v2_t": pynvml.c_nvmlMemory_v2_t,
    "nvmlTemperature_v1_t": pynvml.c_nvmlTemperature_v1_t,
    "nvmlValue_t": pynvml.c_nvmlValue_t,
    "nvmlFieldValue_t": pynvml.c_nvmlFieldValue_t,
    "nvmlGpmMetric_t": pynvml.c_nvmlGpmMetric_t,
    "nvmlGpmSupport_t": pynvml.c_nvmlGpmSupport_t,
    "nvmlProcessInfo_t": pynvml.c_nvmlProcessInfo_v3_t,
    "nvmlEventData_t": pynvml.c_nvmlEventData_t,
}
CONSTANTS = (
    "NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
    "NVML_FI_DEV_POWER_INSTANT",
    "NVML_FI_DEV_POWER_AVERAGE",
    "NVML_FI_DEV_MEMORY_TEMP",
    "NVML_FI_DEV_PCIE_COUNT_TX_BYTES",
    "NVML_FI_DEV_PCIE_COUNT_RX_BYTES",
    "NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN",
    "NVML_FI_DEV_ECC_SBE_VOL_TOTAL",
    "NVML_FI_DEV_ECC_DBE_VOL_TOTAL",
    "NVML_FI_DEV_REMAPPED_COR",
    "NVML_FI_DEV_REMAPPED_FAILURE",
    "NVML_GPM_METRIC_SM_UTIL",
    "NVML_GPM_METRIC_SM_OCCUPANCY",
    "NVML_GPM_METRIC_ANY_TENSOR_UTIL",
    "NVML_GPM_METRIC_DRAM_BW_UTIL",
    "NVML_ERROR_GPU_IS_LOST",
    "NVML_ERROR_TIMEOUT",
    "NVML_CLOCK_SM",
    "NVML_CLOCK_MEM",
    "nvmlEventTypeXidCriticalError",
)


@pytest.fixture(scope="module")
def header(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a program compiled with nvml.h prints."""
    files = importlib.metadata.files("nvidia-nvml-dev") or []
    path = next(Path(str(one.locate())) for one in files if one.name == "nvml.h")
    asked = [
        f'P("{name}.{member}", offsetof({name}, {member}))'
        for name, kind in STRUCTURES.items()
        for member, *_ in kind._fields_
        if member != "metricInfo"
    ]
    asked += [f'P("{name}", sizeof({name}))' for name in STRUCTURES]
    asked += [f'P("{name}", {name})' for name in CONSTANTS]
    asked += ['P("metrics", offsetof(nvmlGpmMetricsGet_t, metrics))']
    asked += ['P("nvmlMemory_v2", nvmlMemory_v2)', 'P("room", sizeof(nvmlGpmMetricsGet_t))']
    lines = "; ".join(asked)
    source = tmp_path_factory.mktemp("header") / "sizes.c"
    source.write_text(
        "#include <stddef.h>\n#include <stdio.h>\n#include <nvml.h>\n"
        '#define P(name, value) printf("%s\\"%s\\": %llu", comma++ ? "," : "{", name, '
        "(unsigned long long)(value))\n"
        f'int main(void) {{ int comma = 0; {lines}; puts("}}"); return 0; }}\n'
    )
    program = source.with_suffix("")
    compiler = os.environ.get("CC", "cc")
    subprocess.run([compiler, f"-I{path.parent}", str(source), "-o", str(program)], check=True)
    done = subprocess.run([str(program)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_structure_of_pynvml_is_that_of_the_header(header: Any, name: str) -> None:
    kind = STRUCTURES[name]
    assert ctypes.sizeof(kind) == header[name]
    members = [member for member, *_ in kind._fields_ if member != "metricInfo"]
    ours = {member: getattr(kind, member).offset for member in members}
    assert ours == {member: header[f"{name}.{member}"] for member in members}


def test_constants_and_versions_are_those_of_the_header(header: Any) -> None:
    ours = {name: getattr(pynvml, name) for name in CONSTANTS}
    assert ours == {name: header[name] for name in CONSTANTS}
    assert pynvml.nvmlMemory_v2 == header["nvmlMemory_v2"]
    assert pynvml.c_nvmlGpmMetricsGet_t.metrics.offset == header["metrics"]
    # the library writes only the metrics asked for, so room for fewer than it knows is enough
    assert ctypes.sizeof(pynvml.c_nvmlGpmMetricsGet_t) <= header["room"]
