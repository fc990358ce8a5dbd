"""Which GPUs a CUDA process may use, by CUDA_VISIBLE_DEVICES."""

import os
import sys
from collections.abc import Callable, Mapping

from profiles.devices.nvidia.reader import open_gpus
from profiles.devices.reader import GpuError
from profiles.schema import GpuInfo


def visible_gpus(
    node: str,
    environ: Mapping[str, str] = os.environ,
    warn: Callable[[str], object] = lambda text: sys.stderr.write(f"warning: {text}\n"),
) -> list[GpuInfo]:
    """The GPUs a CUDA process under `environ` may use, in its order.

    Where NVML cannot be used, `warn` gets the cause and remedy and there are none. Numbers in
    CUDA_VISIBLE_DEVICES are taken in PCI bus order, which is CUDA's own where a machine's GPUs
    are alike (or with CUDA_DEVICE_ORDER=PCI_BUS_ID). A MIG instance is described by its own UUID,
    name and memory.
    """
    try:
        with open_gpus(node) as nvml:
            gpus = nvml.describe()
            spec = environ.get("CUDA_VISIBLE_DEVICES")
            if spec is not None and spec.startswith("MIG-"):
                entries = [nvml.mig_instance(entry.strip()) for entry in spec.split(",")]
                known = entries.index(None) if None in entries else len(entries)
                return [entry for entry in entries[:known] if entry]
            return [gpus[at] for at in select_visible([gpu.uuid for gpu in gpus], spec)]
    except GpuError as err:
        warn(str(err))
        return []


def select_visible(uuids: list[str], spec: str | None) -> list[int]:
    """Positions in `uuids` that CUDA_VISIBLE_DEVICES=`spec` leaves, by CUDA's rules.

    None leaves all. An entry is a number or the beginning of one UUID; the first that fits nothing
    (as "-1") ends the list; one named twice leaves none.
    """
    if spec is None:
        return list(range(len(uuids)))
    chosen: list[int] = []
    for entry in (part.strip() for part in spec.split(",")):
        if entry.isdecimal():
            fits = [int(entry)] if int(entry) < len(uuids) else []
        else:
            fits = [at for at, uuid in enumerate(uuids) if entry and uuid.startswith(entry)]
        if len(fits) != 1:
            break
        if fits[0] in chosen:
            return []
        chosen += fits
    return chosen


def every_gpu(node: str) -> list[GpuInfo]:
    """All GPUs of this machine; none where NVML cannot be used (the sampler says why)."""
    try:
        with open_gpus(node) as nvml:
            return nvml.describe()
    except GpuError:
        return []
