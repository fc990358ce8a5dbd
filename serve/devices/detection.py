"""What speaks of a GPU before anything is loaded: how torch was built, and what the kernel shows.

Files alone are read, so that a server without a GPU starts as fast as ever.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import msgspec

# Nodes of NVIDIA's drivers: of desktops and servers, and of Tegra. WSL has one of its own for GPUs
# of any vendor, and this library where one is NVIDIA's.
NODES = ("nvidia*", "nvhost-*", "nvgpu*", "nvmap")
WSL_NODE, WSL_LIBRARY = "dev/dxg", "usr/lib/wsl/lib/libcuda.so.1"
PCI_NVIDIA, PCI_DISPLAY = "0x10de", "0x03"


class TorchBuild(msgspec.Struct, frozen=True):
    """How torch was built: its version, and that of the CUDA or ROCm it is for."""

    version: str
    cuda: str | None = None
    hip: str | None = None

    def __str__(self) -> str:
        """In words."""
        kind = f"for CUDA {self.cuda}" if self.cuda else "without CUDA"
        return f"torch {self.version} is built {f'for ROCm {self.hip}' if self.hip else kind}"


class Traces(msgspec.Struct, frozen=True):
    """Signs of NVIDIA GPUs, as paths.

    Attributes:
        given: Device nodes: what this process may open.
        machine: What the kernel shows of the machine, also to a container without its GPUs.
    """

    given: tuple[str, ...] = ()
    machine: tuple[str, ...] = ()


def torch_build() -> TorchBuild | None:
    """How the installed torch was built, without importing it; None where there is none."""
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return None
    file = Path(found.origin).with_name("version.py")
    spec = importlib.util.spec_from_file_location("torch_version", file)
    if spec is None or spec.loader is None or not file.is_file():
        return None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)  # a few constants
    cuda, hip = (getattr(module, name, None) for name in ("cuda", "hip"))
    return TorchBuild(str(module.__version__), cuda, hip)


def find_traces(root: Path = Path("/")) -> Traces:
    """What under `root` speaks of NVIDIA GPUs."""
    nodes = [node for name in NODES for node in sorted((root / "dev").glob(name))]
    if (root / WSL_NODE).exists() and (root / WSL_LIBRARY).exists():
        nodes.append(root / WSL_NODE)
    machine = sorted((root / "proc/driver/nvidia/gpus").glob("*"))
    machine += [
        device
        for device in sorted((root / "sys/bus/pci/devices").glob("*"))
        if _word(device / "vendor") == PCI_NVIDIA
        and _word(device / "class").startswith(PCI_DISPLAY)
    ]

    def told(paths: Sequence[Path]) -> tuple[str, ...]:
        return tuple(f"/{path.relative_to(root)}" for path in paths)

    return Traces(told(nodes), told(machine))


def _word(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""  # unplugged, or hidden from this container
