"""A GPU day's first part: which machine it is, and what torch makes of it.

The device files decide how many GPUs a server counts; cuDNN's version and torch's choice of
attention decide which kernels run.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.gpu_day_part import NEEDS_GPU, Session, session
from benchmarks.options import versions

DEVICES = Path("/dev")
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - Ray's object store; only asked for its room
PACKAGES = ("torch", "triton", "diffusers", "transformers", "numpy", "ray", "locust",
            "nvidia-ml-py", "msgspec")  # fmt: skip
QUERY = ("name,driver_version,memory.total,memory.used,power.limit,clocks.max.sm,compute_cap,"
         "mig.mode.current")  # fmt: skip
# Of SDXL at 1024 px and of its texts: (rows, heads, tokens, width of a head).
ATTENTIONS = {"SDXL's self attention": (16, 10, 4096, 64), "a text": (1, 12, 77, 64)}


def main(argv: list[str] | None = None) -> int:
    """Look; returns the exit code."""
    part, _ = session("gpu_day_environment", __doc__, argv)
    part.attempt("nvidia-smi", "text", lambda: _smi(part))
    names = device_files(DEVICES)
    part.book.add("device files", " ".join(names) or "none", "text", f"ls {DEVICES}/nvidia*")
    gpus = sum(map(is_gpu_file, names))
    part.book.add("device files of GPUs", gpus, "GPUs", f"{DEVICES}/nvidia[0-9]+")
    memory = psutil.virtual_memory()
    part.book.add("host memory free", memory.available, "bytes", "psutil",
                  f"of {memory.total:,}")  # fmt: skip
    for path in (SHARED_MEMORY, part.out):
        free = shutil.disk_usage(path).free
        part.book.add(f"room in {path.name or path}", free, "bytes", "statvfs")
    found = versions(PACKAGES)
    for name, version in found.items():
        part.book.add(name, version or "not installed", "text", "importlib.metadata")
    part.book.add("python", sys.version.split()[0], "text", "sys.version")
    part.attempt("torch's CUDA", "text", lambda: _torch(part))
    return part.end()


def device_files(folder: Path) -> list[str]:
    """Names of NVIDIA's device files in a folder."""
    return sorted(path.name for path in folder.glob("nvidia*"))


def is_gpu_file(name: str) -> bool:
    """Whether a device file is a GPU's own."""
    return re.fullmatch(r"nvidia\d+", name) is not None


def _smi(part: Session) -> None:
    program = shutil.which("nvidia-smi")
    if program is None:
        part.book.lack("nvidia-smi", "text", f"{NEEDS_GPU}: there is no nvidia-smi")
        return
    print(_output([program]))  # noqa: T201 - for the log
    told = _output([program, f"--query-gpu={QUERY}", "--format=csv,noheader"])
    part.book.add("nvidia-smi", " | ".join(told.splitlines()), "text", QUERY)


def _output(command: Sequence[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout


def _torch(part: Session) -> None:
    import torch

    part.book.add("torch's CUDA", str(torch.version.cuda), "text", "torch.version.cuda")
    if not part.on_gpu:
        for name, unit in (("cuDNN", "text"), ("GPU memory free", "bytes")):
            part.book.lack(name, unit, NEEDS_GPU)
    else:
        cuda: Any = torch.cuda
        free, total = cuda.mem_get_info(0)
        part.book.add("GPU memory free", free, "bytes", "cudaMemGetInfo", f"of {total:,}")
        cudnn: Any = torch.backends.cudnn
        part.book.add("cuDNN", str(cudnn.version()), "text", "torch.backends.cudnn.version()")
    for name, shape in ATTENTIONS.items():
        part.book.add(
            f"attention chosen for {name}",
            chosen_attention(shape, part.device),
            "text",
            "torch._fused_sdp_choice" + ("" if part.on_gpu else ", on a CPU"),
            "x".join(map(str, shape)),
        )


def chosen_attention(shape: tuple[int, ...], device: str) -> str:
    """The choice of torch among its kernels for attention of that shape, as `CUDNN_ATTENTION`."""
    import torch
    from torch.nn.attention import SDPBackend

    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    q = torch.empty(shape, device=device, dtype=dtype)
    number = torch._fused_sdp_choice(q, q, q)
    by_number = {int(each.value): name for name, each in SDPBackend.__members__.items()}
    return by_number.get(number, f"unknown: {number}")


if __name__ == "__main__":
    sys.exit(main())
