"""Energy an image where no GPU was read: that of the machine's processors, by RAPL. Pure.

RAPL counts what the processors used for all that ran on them, so the load generator's work is in
it; their memory's too where it has counters. Fans, disks and the power supply's loss are not. It is
never added to a GPU's energy: where the images came from a GPU it is not told at all.

The interval, and the energy without idling, are those of profiles.telemetry.energy_per_image.
"""

import numpy as np

from profiles.record.columns import Host, Recorded, Requests
from profiles.requests.rates import LoadWindow
from profiles.requests.target import target_shares_machine
from profiles.schema import HostEnergy, Outcome
from profiles.stats.arrays import Floats
from profiles.telemetry.energy import COUNTER, Energy, GpuEnergy, metered
from profiles.telemetry.energy_per_image import IDLE_MIN_S, per_image

PROCESSORS, MEMORY = "processors", "memory"


def host_energy(
    recorded: Recorded, requests: Requests, load: LoadWindow | None
) -> HostEnergy | None:
    """The processors' energy over the load, and over the ok images done in it.

    None where it could not be read, or did not make the images: on a GPU, on another machine, by a
    stub.
    """
    manifest, hosts = recorded.manifest, recorded.hosts
    target = manifest.target
    if load is None or load.duration_s <= 0 or target.is_stub or not hosts:
        return None
    if (recorded.gpus and target.device != "cpu") or not target_shares_machine(manifest):
        return None
    window = (load.start_s, load.end_s)
    energy = _energy(hosts, *window)
    if energy is None or energy.joules is None:
        return None
    done = load.inside(requests.done_s) & requests.where(Outcome.OK)
    told = per_image(
        energy,
        _idle_w(hosts, load.start_s),
        requests.done_s[done],
        requests.images[done],
        window,
        manifest.carbon_g_per_kwh,
    )
    return HostEnergy(
        parts=[PROCESSORS, MEMORY] if _with_memory(hosts) else [PROCESSORS],
        energy_j=energy.joules,
        j_per_image=told.energy_j_per_image,
        low_j_per_image=told.energy_low_j_per_image,
        high_j_per_image=told.energy_high_j_per_image,
        net_j_per_image=told.energy_net_j_per_image,
        idle_power_w=told.idle_power_w,
        carbon_g_per_kwh=told.carbon_g_per_kwh,
        carbon_g_per_image=told.carbon_g_per_image,
    )


def _energy(hosts: list[Host], start_s: float, end_s: float) -> Energy | None:
    """All machines' energy from start to end; None where one cannot be read."""
    found = []
    for host in hosts:
        joules = _joules(host, _with_memory(hosts))
        meters = metered(host.t_s, joules, np.full_like(joules, np.nan))
        used = meters.counter.between(start_s, end_s) if meters.counter else None
        if used is None:
            return None
        found.append(GpuEnergy(used, None, None, meters))
    return Energy(sum(one.counter_j or 0.0 for one in found), COUNTER, None, tuple(found))


def _idle_w(hosts: list[Host], before_s: float) -> float | None:
    """All machines' median power before the load, W; None where it was not read long enough."""
    total = 0.0
    for host in hosts:
        before = host.t_s < before_s
        t_s, joules = host.t_s[before], _joules(host, _with_memory(hosts))[before]
        if t_s.size < 2 or t_s[-1] - t_s[0] < IDLE_MIN_S:
            return None
        total += float(np.median(np.diff(joules) / np.diff(t_s)))
    return total


def _joules(host: Host, with_memory: bool) -> Floats:
    return host.cpu_energy_j + host.dram_energy_j if with_memory else host.cpu_energy_j


def _with_memory(hosts: list[Host]) -> bool:
    """Whether every machine's memory has counters that were read throughout."""
    return not any(np.isnan(host.dram_energy_j).any() for host in hosts)
