"""One Intel GPU: which calls of Level Zero Sysman tell what of it, and over which of its parts."""

from collections.abc import Callable, Sequence
from ctypes import byref, c_double
from typing import Any

from profiles.devices.intel.counter import Rise
from profiles.devices.intel.sysman import CLOCK, ENGINE, MEMORY, POWER, TEMPERATURE, Sysman
from profiles.devices.polled import Ask, Unsupported, Value

# zes_power_domain_t, best first: the card, its package, its GPU, not told
CARD, PACKAGE, GPU, NOT_TOLD = 1, 2, 5, 0
# zes_engine_group_t, best first: all engines, all of compute, 3D with compute
ALL_ENGINES, ALL_COMPUTE, ALL_3D_COMPUTE = 0, 1, 11
GPU_CLOCK, MEMORY_CLOCK = 0, 1  # zes_freq_domain_t
GLOBAL_SENSOR, GPU_SENSOR, MEMORY_SENSOR = 0, 1, 2  # zes_temp_sensors_t
ON_DEVICE = 1  # zes_mem_loc_t

Read = Callable[[], Sequence[Value]]


def asks(sysman: Sysman, lib: Any, device: Any) -> list[Ask]:
    """What the GPU can be asked. A call that its driver does not have raises at its first reading.

    Raises:
        LostError: it does not answer.
    """
    ways: list[tuple[str, tuple[str, ...], Callable[[], Read]]] = [
        (
            "zesPowerGetEnergyCounter",
            ("energy_j", "power_w"),
            lambda: _energy(sysman, device),
        ),
        ("zesEngineGetActivity", ("util_pct",), lambda: _activity(sysman, device)),
        ("zesMemoryGetState", ("mem_used_bytes",), lambda: _memory(sysman, device)),
        ("zesMemoryGetBandwidth", ("dram_pct",), lambda: _bandwidth(sysman, device)),
        (
            "zesFrequencyGetState",
            ("sm_clock_mhz",),
            lambda: _clock(sysman, device, GPU_CLOCK),
        ),
        (
            "zesFrequencyGetState (memory)",
            ("mem_clock_mhz",),
            lambda: _clock(sysman, device, MEMORY_CLOCK),
        ),
        (
            "zesTemperatureGetState",
            ("temp_c",),
            lambda: _temperature(sysman, lib, device, (GPU_SENSOR, GLOBAL_SENSOR)),
        ),
        (
            "zesTemperatureGetState (memory)",
            ("mem_temp_c",),
            lambda: _temperature(sysman, lib, device, (MEMORY_SENSOR,)),
        ),
        ("zesDevicePciGetStats", ("pcie_rx_bytes", "pcie_tx_bytes"), lambda: _pcie(sysman, device)),
    ]
    return [Ask(call, names, _prepared(prepare)) for call, names, prepare in ways]


def mem_total_bytes(sysman: Sysman, device: Any) -> int:
    """All of the GPU's own memory.

    Raises:
        Unsupported, ReadError, LostError: it does not tell.
    """
    return sum(
        int(properties.physicalSize)
        or int(sysman.ask("zesMemoryGetState", handle, "zes_mem_state_t").size)
        for handle, properties in _chosen(
            sysman.parts(device, MEMORY), lambda part: part[1].location, (ON_DEVICE,)
        )
    )


def power_limit_w(sysman: Sysman, device: Any) -> float | None:
    """The sustained limit of the GPU's power domain, or None.

    Raises:
        Unsupported, ReadError, LostError: it does not tell.
    """
    sustained, in_power = 1, 2  # zes_power_level_t, zes_limit_unit_t
    limits_w = [
        limit.limit / 1e3  # mW
        for handle in _power_domains(sysman, device)
        for limit in sysman.enumerate("zesPowerGetLimitsExt", "zes_power_limit_ext_desc_t", handle)
        if limit.level == sustained and limit.limitUnit == in_power and limit.enabled
    ]
    return sum(limits_w) if limits_w else None


def _prepared(prepare: Callable[[], Read]) -> Read:
    """Finds the parts at the first reading and keeps them."""
    found: list[Read] = []

    def read() -> Sequence[Value]:
        if not found:
            found.append(prepare())
        return found[0]()

    return read


def _chosen(parts: list[Any], key: Callable[[Any], int], ranked: tuple[int, ...]) -> list[Any]:
    """The parts of the best kind there is."""
    for wanted in ranked:
        fits = [part for part in parts if key(part) == wanted]
        if fits:
            return fits
    raise Unsupported("this GPU has none")


def _power_domains(sysman: Sysman, device: Any) -> list[Any]:
    handles = [handle for handle, _ in sysman.parts(device, POWER)]
    return _chosen(handles, sysman.power_domain, (CARD, PACKAGE, GPU, NOT_TOLD))


def _energy(sysman: Sysman, device: Any) -> Read:
    domains = [(handle, Rise()) for handle in _power_domains(sysman, device)]

    def read() -> Sequence[Value]:
        energy_uj = 0
        powers_w = []
        for handle, rise in domains:
            told = sysman.ask("zesPowerGetEnergyCounter", handle, "zes_power_energy_counter_t")
            energy_uj += told.energy
            powers_w.append(rise.since(told.energy, told.timestamp))  # uJ over us
        return energy_uj / 1e6, _sum(powers_w)

    return read


def _activity(sysman: Sysman, device: Any) -> Read:
    engines = _chosen(
        sysman.parts(device, ENGINE),
        lambda part: part[1].type,
        (ALL_ENGINES, ALL_COMPUTE, ALL_3D_COMPUTE),
    )
    watched = [(handle, Rise()) for handle, _ in engines]

    def read() -> Sequence[Value]:
        shares = []
        for handle, rise in watched:
            told = sysman.ask("zesEngineGetActivity", handle, "zes_engine_stats_t")
            shares.append(rise.since(told.activeTime, told.timestamp))
        total = _sum(shares)
        return (None if total is None else min(100.0, 100.0 * total / len(shares)),)

    return read


def _memory(sysman: Sysman, device: Any) -> Read:
    modules = _own_memory(sysman, device)

    def read() -> Sequence[Value]:
        states = [sysman.ask("zesMemoryGetState", handle, "zes_mem_state_t") for handle in modules]
        return (sum(state.size - state.free for state in states),)

    return read


def _bandwidth(sysman: Sysman, device: Any) -> Read:
    watched = [(handle, Rise()) for handle in _own_memory(sysman, device)]

    def read() -> Sequence[Value]:
        rates, most = [], 0
        for handle, rise in watched:
            told = sysman.ask("zesMemoryGetBandwidth", handle, "zes_mem_bandwidth_t")
            rates.append(rise.since(told.readCounter + told.writeCounter, told.timestamp))
            most += told.maxBandwidth
        moved = _sum(rates)  # bytes a microsecond
        return (100.0 * moved * 1e6 / most if moved is not None and most else None,)

    return read


def _own_memory(sysman: Sysman, device: Any) -> list[Any]:
    modules = _chosen(sysman.parts(device, MEMORY), lambda part: part[1].location, (ON_DEVICE,))
    return [handle for handle, _ in modules]


def _clock(sysman: Sysman, device: Any, domain: int) -> Read:
    domains = _chosen(sysman.parts(device, CLOCK), lambda part: part[1].type, (domain,))

    def read() -> Sequence[Value]:
        states = [sysman.ask("zesFrequencyGetState", one, "zes_freq_state_t") for one, _ in domains]
        known = [state.actual for state in states if state.actual >= 0]  # negative: not known
        return (sum(known) / len(known) if known else None,)

    return read


def _temperature(sysman: Sysman, lib: Any, device: Any, types: tuple[int, ...]) -> Read:
    sensors = _chosen(sysman.parts(device, TEMPERATURE), lambda part: part[1].type, types)

    def read() -> Sequence[Value]:
        hottest = []
        for handle, _ in sensors:
            celsius = c_double()
            sysman.check(lib.zesTemperatureGetState(handle, byref(celsius)))
            hottest.append(celsius.value)
        return (max(hottest),)

    return read


def _pcie(sysman: Sysman, device: Any) -> Read:
    has = sysman.ask("zesDevicePciGetProperties", device, "zes_pci_properties_t")
    if not has.haveBandwidthCounters:
        raise Unsupported("this GPU does not count PCIe bytes")

    def read() -> Sequence[Value]:
        told = sysman.ask("zesDevicePciGetStats", device, "zes_pci_stats_t")
        return told.rxCounter, told.txCounter

    return read


def _sum(values: Sequence[float | None]) -> float | None:
    """The sum, or None where one is not known."""
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None
