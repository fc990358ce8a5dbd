"""One NVIDIA GPU: what it was found able to tell, and what it tells now.

`lib` is the pynvml module, opened by profiles.nvml. A reading that a GPU does not have is left out
(None in the record); one that fails is left out and told once; only a lost GPU raises.
"""

from collections.abc import Callable
from typing import Any

from profiles.gpm import Gpm
from profiles.schema import GpuInfo

# GpuSample's attribute -> (NVML field, its steps a unit of ours; None: a whole number as it is).
# Fields are numbers here, not pynvml's names, so that an older pynvml still loads.
FIELDS: dict[str, tuple[int, float | None]] = {
    "energy_j": (83, 1e3),  # mJ
    "power_w": (186, 1e3),  # mW, instant
    "throttle_power_s": (74, 1e9),  # ns below the wanted clock, by the software power cap
    "throttle_thermal_s": (269, 1e9),  # by software, for temperature
    "throttle_hw_thermal_s": (270, 1e9),  # by hardware, for temperature
    "throttle_brake_s": (271, 1e9),  # by the external power brake
    "pcie_tx_bytes": (197, None),
    "pcie_rx_bytes": (198, None),
}
VALUE_TYPES = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")  # nvmlValueType_t

# NVML return codes
INVALID_ARGUMENT, NOT_SUPPORTED, NO_PERMISSION, FUNCTION_NOT_FOUND = 2, 3, 4, 13
GPU_IS_LOST, RESET_REQUIRED, GPU_NOT_FOUND = 15, 16, 28
ARGUMENT_VERSION_MISMATCH, DEPRECATED = 25, 26

NEVER = {  # asking again will not help
    INVALID_ARGUMENT,
    NOT_SUPPORTED,
    NO_PERMISSION,
    FUNCTION_NOT_FOUND,
    ARGUMENT_VERSION_MISMATCH,
    DEPRECATED,
}
LOST = {GPU_IS_LOST, RESET_REQUIRED, GPU_NOT_FOUND}


class Gpu:
    """A GPU held open.

    Raises:
        NVMLError: its UUID cannot be read.
    """

    def __init__(self, lib: Any, node: str, index: int) -> None:
        self._lib = lib
        self._handle = lib.nvmlDeviceGetHandleByIndex(index)
        self.info = describe(lib, node, index, self._handle)
        self.lost_until_s: float | None = None  # when to ask a lost GPU again; None: it answers
        self._fields: list[str] = []
        self._calls: dict[str, Callable[[Any], float | int]] = {}
        self._gpm: Gpm | None = None
        self._told: set[tuple[str, int]] = set()  # faults already told: (reading, code)
        self._array_type: object = None

    def __str__(self) -> str:
        return f"GPU {self.info.index} ({self.info.uuid})"

    def probe(self) -> None:
        """Find out what the GPU can tell.

        Raises:
            NVMLError: it is lost.
        """
        lib = self._lib
        self._fields = list(FIELDS)
        codes = self._ask_fields()[1]
        self._fields = [name for name, code in codes.items() if code not in NEVER]
        # held, or ctypes makes the type of pynvml's array anew at every call
        self._array_type = lib.c_nvmlFieldValue_t * len(self._fields)
        ways: dict[str, list[Callable[[Any], Any]]] = {
            "util_pct": [lambda h: lib.nvmlDeviceGetUtilizationRates(h).gpu],
            "mem_used_bytes": [
                lambda h: lib.nvmlDeviceGetMemoryInfo(h, lib.nvmlMemory_v2).used,
                lambda h: lib.nvmlDeviceGetMemoryInfo(h).used,
            ],
            "sm_clock_mhz": [lambda h: lib.nvmlDeviceGetClockInfo(h, lib.NVML_CLOCK_SM)],
            "temp_c": [
                lambda h: lib.nvmlDeviceGetTemperatureV(h, lib.NVML_TEMPERATURE_GPU),
                lambda h: lib.nvmlDeviceGetTemperature(h, lib.NVML_TEMPERATURE_GPU),
            ],
        }
        if "power_w" not in self._fields:  # before Ampere: no instant power field
            ways["power_w"] = [lambda h: lib.nvmlDeviceGetPowerUsage(h) / 1e3]
        self._calls = {}
        for name, calls in ways.items():
            for call in calls:
                if self._try(call)[1] not in NEVER:
                    self._calls[name] = call
                    break
        self.close()
        self._gpm = Gpm.open(lib, self._handle)

    def recover(self) -> None:
        """Take a lost GPU up again.

        Raises:
            NVMLError: it is still lost.
        """
        self._handle = self._lib.nvmlDeviceGetHandleByUUID(self.info.uuid.encode())
        self.probe()
        self.lost_until_s = None

    def read(self, t_s: float) -> tuple[dict[str, Any], list[str]]:
        """GpuSample's attributes that are known now, and what failed for the first time.

        Raises:
            NVMLError: the GPU is lost.
        """
        values, codes = self._ask_fields()
        for name, call in self._calls.items():
            value, codes[name] = self._try(call)
            if value is not None:
                values[name] = value
        if self._gpm:
            averages, codes["gpm"] = self._gpm.read(t_s)
            values |= averages
        failed = {(name, code) for name, code in codes.items() if code} - self._told
        self._told |= failed
        return values, [f"{name}: {self._lib.NVMLError(code)}" for name, code in sorted(failed)]

    def close(self) -> None:
        """Free what the GPU's averages hold."""
        if self._gpm:
            self._gpm.close()
            self._gpm = None

    def _try(self, call: Callable[[Any], Any]) -> tuple[Any, int]:
        try:
            return call(self._handle), 0
        except self._lib.NVMLError as err:
            if err.value in LOST:
                raise
            return None, int(err.value)

    def _ask_fields(self) -> tuple[dict[str, Any], dict[str, int]]:
        """Values of the fields, and the return code of each."""
        if not self._fields:
            return {}, {}
        numbers = [FIELDS[name][0] for name in self._fields]
        answers, code = self._try(lambda h: self._lib.nvmlDeviceGetFieldValues(h, numbers))
        if code:
            return {}, dict.fromkeys(self._fields, code)
        values: dict[str, Any] = {}
        codes: dict[str, int] = {}
        for name, answer in zip(self._fields, answers, strict=True):
            codes[name] = answer.nvmlReturn
            if answer.nvmlReturn in LOST:
                raise self._lib.NVMLError(answer.nvmlReturn)
            if answer.nvmlReturn == 0:
                value = getattr(answer.value, VALUE_TYPES[answer.valueType])
                per_unit = FIELDS[name][1]
                values[name] = int(value) if per_unit is None else value / per_unit
        return values, codes


def describe(lib: Any, node: str, index: int, handle: Any) -> GpuInfo:
    """A GPU, or a MIG instance of one, as the driver describes it.

    Raises:
        NVMLError: its UUID cannot be read.
    """

    def told(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except lib.NVMLError:
            return None  # the contract: what a GPU cannot tell is None

    limit_mw = told(lambda: lib.nvmlDeviceGetEnforcedPowerLimit(handle))
    memory = told(lambda: lib.nvmlDeviceGetMemoryInfo(handle, lib.nvmlMemory_v2))
    memory = memory or told(lambda: lib.nvmlDeviceGetMemoryInfo(handle))
    return GpuInfo(
        node=node,
        index=index,
        uuid=lib.nvmlDeviceGetUUID(handle),
        name=told(lambda: lib.nvmlDeviceGetName(handle)) or "NVIDIA GPU",
        mem_total_bytes=memory.total if memory else None,
        power_limit_w=None if limit_mw is None else limit_mw / 1e3,
        driver=told(lib.nvmlSystemGetDriverVersion),
    )
