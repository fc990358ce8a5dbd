"""GPUs of vendors other than NVIDIA: whose there are, and a reader for each.

    open_others(...)   a reader for each vendor whose GPUs can be read, and why others cannot
    other_gpus(...)    those that a run's target may compute on

AMD's and Intel's packages are extras. Where one is missing and the machine has such a GPU on its
PCI bus, that is told with the remedy. The small GPU inside an Intel processor (always at 00:02.0)
is no reason to tell.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from profiles.devices import amd
from profiles.devices.intel import reader as intel
from profiles.devices.polled import Devices
from profiles.devices.reader import GpuError
from profiles.devices.visible import select_visible
from profiles.schema import GpuInfo

PCI_DEVICES = Path("/sys/bus/pci/devices")
DISPLAY, ACCELERATOR = "0x03", "0x12"  # the first byte of a PCI class; Instincts are the latter
AMD, INTEL = "0x1002", "0x8086"  # PCI vendors
INSIDE_A_PROCESSOR = "0000:00:02.0"

VISIBLE = ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES")

VENDORS: dict[str, Callable[[str, int], Devices]] = {AMD: amd.open_gpus, INTEL: intel.open_gpus}


def open_others(
    node: str,
    first_index: int = 0,
    only: Sequence[str] = (),
    pci_devices: Path = PCI_DEVICES,
    vendors: Sequence[str] = (AMD, INTEL),
) -> tuple[list[Devices], list[str]]:
    """The readers of this machine's GPUs that are not NVIDIA's, and why some cannot be read.

    Args:
        node: this machine's name.
        first_index: the index of the first GPU in records; they go on from one vendor to the next.
        only: UUIDs, or the beginnings of some; empty for all GPUs.
        pci_devices: sysfs's folder of them.
        vendors: whose GPUs, of VENDORS.
    """
    readers: list[Devices] = []
    unread: list[str] = []
    there = gpu_vendors(pci_devices)
    for vendor in vendors:
        try:
            reader = VENDORS[vendor](node, first_index)
        except GpuError as err:
            if vendor in there:
                unread.append(str(err))
            continue
        reader.choose(only)
        if len(reader):
            first_index += len(reader)
            readers.append(reader)
        else:
            reader.close()
    return readers, unread


def other_gpus(
    node: str,
    torch_version: str | None,
    environ: Mapping[str, str] = os.environ,
    warn: Callable[[str], object] = lambda text: sys.stderr.write(f"warning: {text}\n"),
    pci_devices: Path = PCI_DEVICES,
) -> list[GpuInfo]:
    """The GPUs, NVIDIA's apart, that a target on this machine may compute on.

    `torch_version` is that of the server which the run starts: it computes on AMD's GPUs with a
    torch built for ROCm, and on no other vendor's; which of them, the first of VISIBLE that is set
    in `environ` says. None is any server, on any GPU that is there.
    """
    if torch_version is not None and "+rocm" not in torch_version:
        return []
    vendors = (AMD, INTEL) if torch_version is None else (AMD,)
    readers, unread = open_others(node, pci_devices=pci_devices, vendors=vendors)
    for why in unread:
        warn(why)
    gpus = [gpu for reader in readers for gpu in reader.describe()]
    for reader in readers:
        reader.close()
    spec = next((environ[name] for name in VISIBLE if name in environ), None)
    if torch_version is None or spec is None:
        return gpus
    return [gpus[at] for at in select_visible([gpu.uuid for gpu in gpus], spec)]


def gpu_vendors(pci_devices: Path = PCI_DEVICES) -> set[str]:
    """The PCI vendors, such as "0x1002", of the GPUs on this machine's bus."""
    found = set()
    for device in sorted(pci_devices.glob("*")):
        try:
            kind = (device / "class").read_text().strip()
            vendor = (device / "vendor").read_text().strip()
        except OSError:
            continue  # unplugged, or hidden from this container
        inside = vendor == INTEL and device.name == INSIDE_A_PROCESSOR
        if kind.startswith((DISPLAY, ACCELERATOR)) and not inside:
            found.add(vendor)
    return found
