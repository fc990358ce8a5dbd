"""What a pinned installation consists of, file by file: `python -m benchmarks.hashes > hashes.txt`.

Asks pip what it would install of `constraints.txt` for this Python on this platform, installs
nothing, and prints a requirements file with the SHA-256 of each file:

    python -m pip install --require-hashes --no-deps -r hashes.txt
    python -m pip install --no-deps --no-build-isolation -e .

installs those files and no others, on any machine of the same platform and Python. They are the
files that the index gave when this ran: compare two lists that were made at different places, or
read one, before it is trusted.

Exit codes: 0 printed, 1 pip failed, 2 usage.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


class UnknownHashError(ValueError):
    """pip told no hash of a file."""


def lines(report: dict[str, Any]) -> list[str]:
    """A requirement a file of pip's installation report, with its SHA-256, by name.

    Raises:
        UnknownHashError: a file has none, as a checkout of a repository.
    """
    found = []
    for item in report["install"]:
        about, origin = item["metadata"], item["download_info"]
        digest = origin.get("archive_info", {}).get("hashes", {}).get("sha256")
        if digest is None:
            raise UnknownHashError(f"{about['name']}: {origin['url']} has no hash")
        found.append(f"{about['name'].lower()}=={about['version']} --hash=sha256:{digest}")
    return sorted(found)


def main(argv: list[str] | None = None) -> int:
    """Ask pip and print; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.hashes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet"]
        command += ["--ignore-installed", "--no-deps", "--report", str(report)]
        command += ["-r", str(ROOT / "constraints.txt")]
        if subprocess.run(command, stdout=sys.stderr, check=False).returncode:
            return 1
        try:
            told = lines(json.loads(report.read_bytes()))
        except UnknownHashError as err:
            print(f"error: {err}", file=sys.stderr)  # noqa: T201
            return 1
    print("\n".join(told))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
