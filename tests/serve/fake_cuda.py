"""Builds fake_cuda.c, a `libcuda.so.1` that obeys an environment variable."""

import os
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("fake_cuda.c")


def build(folder: Path) -> Path:
    """Compile the library in `folder`; returns the folder, for LD_LIBRARY_PATH."""
    library = folder / "libcuda.so.1"
    compiler = os.environ.get("CC", "cc")
    subprocess.run([compiler, "-shared", "-fPIC", str(SOURCE), "-o", str(library)], check=True)
    return folder
