"""What the processes of a run take from where they are started: nothing but what is told here.

A user of Locust, Ray or Python has settings of their own around: `LOCUST_RUN_TIME`, `locust.conf`,
`RAY_ADDRESS`, `PYTHONSTARTUP`, a `serve.py` or `queue.py` in the working folder. None of them is
about this run, and any of them could end it, redirect it, or be run in it. So children are started
with `-P`, which keeps the working folder out of Python's path, and without those variables.

What is passed on of PYTHON*: where Python and its packages lie (PASSED_ON), and of PYTHONPATH the
folders that packages were installed into (`pip install --target`), behind this package's own.
"""

import os
import pwd
import site
import sys
import sysconfig
from collections.abc import Mapping, MutableMapping
from pathlib import Path

FOREIGN = ("LOCUST", "RAY_", "SERVE_", "PYTHON", "GEVENT", "FLASK_")  # beginnings of names
PASSED_ON = (
    "PYTHONHOME",
    "PYTHONUSERBASE",
    "PYTHONNOUSERSITE",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONPYCACHEPREFIX",
)
ROOT = Path(__file__).resolve().parents[2]  # a checkout, or where packages are installed


def python(module: str, *words: str) -> list[str]:
    """The command line that runs a module of ours, whatever lies in the working folder."""
    return [sys.executable, "-P", "-m", module, *words]


def environ(
    own: Mapping[str, str] | None = None, around: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """The environment of a child process.

    Args:
        own: what it is told by us.
        around: this process's own environment.
    """
    kept = {
        name: value
        for name, value in around.items()
        if name in PASSED_ON or not name.startswith(FOREIGN)
    }
    path = python_path(around.get("PYTHONPATH", ""))
    if path:
        kept["PYTHONPATH"] = os.pathsep.join(path)
    kept["PYTHONSAFEPATH"] = "1"  # of its own children, too
    kept["PYTHONUTF8"] = "1"  # its log is UTF-8 whatever the locale
    return {**kept, **(own or {})}


def set_home(around: MutableMapping[str, str] = os.environ) -> None:
    """Let a user whom this machine does not know have a home and a name, as packages ask for both.

    A container started as any uid has no line in /etc/passwd, and often no HOME. What cannot be
    written below `/` is done without.
    """
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        around.setdefault("HOME", "/")
        around.setdefault("USER", f"uid-{os.getuid()}")


def python_path(
    told: str, root: Path = ROOT, installed: frozenset[Path] | None = None
) -> list[str]:
    """The PYTHONPATH of a child: ours, where Python would not find it, and installed packages.

    Args:
        told: this process's own PYTHONPATH.
        root: the folder this package lies in.
        installed: folders of packages that Python looks into by itself; None: this Python's.
    """
    if installed is None:
        installed = _installed()
    here = _working_folder()
    found = [] if root in installed else [str(root)]
    for entry in told.split(os.pathsep):
        if not Path(entry).is_absolute():  # an empty one is the working folder
            if here is None:
                continue
            entry = str(here / entry)
        folder = Path(entry).resolve()
        if folder not in (here, root) and _has_packages(folder):
            found.append(str(folder))
    return found


def _working_folder() -> Path | None:
    try:
        return Path.cwd().resolve()
    except OSError:  # it was deleted
        return None


def _has_packages(folder: Path) -> bool:
    try:
        return any(folder.glob("*.dist-info")) or any(folder.glob("*.egg-info"))
    except OSError:
        return False


def _installed() -> frozenset[Path]:
    folders = [*site.getsitepackages(), site.getusersitepackages(), sysconfig.get_path("purelib")]
    return frozenset(Path(folder).resolve() for folder in folders)
