"""Builds fake_nvml.c, a `libnvidia-ml.so.1` that obeys a script, and gives the environment for it.

    env = fake_nvml.environment(tmp_path, "- gpus 2\\n1 power_mw 250000\\n")
    subprocess.run([sys.executable, "-m", "profiles.sampler", ...], env=env)

Any process under that environment sees the scripted GPUs through the real pynvml. The script's
language is described at the top of fake_nvml.h. Without a script: one GPU at 350 W. `Power` is the
script's truth about power and energy.
"""

import math
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("fake_nvml.c")


@dataclass(frozen=True)
class Power:
    """A scripted power: constant (at `low_w`), square or ramp between two values."""

    shape: str  # "constant" | "square" | "ramp"
    low_w: float
    high_w: float = 0.0
    period_s: float = 1.0

    @property
    def script(self) -> str:
        """The value of the script's key `power`."""
        if self.shape == "constant":
            return f"constant {1e3 * self.low_w}"
        return f"{self.shape} {1e3 * self.low_w} {1e3 * self.high_w} {self.period_s}"

    def energy_j(self, start_s: float, end_s: float) -> float:
        """The integral from start to end, in seconds since the script's zero."""
        return self._upto(end_s) - self._upto(start_s)

    def _upto(self, t_s: float) -> float:
        if self.shape == "constant":
            return self.low_w * t_s
        whole = math.floor(t_s / self.period_s)
        into_s = t_s - whole * self.period_s
        if self.shape == "square":  # high first
            high_s = min(into_s, self.period_s / 2)
            part = self.high_w * high_s + self.low_w * (into_s - high_s)
        else:
            part = self.low_w * into_s
            part += (self.high_w - self.low_w) * into_s**2 / (2 * self.period_s)
        return whole * self.period_s * (self.low_w + self.high_w) / 2 + part


def build(folder: Path) -> Path:
    """Compile the library in `folder`, once; returns the folder, for LD_LIBRARY_PATH."""
    library = folder / "libnvidia-ml.so.1"
    if not library.exists():
        subprocess.run(
            [
                *(os.environ.get("CC", "cc"), "-O1"),
                *("-shared", "-fPIC", "-fvisibility=hidden", "-Wl,-soname,libnvidia-ml.so.1"),
                *(str(SOURCE), "-o", str(library), "-lm"),
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
