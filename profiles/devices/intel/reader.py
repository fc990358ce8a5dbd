"""Intel readings: the home of pyzes, Intel's bindings of Level Zero Sysman (`libze_loader.so.1`).

    open_gpus(node)   every Intel GPU of this machine, or none where there is no driver

What the calls give, by zes_api.h: energy as a counter in microjoules and activity as a counter of
active time, each with the instant it was taken in microseconds; memory, its traffic and PCIe's as
bytes; clocks in MHz; temperatures in degrees Celsius; the sustained power limit in milliwatts.
Power and utilization are no readings of Sysman but what a counter rose by since the last sample
over the time by its own clock,

    P = (E2 - E1) / (t2 - t1)      utilization = (active2 - active1) / (t2 - t1)

and so is DRAM bandwidth, in percent of the most the memory can do now. A GPU of several tiles is
read as a whole where Sysman has the whole, else over its tiles.

Null for want of a reading that means the same: SM and tensor activity, throttle seconds by cause
(Sysman has their sum alone).
"""

import functools
import uuid
from collections.abc import Callable
from typing import Any

from profiles.devices.intel.gpu import asks, mem_total_bytes, power_limit_w
from profiles.devices.intel.sysman import (
    DEPENDENCY_UNAVAILABLE,
    REMEDIES,
    UNINITIALIZED,
    UNSUPPORTED_FEATURE,
    Sysman,
)
from profiles.devices.polled import Ask, Device, Devices, LostError, ReadError, Unsupported
from profiles.devices.reader import GpuError
from profiles.schema import GpuInfo

ABSENT = "Level Zero Sysman has no reading that means the same"
NO_GPU = {UNINITIALIZED, DEPENDENCY_UNAVAILABLE, UNSUPPORTED_FEATURE}  # the normal case


def open_gpus(node: str, first_index: int = 0) -> Devices:
    """Every Intel GPU of this machine; none where there is no driver.

    Args:
        node: this machine's name.
        first_index: the index of the first GPU in records.

    Raises:
        GpuError: they cannot be asked; the text says what to do.
    """
    lib = _library()
    sysman = Sysman(lib)
    code = lib.zesInit(0)
    if code in NO_GPU:
        return Devices(node, [], ABSENT, lambda: None)
    if code:
        remedy = "" if code in REMEDIES else ": see whether `xpu-smi discovery` works"
        raise GpuError(f"Intel's GPUs cannot be asked: {sysman.said(code)}{remedy}")
    try:
        devices = [
            Device(
                info := describe(sysman, node, first_index + at, device),
                functools.partial(_take_up, sysman, lib, info.uuid),
            )
            for at, device in enumerate(_devices(sysman, lib))
        ]
    except (Unsupported, ReadError, LostError) as err:
        raise GpuError(f"Intel's GPUs cannot be asked: {err}") from err
    return Devices(node, devices, ABSENT, lambda: None)  # Sysman has nothing to let go


def describe(sysman: Sysman, node: str, index: int, device: Any) -> GpuInfo:
    """A GPU as its driver describes it.

    Raises:
        Unsupported, ReadError, LostError: its UUID cannot be read.
    """

    def told(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except (Unsupported, ReadError):
            return None  # the contract: what a GPU cannot tell is None

    properties = _properties(sysman, device)
    driver = properties.driverVersion.decode(errors="replace")
    return GpuInfo(
        node=node,
        index=index,
        uuid=_uuid(properties),
        name=properties.core.name.decode(errors="replace") or "Intel GPU",
        mem_total_bytes=told(lambda: mem_total_bytes(sysman, device)),
        power_limit_w=told(lambda: power_limit_w(sysman, device)),
        driver=None if driver in ("", "unknown") else driver,
    )


def _take_up(sysman: Sysman, lib: Any, uuid_: str) -> list[Ask]:
    for device in _devices(sysman, lib):
        if _uuid(_properties(sysman, device)) == uuid_:
            return asks(sysman, lib, device)
    raise LostError("it is not among the machine's GPUs")


def _devices(sysman: Sysman, lib: Any) -> list[Any]:
    return [
        device
        for driver in sysman.enumerate("zesDriverGet", "zes_driver_handle_t")
        for device in sysman.enumerate("zesDeviceGet", "zes_device_handle_t", driver)
        if _properties(sysman, device).core.type == lib.ZES_DEVICE_TYPE_GPU
    ]


def _properties(sysman: Sysman, device: Any) -> Any:
    return sysman.ask("zesDeviceGetProperties", device, "zes_device_properties_t")


def _uuid(properties: Any) -> str:
    return str(uuid.UUID(bytes=bytes(properties.core.uuid.id)))


def _library() -> Any:
    try:
        import pyzes
    except ImportError as err:
        raise GpuError("pyzes is not installed: pip install 'viralload[intel]'") from err
    except OSError as err:
        raise GpuError(
            f"Level Zero's loader is not where pyzes looks for it ({err}): install libze1 "
            "(Intel's level-zero), or link it there"
        ) from err
    return pyzes
