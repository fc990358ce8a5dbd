"""Builds the fake libraries of AMD and Intel, and gives the environment for them.

    env = fake_libraries.environment(tmp_path, amd="- gpus 2\\n", intel="0 power_w 120\\n")

A process under that environment sees the scripted GPUs through the real amdsmi and pyzes. The
scripts' language is described in fake_script.h and at the top of each library's file. A vendor
without a script has no GPU.
"""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
APART = Path(sys.prefix) / "vendors"  # `make test` puts amdsmi there: where Ray sees it, Ray fails
AMD_LIBRARY = "libamd_smi.so"
# pyzes opens the library by this path and no other. The dynamic linker takes a library that is
# loaded already under a name for the one asked for: so the fake has the path for its name, and is
# loaded beforehand.
INTEL_LIBRARY = "libze_loader.so.1"
INTEL_NAME = f"/usr/lib/x86_64-linux-gnu/{INTEL_LIBRARY}"


def package(name: str) -> Path | None:
    """The folder of an installed package, or one of those that stand apart; it is not imported."""
    spec = importlib.util.find_spec(name)
    if spec is not None and spec.origin is not None:
        return Path(spec.origin).parent
    return APART / name if (APART / name).is_dir() else None


def build_amd(folder: Path) -> Path:
    """Compile libamd_smi.so in `folder`; returns the folder.

    amdsmi wants every function it wraps to be there: those the fake lacks return
    AMDSMI_STATUS_NOT_SUPPORTED.
    """
    home = package("amdsmi")
    assert home is not None
    wrapper = (home / "amdsmi_wrapper.py").read_text()
    wanted = sorted(set(re.findall(r"_libraries\['libamd_smi.so'\]\.(\w+)", wrapper)))
    stubs = folder / "stubs.c"
    stubs.write_text(
        "".join(f"__attribute__((weak)) int {name}(void) {{ return 2; }}\n" for name in wanted)
    )
    _compile(folder / AMD_LIBRARY, AMD_LIBRARY, HERE / "fake_amdsmi.c", stubs)
    return folder


def build_intel(folder: Path) -> Path:
    """Compile libze_loader.so.1 in `folder`; returns the folder."""
    _compile(folder / INTEL_LIBRARY, INTEL_NAME, HERE / "fake_sysman.c")
    return folder


def environment(
    folder: Path, libraries: Path, amd: str | None = None, intel: str | None = None
) -> dict[str, str]:
    """This environment, with the libraries of the vendors that have a script."""
    env = dict(os.environ)
    roots = [str(HERE.parents[1]), env.get("PYTHONPATH", ""), str(APART)]
    env["PYTHONPATH"] = os.pathsep.join(filter(None, roots))
    for name in ("ROCM_HOME", "ROCM_PATH", "CUDA_VISIBLE_DEVICES", "LD_PRELOAD"):
        env.pop(name, None)
    if amd is not None:
        (folder / "amd.script").write_text(amd)
        env["FAKE_AMDSMI_SCRIPT"] = str(folder / "amd.script")
        env["LD_LIBRARY_PATH"] = str(libraries)
    if intel is not None:
        (folder / "intel.script").write_text(intel)
        env["FAKE_SYSMAN_SCRIPT"] = str(folder / "intel.script")
        env["LD_PRELOAD"] = str(libraries / INTEL_LIBRARY)
    return env


def _compile(library: Path, name: str, *sources: Path) -> None:
    subprocess.run(
        [
            *(os.environ.get("CC", "cc"), "-O1", "-shared", "-fPIC"),
            *(f"-Wl,-soname,{name}", "-I", str(HERE)),
            *map(str, sources),
            *("-o", str(library)),
        ],
        check=True,
    )
