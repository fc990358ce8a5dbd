"""A GPU day's tests: those marked `gpu`, without the ones that take minutes (`gpu_slow`).

Only files that hold such a mark are collected, since others need packages that nothing else here
does; warnings are no errors here, where the versions are the machine's own.
"""

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

from benchmarks.gpu_day_part import NEEDS_GPU, Session, session

ROOT = Path(__file__).resolve().parent.parent
MARK = "mark.gpu"
NONE_COLLECTED = 5
WORDS = ("-m", "gpu and not gpu_slow", "-W", "default", "--timeout", "40", "-q", "-ra",
         "-p", "no:cacheprovider")  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Run and tell; returns the exit code."""
    part, _ = session("gpu_day_tests", __doc__, argv)
    part.attempt("tests", "tests", lambda: _run(part))
    return part.end()


def files(root: Path) -> list[str]:
    """The test files that hold a GPU mark, relative to the checkout."""
    found = sorted((root / "tests").rglob("test_*.py"))
    return [str(path.relative_to(root)) for path in found if MARK in path.read_text("utf-8")]


def _run(part: Session) -> None:
    report = part.out / "tests.xml"
    command = [sys.executable, "-m", "pytest", *WORDS, f"--junitxml={report}", *files(ROOT)]
    done = subprocess.run(command, cwd=ROOT, check=False)
    if not report.is_file():
        raise RuntimeError(f"pytest: exit code {done.returncode}, and no report")
    failed = tell(part, report)
    if failed or done.returncode not in (0, NONE_COLLECTED):
        raise AssertionError(f"pytest: exit code {done.returncode}, failed: {', '.join(failed)}")


def tell(part: Session, report: Path) -> list[str]:
    """The counts of a JUnit report; returns the names of the tests that failed."""
    cases = list(ET.parse(report).getroot().iter("testcase"))  # noqa: S314 - our own file
    failed = [
        str(case.get("name"))
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    ]
    skipped = sum(case.find("skipped") is not None for case in cases)
    passed = len(cases) - len(failed) - skipped
    source = "pytest -m 'gpu and not gpu_slow'"
    for name, count in (("failed", len(failed)), ("skipped", skipped)):
        note = ", ".join(failed) if name == "failed" else ""
        part.book.add(f"tests {name}", count, "tests", source, note)
    if passed or part.on_gpu:
        part.book.add("tests passed", passed, "tests", source)
    else:
        part.book.lack("tests passed", "tests", NEEDS_GPU)
    return failed


if __name__ == "__main__":
    sys.exit(main())
