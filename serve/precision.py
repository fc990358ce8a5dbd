"""Which numbers a model computes in, and which GPUs can. Imports no torch."""

from typing import Literal

Dtype = Literal["auto", "bf16", "fp16", "fp32"]

BF16_CAPABILITY = (8, 0)  # Ampere: CUDA C++ Programming Guide, table "Feature Support per Compute
# Capability"; before it torch emulates bf16 in float32, several times slower than float16


def bf16_fault(dtype: Dtype, name: str, capability: tuple[int, int]) -> str | None:
    """Why `auto`, which is bf16 on GPUs, is refused on this one, with the remedy; None if not.

    Args:
        dtype: The setting.
        name: The GPU's.
        capability: Its compute capability, major and minor.
    """
    if dtype != "auto" or capability >= BF16_CAPABILITY:
        return None
    major, minor = capability
    return (
        f"dtype: {name} has compute capability {major}.{minor}, and bf16 in hardware begins at "
        "8.0: use dtype=fp16 or fp32 (or bf16, for slow emulation), or another GPU"
    )
