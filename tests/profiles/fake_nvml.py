"""Builds fake_nvml.c, a `libnvidia-ml.so.1` that obeys a script, and gives the environment for it.

    env = fake_nvml.environment(tmp_path, "- gpus 2\\n1 power_mw 250000\\n")
    subprocess.run([sys.executable, "-m", "profiles.sampler", ...], env=env)

Any process under that environment sees the scripted GPUs through the real pynvml. The script's
language is described at the top of fake_nvml.c. Without a script: one GPU at 350 W.
"""

import os
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("fake_nvml.c")


def build(folder: Path) -> Path:
    """Compile the library in `folder`, once; returns the folder, for LD_LIBRARY_PATH."""
    library = folder / "libnvidia-ml.so.1"
    if not library.exists():
        subprocess.run(
            [
                *(os.environ.get("CC", "cc"), "-O1"),
                *("-shared", "-fPIC", "-fvisibility=hidden", "-Wl,-soname,libnvidia-ml.so.1"),
                *(str(SOURCE), "-o", str(library)),
            ],
            check=True,
        )
    return folder


def environment(folder: Path, script: str = "", library: Path | None = None) -> dict[str, str]:
    """This environment, with the fake library under `script`.

    The script goes to `folder`, and so does the library unless it is in `library` already.
    """
    script_path = folder / "nvml.script"
    script_path.write_text(script)
    env = {
        **os.environ,
        "LD_LIBRARY_PATH": str(library or build(folder)),
        "FAKE_NVML_SCRIPT": str(script_path),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    env.pop("CUDA_VISIBLE_DEVICES", None)
    return env
