"""Loading pynvml: that it is the real one, and what a driver that cannot be asked is told with."""

from typing import Any

from profiles.devices.nvidia.return_codes import INIT_REMEDIES
from profiles.devices.reader import GpuError

SHADOWED = (
    "the deprecated package `pynvml` hides nvidia-ml-py: "
    "pip uninstall -y pynvml && pip install --force-reinstall nvidia-ml-py"
)


def library() -> Any:
    """The module pynvml of nvidia-ml-py.

    Raises:
        GpuError: it is not installed, or another package hides it.
    """
    try:
        import pynvml
    except ImportError as err:
        raise GpuError("nvidia-ml-py is not installed: pip install nvidia-ml-py") from err
    wanted = ("nvmlMemory_v2", "nvmlDeviceGetTemperatureV", "nvmlGpmSampleAlloc")
    if not all(hasattr(pynvml, name) for name in wanted):
        raise GpuError(SHADOWED)
    return pynvml


def gpu_error(err: Any) -> GpuError:
    """What an NVMLError at the opening means, with its remedy."""
    remedy = INIT_REMEDIES.get(err.value, "see whether nvidia-smi works, and what it says")
    return GpuError(f"NVML cannot be used ({err}): {remedy}")
