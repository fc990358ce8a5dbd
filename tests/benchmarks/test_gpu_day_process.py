"""A part's process, and that nothing of it is left."""

import sys
from pathlib import Path

import pytest

from benchmarks.gpu_day_process import MARK, Ended, marked, run

# A child in a session of its own, which the group's signal does not reach, then what `then` says.
CHILD = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"],
                         start_new_session=True)
print(child.pid, os.environ[{mark!r}], flush=True)
{then}
"""


def started(log: Path, then: str, limit_s: float) -> tuple[Ended, str]:
    """How it ended, and its mark."""
    code = CHILD.format(mark=MARK, then=then)
    ended = run([sys.executable, "-c", code], log=log, limit_s=limit_s, environ={}, patience_s=0.2)
    return ended, log.read_text().split()[1]


def test_one_that_hangs_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    ignore = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    ended, mark = started(tmp_path / "log", ignore, limit_s=0.4)
    assert (ended.timed_out, ended.code) == (True, -9)
    assert 0.4 <= ended.seconds < 10
    assert marked(mark) == []


def test_what_a_dead_parent_leaves_is_killed_too(tmp_path: Path) -> None:
    ended, mark = started(tmp_path / "log", "os._exit(7)", limit_s=20)
    assert (ended.timed_out, ended.code) == (False, 7)
    assert marked(mark) == []


def test_output_and_environment(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = "import os, sys; print(os.environ['A']); sys.exit('b')"
    ended = run([sys.executable, "-c", code], log=log, limit_s=20, environ={"A": "a"})
    assert (ended.code, log.read_text()) == (1, "a\nb\n")


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nosuch"):
        run(["/nosuch"], log=tmp_path / "log", limit_s=1, environ={})
