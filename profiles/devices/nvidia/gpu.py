"""One NVIDIA GPU: what it was found able to tell, and what it tells now.

`lib` is the pynvml module, opened by profiles.devices.nvidia.reader. A reading that a GPU does not
have is left out (None in the record) and named in `unable`; one that fails is left out and told
once; only a lost GPU raises.
"""

import time
from collections.abc import Callable
from typing import Any

from profiles.devices.call_costs import Costs
from profiles.devices.nvidia.gpm import METRICS, Gpm
from profiles.devices.nvidia.mig import Instance, instances
from profiles.devices.nvidia.return_codes import LOST, NEVER, NOT_SUPPORTED, why_not
from profiles.schema import GpuInfo

# GpuSample's attribute -> (NVML field, its steps a unit of ours; None: a whole number as it is).
# Fields are numbers here, not pynvml's names, so that an older pynvml still loads.
FIELDS: dict[str, tuple[int, float | None]] = {
    "energy_j": (83, 1e3),  # mJ
    "power_w": (186, 1e3),  # mW, instant
    "power_average_w": (185, 1e3),  # mW, over the second before
    "throttle_power_s": (74, 1e9),  # ns below the wanted clock, by the software power cap
    "throttle_thermal_s": (269, 1e9),  # by software, for temperature
    "throttle_hw_thermal_s": (270, 1e9),  # by hardware, for temperature
    "throttle_brake_s": (271, 1e9),  # by the external power brake
    "pcie_tx_bytes": (197, None),
    "pcie_rx_bytes": (198, None),
    "mem_temp_c": (82, 1.0),
}
# GpuState's, asked before and after the run
STATE_FIELDS: dict[str, tuple[int, float | None]] = {
    "ecc_corrected": (3, None),  # since the driver was loaded
    "ecc_uncorrected": (4, None),
    "rows_corrected": (142, None),
    "rows_uncorrected": (143, None),
    "rows_pending": (144, None),
    "rows_failed": (145, None),
}
VALUE_TYPES = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")  # nvmlValueType_t
NO_GPM = "no GPM: it wants a GPU of the Hopper generation or later"


class Gpu:
    """A GPU held open.

    Args:
        lib: pynvml.
        node: this machine's name.
        index: NVML's number of it.
        costs: takes what each call cost.

    Raises:
        NVMLError: its UUID cannot be read.
    """

    def __init__(self, lib: Any, node: str, index: int, costs: Costs) -> None:
        self._lib = lib
        self._costs = costs
        self.handle = lib.nvmlDeviceGetHandleByIndex(index)
        self.info = describe(lib, node, index, self.handle)
        self.lost_until_s: float | None = None  # when to ask a lost GPU again; None: it answers
        self.tries = 0  # how often it was asked in vain since it was lost
        self.unable: dict[str, str] = {}  # reading -> why it cannot be told
        self.instances: list[Instance] = []  # of MIG
        self._names: list[str] = []
        self._numbers: list[tuple[int, int]] = []  # field and scope
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
        codes = self._ask(list(FIELDS), [(number, 0) for number, _ in FIELDS.values()])[1]
        self.unable = {name: why_not(code) for name, code in codes.items() if code in NEVER}
        self._names = [name for name in FIELDS if name not in self.unable]
        self._numbers = [(FIELDS[name][0], 0) for name in self._names]
        # held, or ctypes makes the type of pynvml's array anew at every call
        self._array_type = lib.c_nvmlFieldValue_t * len(self._names)
        self._calls = {}
        for name, calls in self._ways().items():
            for call in calls:
                code = self._try(call)[1]
                if code not in NEVER:
                    self._calls[name] = call
                    self.unable.pop(name, None)
                    break
                self.unable[name] = why_not(code)
        self.close()
        self._gpm, code = self._open(lambda: Gpm.open(lib, self.handle, self.info.index % 10 / 10))
        if self._gpm is None:
            no_gpm = NO_GPM if code in (0, NOT_SUPPORTED) else why_not(code)
            self.unable |= dict.fromkeys(METRICS, no_gpm)
        found, _ = self._open(lambda: instances(lib, self.handle, self.info.index))
        self.instances = found or []

    def recover(self) -> None:
        """Take the GPU up again, by its UUID: after it was lost, or NVML was opened anew.

        Raises:
            NVMLError: it is lost.
        """
        self.handle = self._lib.nvmlDeviceGetHandleByUUID(self.info.uuid.encode())
        self.probe()
        self.lost_until_s = None
        self.tries = 0

    def read(self, t_s: float) -> tuple[dict[str, Any], list[str]]:
        """GpuSample's attributes that are known now, and what failed for the first time.

        Raises:
            NVMLError: the GPU is lost.
        """
        before_s = time.perf_counter()
        values, codes = self._ask(self._names, self._numbers)
        before_s = self._cost("fields", before_s)
        for name, call in self._calls.items():
            value, codes[name] = self._try(call)
            if value is not None:
                values[name] = value
            before_s = self._cost(name, before_s)
        if self._gpm:
            averages, codes["gpm"] = self._gpm.read(t_s)
            values |= averages
            if averages:
                self._cost("gpm", before_s)
        failed = {(name, code) for name, code in codes.items() if code} - self._told
        self._told |= failed
        return values, [f"{name}: {self._lib.NVMLError(code)}" for name, code in sorted(failed)]

    def state(self) -> dict[str, Any]:
        """GpuState's error counts that are known now.

        Raises:
            NVMLError: the GPU is lost.
        """
        numbers = [(number, 0) for number, _ in STATE_FIELDS.values()]
        values = self._ask(list(STATE_FIELDS), numbers, STATE_FIELDS)[0]
        for name in ("rows_pending", "rows_failed"):
            if name in values:
                values[name] = bool(values[name])
        return values

    def mem_used_bytes(self) -> int | None:
        """Memory in use; None where it cannot be told.

        Raises:
            NVMLError: the GPU is lost.
        """
        call = self._calls.get("mem_used_bytes")
        return self._try(call)[0] if call else None

    def close(self) -> None:
        """Free what the averages hold."""
        if self._gpm:
            self._gpm.close()
            self._gpm = None
        for instance in self.instances:
            instance.close()
        self.instances = []

    def _ways(self) -> dict[str, list[Callable[[Any], Any]]]:
        """The calls that may give a reading, the best first."""
        lib = self._lib
        ways: dict[str, list[Callable[[Any], Any]]] = {
            "util_pct": [lambda h: lib.nvmlDeviceGetUtilizationRates(h).gpu],
            "mem_used_bytes": [
                lambda h: lib.nvmlDeviceGetMemoryInfo(h, lib.nvmlMemory_v2).used,
                lambda h: lib.nvmlDeviceGetMemoryInfo(h).used,
            ],
            "sm_clock_mhz": [lambda h: lib.nvmlDeviceGetClockInfo(h, lib.NVML_CLOCK_SM)],
            "mem_clock_mhz": [lambda h: lib.nvmlDeviceGetClockInfo(h, lib.NVML_CLOCK_MEM)],
            "temp_c": [
                lambda h: lib.nvmlDeviceGetTemperatureV(h, lib.NVML_TEMPERATURE_GPU),
                lambda h: lib.nvmlDeviceGetTemperature(h, lib.NVML_TEMPERATURE_GPU),
            ],
        }
        if "power_w" not in self._names:  # before Ampere: no instant power field
            ways["power_w"] = [lambda h: lib.nvmlDeviceGetPowerUsage(h) / 1e3]
        return ways

    def _cost(self, call: str, before_s: float) -> float:
        now_s = time.perf_counter()
        self._costs.add(call, now_s - before_s)
        return now_s

    def _try(self, call: Callable[[Any], Any]) -> tuple[Any, int]:
        return self._open(lambda: call(self.handle))

    def _open(self, call: Callable[[], Any]) -> tuple[Any, int]:
        try:
            return call(), 0
        except self._lib.NVMLError as err:
            if err.value in LOST:
                raise
            return None, int(err.value)

    def _ask(
        self,
        names: list[str],
        numbers: list[tuple[int, int]],
        table: dict[str, tuple[int, float | None]] = FIELDS,
    ) -> tuple[dict[str, Any], dict[str, int]]:
        """Values of the fields, and the return code of each."""
        if not names:
            return {}, {}
        answers, code = self._try(lambda h: self._lib.nvmlDeviceGetFieldValues(h, numbers))
        if code:
            return {}, dict.fromkeys(names, code)
        values: dict[str, Any] = {}
        codes: dict[str, int] = {}
        for name, answer in zip(names, answers, strict=True):
            code = codes[name] = answer.nvmlReturn
            if code == 0:
                value = getattr(answer.value, VALUE_TYPES[answer.valueType])
                per_unit = table[name][1]
                values[name] = int(value) if per_unit is None else value / per_unit
            elif code in LOST:
                raise self._lib.NVMLError(code)
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
