#!/usr/bin/env python3
"""Install what `benchmarks.pack` packed, on a machine without network: `python3 unpack.py SITE`.

Every part has this file; all parts lie beside each other. The wheels are checked, those that were
cut are joined, and all go into SITE without their dependencies, none of which is looked up. The
last line is the one to export. Only the standard library and pip are used.

Exit codes: 0 installed, 1 a part is missing or damaged, or pip failed, 2 usage.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path


def main(words: "list[str]") -> int:
    """Install into the folder of that name; returns the exit code."""
    if len(words) != 1:
        sys.stderr.write("usage: python3 unpack.py SITE\n")
        return 2
    here, site = Path(__file__).resolve().parent, Path(words[0]).resolve()
    listed = json.loads((here / "CONTENTS.json").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as scratch:
        try:
            wheels = [str(join(here.parent, listed, name, Path(scratch)))
                      for name in listed["wheels"]]  # fmt: skip
        except (OSError, ValueError) as err:
            sys.stderr.write(f"error: {err}\n")
            return 1
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps",
                   "--no-compile", "--no-cache-dir", "--disable-pip-version-check", "--upgrade",
                   "--target", str(site), *wheels]  # fmt: skip
        if subprocess.call(command):
            sys.stderr.write("error: pip failed; its reason stands above\n")
            return 1
    sys.stdout.write(f"export PYTHONPATH={site}:$PWD\n")
    return 0


def join(parts: Path, listed: "dict[str, dict[str, object]]", name: str, scratch: Path) -> Path:
    """A wheel of that name, joined from its pieces where it was cut, and checked.

    Raises:
        FileNotFoundError: A part is not there.
        ValueError: It is not what was packed.
    """
    pieces = [piece for piece in listed["pieces"] if piece["wheel"] == name]  # type: ignore[index]
    paths = [
        parts / f"part-{piece['part']}" / piece["file"]  # type: ignore[index]
        for piece in sorted(pieces, key=lambda piece: piece["start"])  # type: ignore[index]
    ]
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"{path} is not there: put all parts beside each other")
    whole = paths[0]
    if len(paths) > 1:
        whole = scratch / name
        whole.write_bytes(b"".join(path.read_bytes() for path in paths))
    found = hashlib.sha256(whole.read_bytes()).hexdigest()
    if found != listed["wheels"][name]["sha256"]:  # type: ignore[index]
        raise ValueError(f"{name} is damaged: carry its part again")
    return whole


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
