"""Level Zero Sysman as pyzes has it: return codes as exceptions, enumerations as lists."""

from ctypes import POINTER, Array, byref, c_uint32, c_void_p, cast, pointer
from typing import Any, NamedTuple

from profiles.devices.polled import LostError, ReadError, Unsupported

# ze_result_t
DEVICE_LOST, REQUIRES_RESET = 0x70000001, 0x70000006
NO_PERMISSION, NOT_AVAILABLE = 0x70010000, 0x70010001
DEPENDENCY_UNAVAILABLE, UNINITIALIZED, UNSUPPORTED_FEATURE = 0x70020000, 0x78000001, 0x78000003

LOST = {DEVICE_LOST, REQUIRES_RESET}
NEVER = {NO_PERMISSION, UNSUPPORTED_FEATURE}
REMEDIES = {
    NO_PERMISSION: "this user may not read it: add it to the groups render and video, and give a "
    "container /dev/dri and /sys"
}


class Kind(NamedTuple):
    """A kind of part: the call that enumerates it, and the one that describes one of it."""

    enumerate_call: str
    handle: str
    describe_call: str
    properties: str


POWER = Kind(
    "zesDeviceEnumPowerDomains", "zes_pwr_handle_t",
    "zesPowerGetProperties", "zes_power_properties_t",
)  # fmt: skip
MEMORY = Kind(
    "zesDeviceEnumMemoryModules", "zes_mem_handle_t",
    "zesMemoryGetProperties", "zes_mem_properties_t",
)  # fmt: skip
CLOCK = Kind(
    "zesDeviceEnumFrequencyDomains", "zes_freq_handle_t",
    "zesFrequencyGetProperties", "zes_freq_properties_t",
)  # fmt: skip
TEMPERATURE = Kind(
    "zesDeviceEnumTemperatureSensors", "zes_temp_handle_t",
    "zesTemperatureGetProperties", "zes_temp_properties_t",
)  # fmt: skip
ENGINE = Kind(
    "zesDeviceEnumEngineGroups", "zes_engine_handle_t",
    "zesEngineGetProperties", "zes_engine_properties_t",
)  # fmt: skip


class Sysman:
    """pyzes; every call raises Unsupported, ReadError or LostError where it does not succeed."""

    def __init__(self, lib: Any) -> None:
        self._lib = lib

    def check(self, code: int) -> None:
        """Raise unless `code` is success."""
        if code == 0:
            return
        said = self.said(code)
        if code in NEVER:
            raise Unsupported(said)
        raise (LostError if code in LOST else ReadError)(said)

    def said(self, code: int) -> str:
        """The code in Level Zero's words, with the remedy."""
        names = (name for name, value in vars(self._lib).items() if value == code)
        name = next((name for name in names if name.startswith("ZE_RESULT_")), "unknown result")
        remedy = f": {REMEDIES[code]}" if code in REMEDIES else ""
        return f"{name} ({code:#x}){remedy}"

    def ask(self, call: str, handle: Any, kind: str, extension: Any = None) -> Any:
        """A structure of that kind, as `call` fills it for `handle`; and `extension` beside it."""
        answer = getattr(self._lib, kind)()
        if hasattr(answer, "stype"):
            answer.stype = self._stype(kind)
        if extension is not None:
            answer.pNext = cast(pointer(extension), c_void_p)
        self.check(getattr(self._lib, call)(handle, byref(answer)))
        return answer

    def enumerate(self, call: str, kind: str, *owner: Any) -> list[Any]:
        """What `call` enumerates of `owner`, handles or structures of that kind."""
        count = c_uint32(0)
        enumerate_call = getattr(self._lib, call)
        self.check(enumerate_call(*owner, byref(count), None))
        found: Array[Any] = (getattr(self._lib, kind) * max(count.value, 1))()
        if count.value:
            self.check(enumerate_call(*owner, byref(count), found))
        return [found[at] for at in range(count.value)]

    def parts(self, device: Any, kind: Kind) -> list[tuple[Any, Any]]:
        """(handle, properties) of a kind of parts: the whole GPU's if it has any, or its tiles'.

        Raises:
            Unsupported: it has none.
        """
        found = [
            (handle, self.ask(kind.describe_call, handle, kind.properties))
            for handle in self.enumerate(kind.enumerate_call, kind.handle, device)
        ]
        if not found:
            raise Unsupported("this GPU has none")
        return [one for one in found if not one[1].onSubdevice] or found

    def power_domain(self, handle: Any) -> int:
        """Of which part the domain tells the power (zes_power_domain_t); 0 where not told."""
        extension = self._lib.zes_power_ext_properties_t()
        extension.stype = self._stype("zes_power_ext_properties_t")
        limit = self._lib.zes_power_limit_ext_desc_t()
        extension.defaultLimit = POINTER(type(limit))(limit)
        try:
            self.ask(POWER.describe_call, handle, POWER.properties, extension)
        except (Unsupported, ReadError):
            return 0
        return int(extension.domain)

    def _stype(self, kind: str) -> int:
        name = kind.removeprefix("zes_").removesuffix("_t").upper()
        return int(getattr(self._lib, f"ZES_STRUCTURE_TYPE_{name}"))
