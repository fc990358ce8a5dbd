"""Wheels for a machine with a GPU and without network: what a run and a GPU day need, in two parts.

    python -m benchmarks.pack OUT [--installed FILE] [--python 3.12] [--part-mib 58]

pip resolves the project's requirements and the GPU tests' for that Python on Linux x86_64, at the
versions of constraints.txt. Left out are torch, with what comes with it, whatever only draws or
only develops, and what FILE says that machine has: lines as `pip list --format=freeze` prints them
there, NAME==VERSION or NAME alone. One it has in a version that the others here refuse is packed
all the same. The project itself is not packed: it runs from its checkout.

OUT is made, and gets part-1 and, if need be, part-2, each with wheels (one that
fits into neither is cut), the list of all (CONTENTS.json, and CONTENTS.txt to read), and unpack.py.
Carry them; on the machine, from the checkout:

    python3 OUT/part-1/unpack.py SITE

which ends with the line to export, then `python3 -m benchmarks.gpu_day --out ...`.

Exit codes: 0 packed, 1 it cannot be, such as for its size, 2 usage.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from benchmarks.pack_parts import MIB, PackError, layout, write

ROOT = Path(__file__).resolve().parent.parent
PART_MIB = 58.0
# What GPU tests need beside the project's own requirements.
TESTS = ("pytest", "pytest-timeout", "hypothesis")
# Only for pictures; for Ray's environments made at run time; for its dashboard's profiler.
NOT_NEEDED = frozenset({"altair", "vl-convert-python", "virtualenv", "distlib", "py-spy"})
# A CUDA build of torch is what a machine with a GPU has, and is gigabytes.
WITH_TORCH = ("torch", "triton", "cuda-", "nvidia-")
NVML = "nvidia-ml-py"
PLATFORMS = (
    *(f"manylinux_2_{minor}_x86_64" for minor in (39, 35, 34, 31, 28, 27, 24, 17, 12, 5)),
    "manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64",
)  # fmt: skip


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A package as pip resolved it; `requires` are its requirements on that machine, in words."""

    name: str
    version: str
    requires: tuple[str, ...] = ()


def main(argv: list[str] | None = None) -> int:
    """Pack; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pack", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("out", type=Path, help="a folder to be made")
    parser.add_argument("--installed", type=Path, metavar="FILE", help="what that machine has")
    parser.add_argument("--python", default="3.12", help="of that machine")
    parser.add_argument("--part-mib", type=float, default=PART_MIB, help="most of a part, MiB")
    asked = parser.parse_args(argv)
    try:
        text = asked.installed.read_text(encoding="utf-8") if asked.installed else ""
        installed = read_installed(text)
        if asked.out.exists():
            raise PackError(f"{asked.out} is there already: name a folder to be made")
    except (OSError, PackError) as err:
        print(f"error: {err}", file=sys.stderr)  # noqa: T201
        return 2
    try:
        with tempfile.TemporaryDirectory(prefix="viralload-pack-") as scratch:
            chosen = needed(resolve(asked.python, Path(scratch)), installed)
            wheels = download(chosen, asked.python, Path(scratch) / "wheels")
            sizes = {wheel.name: wheel.stat().st_size for wheel in wheels}
            pieces = layout(sizes, int(asked.part_mib * MIB))
            write(asked.out, wheels, pieces)
    except (PackError, OSError) as err:
        print(f"error: {err}", file=sys.stderr)  # noqa: T201
        return 1
    print((asked.out / "part-1" / "CONTENTS.txt").read_text(), end="")  # noqa: T201
    return 0


def read_installed(text: str) -> dict[str, str | None]:
    """Packages by their canonical names, with their versions; None where none is said.

    Raises:
        PackError: A line is neither NAME nor NAME==VERSION.
    """
    found: dict[str, str | None] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].partition(" @ ")[0].strip()
        if not words:
            continue
        try:
            one = Requirement(words)
        except InvalidRequirement as err:
            raise PackError(f"--installed: line {number}: '{line}' is no NAME==VERSION") from err
        versions = [each.version for each in one.specifier if each.operator == "=="]
        found[canonicalize_name(one.name)] = versions[0] if versions else None
    return found


def requirements() -> list[str]:
    """What is resolved: the project's own requirements but torch and what draws, and the tests'."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    own = [each for each in project["dependencies"] if not _left_out(_name(each))]
    return [*own, *TESTS]


def resolve(python: str, scratch: Path) -> list[Found]:
    """Every package that the requirements lead to, by pip, at the versions of constraints.txt.

    Raises:
        PackError: pip finds no such set.
    """
    report = scratch / "report.json"
    _pip("install", "--dry-run", "--ignore-installed", "--report", str(report),
         "--target", str(scratch / "none"), "-c", str(ROOT / "constraints.txt"),
         *_target(python), *requirements())  # fmt: skip
    items = json.loads(report.read_text(encoding="utf-8"))["install"]
    return [found_of(item["metadata"], python) for item in items]


def found_of(metadata: Mapping[str, Any], python: str) -> Found:
    """A package of pip's report, its requirements without extras on that Python."""
    environment = {"python_version": python, "python_full_version": f"{python}.0", "extra": "",
                   "sys_platform": "linux", "platform_system": "Linux",
                   "platform_machine": "x86_64"}  # fmt: skip
    asks = [Requirement(each) for each in metadata.get("requires_dist", ())]
    return Found(
        name=canonicalize_name(metadata["name"]),
        version=metadata["version"],
        requires=tuple(
            f"{each.name}{each.specifier}"
            for each in asks
            if each.marker is None or each.marker.evaluate(environment)
        ),
    )


def needed(found: Sequence[Found], installed: Mapping[str, str | None]) -> dict[str, str]:
    """Names and versions to pack: what that machine lacks, or has in a version others refuse."""
    here = {each.name: each for each in found if not _left_out(each.name)}
    chosen = {name for name in here if name not in installed}
    while True:
        asks = [*requirements(), *(ask for name in chosen for ask in here[name].requires)]
        refused = {name for name in map(_name, _unmet(asks, installed)) if name in here} - chosen
        if not refused:
            return {name: here[name].version for name in sorted(chosen)}
        chosen |= refused


def _unmet(asks: Iterable[str], installed: Mapping[str, str | None]) -> list[str]:
    """The requirements that what is installed does not meet; no version said meets all."""
    unmet = []
    for ask in asks:
        one = Requirement(ask)
        version = installed.get(canonicalize_name(one.name))
        if version is not None and not one.specifier.contains(version, prereleases=True):
            unmet.append(ask)
    return unmet


def download(chosen: Mapping[str, str], python: str, folder: Path) -> list[Path]:
    """The wheels, largest first.

    Raises:
        PackError: pip has one of them not as a wheel.
    """
    folder.mkdir()
    if chosen:
        _pip("download", "--no-deps", "-d", str(folder), *_target(python),
             *(f"{name}=={version}" for name, version in chosen.items()))  # fmt: skip
    return sorted(folder.glob("*.whl"), key=lambda path: (-path.stat().st_size, path.name))


def _left_out(name: str) -> bool:
    return name in NOT_NEEDED or (name != NVML and name.startswith(WITH_TORCH))


def _name(requirement: str) -> str:
    return canonicalize_name(Requirement(requirement).name)


def _target(python: str) -> list[str]:
    words = ["--only-binary=:all:", "--implementation", "cp", "--python-version", python]
    for platform in PLATFORMS:
        words += ["--platform", platform]
    return words


def _pip(*words: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *words]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise PackError("pip: " + " ".join(said or done.stderr.splitlines()[-1:]))


if __name__ == "__main__":
    sys.exit(main())
