"""AMD readings: the home of amdsmi, AMD's own package over ROCm's `libamd_smi.so`.

    open_gpus(node)   every AMD GPU of this machine, or none where there is no driver

What each call gives, by amdsmi.h: power in W (the current power of a socket, or its average where
the GPU forms only that); energy as a counter and the microjoules of one step; activity of the
graphics and compute engines in percent; memory in bytes; clocks in MHz; temperatures in degrees
Celsius; the power limit in microwatts. Values that a GPU does not have come as "N/A" or with every
bit set.

Null for want of a reading that means the same: SM and tensor activity, DRAM bandwidth (AMD tells
how long the memory controller was busy, not how full it was), throttle seconds (AMD counts
firmware cycles), PCIe bytes.
"""

import contextlib
import functools
import io
from collections.abc import Callable, Sequence
from typing import Any

from profiles.devices.polled import Ask, Device, Devices, LostError, ReadError, Unsupported, Value
from profiles.devices.reader import GpuError
from profiles.schema import GpuInfo

ABSENT = "amdsmi has no reading that means the same"
NOT_TOLD = ("N/A", 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)

# amdsmi_status_t
NOT_SUPPORTED, NOT_IMPLEMENTED, DRM_ERROR, NO_PERMISSION, IO = 2, 3, 6, 10, 12
NOT_FOUND, NOT_INIT, DRIVER_NOT_LOADED, NO_DATA, NO_DRIVER, RESTART_ERROR = 31, 32, 34, 40, 51, 54

NO_GPU = {NOT_FOUND, DRIVER_NOT_LOADED, NO_DRIVER}  # the normal case without a GPU
NEVER = {NOT_SUPPORTED, NOT_IMPLEMENTED, NO_PERMISSION, NO_DATA}
LOST = {DRM_ERROR, IO, NOT_FOUND, NOT_INIT, DRIVER_NOT_LOADED, RESTART_ERROR}
REMEDIES = {
    NO_PERMISSION: "this user may not use the GPU: add it to the groups render and video, and give "
    "a container /dev/kfd and /dev/dri",
}


def open_gpus(node: str, first_index: int = 0) -> Devices:
    """Every AMD GPU of this machine; none where there is no driver.

    Args:
        node: this machine's name.
        first_index: the index of the first GPU in records.

    Raises:
        GpuError: they cannot be asked; the text says what to do.
    """
    lib = _library()
    failed = lib.AmdSmiLibraryException
    try:
        lib.amdsmi_init()
    except failed as err:
        if err.err_code in NO_GPU:
            return Devices(node, [], ABSENT, lambda: None)
        raise _gpu_error(err) from err
    try:
        handles = lib.amdsmi_get_processor_handles()
        devices = [
            Device(
                info := describe(lib, node, first_index + at, handle),
                functools.partial(_take_up, lib, info.uuid),
            )
            for at, handle in enumerate(handles)
        ]
    except failed as err:
        lib.amdsmi_shut_down()
        raise _gpu_error(err) from err
    return Devices(node, devices, ABSENT, lib.amdsmi_shut_down)


def describe(lib: Any, node: str, index: int, handle: Any) -> GpuInfo:
    """A GPU as its driver describes it.

    Raises:
        AmdSmiLibraryException: its UUID cannot be read.
    """

    def told(call: Callable[[], Any]) -> Any:
        try:
            value = call()
        except lib.AmdSmiLibraryException:
            return None  # the contract: what a GPU cannot tell is None
        return None if value in NOT_TOLD else value

    limit_uw = told(lambda: lib.amdsmi_get_power_cap_info(handle)["power_cap"])
    vram = lib.AmdSmiMemoryType.VRAM
    return GpuInfo(
        node=node,
        index=index,
        uuid=lib.amdsmi_get_gpu_device_uuid(handle),
        name=told(lambda: lib.amdsmi_get_gpu_asic_info(handle)["market_name"]) or "AMD GPU",
        mem_total_bytes=told(lambda: lib.amdsmi_get_gpu_memory_total(handle, vram)),
        power_limit_w=None if limit_uw is None else limit_uw / 1e6,
        driver=told(lambda: lib.amdsmi_get_gpu_driver_info(handle)["driver_version"]),
    )


def _take_up(lib: Any, uuid: str) -> list[Ask]:
    def find() -> Any:
        for handle in lib.amdsmi_get_processor_handles():
            if lib.amdsmi_get_gpu_device_uuid(handle) == uuid:
                return handle
        raise LostError("it is not among the machine's GPUs")

    return _asks(lib, _translated(lib, find))


def _asks(lib: Any, handle: Any) -> list[Ask]:
    types, now = lib.AmdSmiTemperatureType, lib.AmdSmiTemperatureMetric.CURRENT

    def power() -> Any:
        told = lib.amdsmi_get_power_info(handle)
        return _first(told["current_socket_power"], told["average_socket_power"])

    def energy() -> float | None:
        told = lib.amdsmi_get_energy_count(handle)
        step_uj = told["counter_resolution"]
        if not step_uj > 0:
            raise Unsupported("a counter without its unit")
        return float(told["energy_accumulator"] * step_uj / 1e6)

    def temperature(sensor: Any) -> Any:
        return _first(lib.amdsmi_get_temp_metric(handle, sensor, now))

    def die() -> Any:
        try:
            return temperature(types.EDGE)
        except lib.AmdSmiLibraryException as err:
            if err.err_code not in NEVER:
                raise
            return temperature(types.HOTSPOT)  # an Instinct has no sensor at the edge

    calls: dict[str, tuple[str, Callable[[], Any]]] = {
        "power_w": ("amdsmi_get_power_info", power),
        "energy_j": ("amdsmi_get_energy_count", energy),
        "util_pct": (
            "amdsmi_get_gpu_activity",
            lambda: _first(lib.amdsmi_get_gpu_activity(handle)["gfx_activity"]),
        ),
        "mem_used_bytes": (
            "amdsmi_get_gpu_memory_usage",
            lambda: lib.amdsmi_get_gpu_memory_usage(handle, lib.AmdSmiMemoryType.VRAM),
        ),
        "sm_clock_mhz": ("amdsmi_get_clock_info (GFX)", lambda: _clock(lib, handle, "GFX")),
        "mem_clock_mhz": ("amdsmi_get_clock_info (MEM)", lambda: _clock(lib, handle, "MEM")),
        "temp_c": ("amdsmi_get_temp_metric", die),
        "mem_temp_c": ("amdsmi_get_temp_metric (VRAM)", lambda: temperature(types.VRAM)),
    }

    def ask(name: str, call: str, read: Callable[[], Any]) -> Ask:
        def values() -> Sequence[Value]:
            return (_translated(lib, read),)

        return Ask(call, (name,), values)

    return [ask(name, call, read) for name, (call, read) in calls.items()]


def _clock(lib: Any, handle: Any, which: str) -> Any:
    return _first(lib.amdsmi_get_clock_info(handle, lib.AmdSmiClkType[which])["clk"])


def _first(*values: Any) -> Any:
    """The first that is told."""
    for value in values:
        if value not in NOT_TOLD:
            return value
    raise Unsupported("not told by this GPU")


def _translated(lib: Any, call: Callable[[], Any]) -> Any:
    """What `call` gives, amdsmi's errors as those of profiles.devices.polled."""
    try:
        return call()
    except lib.AmdSmiLibraryException as err:
        said = _said(err)
        if err.err_code in NEVER:
            remedy = REMEDIES.get(err.err_code)
            raise Unsupported(f"{said}: {remedy}" if remedy else said) from err
        raise (LostError if err.err_code in LOST else ReadError)(said) from err


def _said(err: Any) -> str:
    return f"{err.get_error_info()} (code {err.err_code})"


def _library() -> Any:
    told = io.StringIO()
    try:
        with contextlib.redirect_stdout(told):  # it prints where the library is missing
            import amdsmi
    except ImportError as err:
        raise GpuError(
            "amdsmi is not installed: with ROCm's amd-smi-lib in place, "
            "pip install 'viralload[amd]'"
        ) from err
    except (KeyError, OSError) as err:
        raise GpuError(
            "libamd_smi.so is not to be found: install ROCm's package amd-smi-lib, or set ROCM_PATH"
        ) from err
    except AttributeError as err:
        raise GpuError(
            f"amdsmi does not fit the ROCm that is installed ({err}): install the version of "
            "amdsmi that ROCm has, or the one under /opt/rocm/share/amd_smi"
        ) from err
    return amdsmi


def _gpu_error(err: Any) -> GpuError:
    remedy = REMEDIES.get(err.err_code, "see whether `amd-smi list` works, and what it says")
    return GpuError(f"AMD's GPUs cannot be asked: {_said(err)}: {remedy}")
