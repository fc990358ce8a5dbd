"""What torch can use of the GPUs here, and what stands against it; nothing is loaded yet.

cuda_gpus()            how many, or why none
look(device)           one of them, and its faults for this build of torch
card_fault(...)        the first of them, the precision's included
torch_dtype(...)       what the setting `dtype` means there
"""

# mypy: disallow-untyped-calls=False
# Parts of torch.cuda are untyped.

import re
import warnings
from collections.abc import Iterable

import msgspec
import torch

from serve.devices.cuda_driver import gpu_uuid
from serve.precision import Dtype, bf16_fault

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
HELD = "end what holds it (nvidia-smi and `viralload doctor` name it), or choose another GPU"
# What CUDA's errors say, and what that means at the first touch of a GPU.
TOUCHES = {
    "busy or unavailable": "another process has it to itself (compute mode EXCLUSIVE_PROCESS): "
    f"{HELD}, or share it with nvidia-smi -c DEFAULT",
    "out of memory": f"other processes left no memory to begin with: {HELD}",
}


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """A GPU as torch tells of it.

    Attributes:
        name: As the driver names it.
        uuid: As NVML writes it, an instance of MIG by its own.
        capability: Compute capability, as in `9.0`.
        mem_total_bytes: Its memory.
        mem_free_bytes: What is free of it; this process's own CUDA context is not.
        faults: What stands against computing on it, each with its remedy.
    """

    name: str
    uuid: str
    capability: str
    mem_total_bytes: int
    mem_free_bytes: int | None = None
    faults: tuple[str, ...] = ()


def cuda_gpus() -> tuple[int, str | None]:
    """How many GPUs torch can use, and, where a build for GPUs can use none, why."""
    if torch.version.cuda is None and torch.version.hip is None:
        return 0, None
    with warnings.catch_warnings(record=True) as told:  # torch warns of what it cannot use
        warnings.simplefilter("always")
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpus:
        return gpus, None
    reasons = [" ".join(str(warning.message).split()) for warning in told]
    return 0, reasons[0] if reasons else "no CUDA GPU is visible to torch"


def look(device: torch.device) -> Card:
    """What this GPU is, what is free of it, and its faults."""
    about = torch.cuda.get_device_properties(device)
    faults = []
    capability = (about.major, about.minor)
    if not runs_on(capability, torch.cuda.get_arch_list()):
        faults.append(
            f"torch {torch.__version__} has no kernels for it (compute capability "
            f"{about.major}.{about.minor}; it has {' '.join(torch.cuda.get_arch_list())}): "
            "install a torch built for it"
        )
    free = None
    try:
        free = torch.cuda.mem_get_info(device)[0]
    except RuntimeError as err:
        said = str(err).splitlines()[0]
        faults.append(next((why for words, why in TOUCHES.items() if words in said), said))
    return Card(
        name=about.name,
        uuid=gpu_uuid(about.name, str(about.uuid)),
        capability=f"{about.major}.{about.minor}",
        mem_total_bytes=about.total_memory,
        mem_free_bytes=free,
        faults=tuple(f"{about.name}: {fault}" for fault in faults),
    )


def card_fault(card: Card, dtype: Dtype) -> str | None:
    """What stands first against computing on this GPU in this precision; None: nothing."""
    major, _, minor = card.capability.partition(".")
    against = [*card.faults, bf16_fault(dtype, card.name, (int(major), int(minor)))]
    return next((fault for fault in against if fault is not None), None)


def runs_on(capability: tuple[int, int], architectures: Iterable[str]) -> bool:
    """Whether code for one of these architectures runs on a GPU of this compute capability.

    `sm_XY` is machine code: it runs on its own major version, from minor Y on. `compute_XY` is PTX,
    which the driver compiles for every later GPU. An `a` ties either to its exact version, an `f`
    to its family: "Application Compatibility", CUDA C++ Programming Guide.

    Args:
        capability: Major and minor.
        architectures: As `torch.cuda.get_arch_list()` has them; none: nothing is known against it.
    """
    told = [re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", one) for one in architectures]
    known = [match for match in told if match is not None]
    for kind, major, minor, tie in (match.groups() for match in known):
        built = (int(major), int(minor))
        if tie == "a":
            fits = capability == built
        elif kind == "compute" and not tie:
            fits = capability >= built
        else:
            fits = capability[0] == built[0] and capability >= built
        if fits:
            return True
    return not known


def torch_dtype(dtype: Dtype, device: torch.device) -> torch.dtype:
    """What the setting means on this device: `auto` is bf16 on a GPU, and fp32 on a CPU."""
    if dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return DTYPES[dtype]
