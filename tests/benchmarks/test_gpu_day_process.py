"""A part's process, and that nothing of it is left."""

import sys
from pathlib import Path

import psutil
import pytest

from benchmarks.gpu_day_process import MARK, Ended, marked, run

# A child in a session of its own, which the group's signal does not reach, then what `then` says.
CHILD = 'setsid sleep 60 & echo $! "${mark}"; {then}'


def started(log: Path, then: str, limit_s: float) -> tuple[Ended, int, str]:
    """How it ended, its child's id, and its mark."""
    line = ["sh", "-c", CHILD.format(mark=MARK, then=then)]
    ended = run(line, log=log, limit_s=limit_s, environ={}, patience_s=0.2)
    pid, mark = log.read_text().splitlines()[0].split()  # a shell may say that it was killed
    return ended, int(pid), mark


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_one_that_hangs_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    ended, pid, mark = started(tmp_path / "log", 'trap "" TERM; sleep 60', limit_s=0.4)
    assert (ended.timed_out, ended.code) == (True, -9)
    assert 0.4 <= ended.seconds < 10
    assert (is_gone(pid), marked(mark)) == (True, [])


def test_what_a_dead_parent_leaves_is_killed_too(tmp_path: Path) -> None:
    ended, pid, mark = started(tmp_path / "log", "exit 7", limit_s=20)
    assert (ended.timed_out, ended.code) == (False, 7)
    assert (is_gone(pid), marked(mark)) == (True, [])


def test_output_and_environment(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = "import os, sys; print(os.environ['A']); sys.exit('b')"
    ended = run([sys.executable, "-c", code], log=log, limit_s=20, environ={"A": "a"})
    assert (ended.code, log.read_text()) == (1, "a\nb\n")


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nosuch"):
        run(["/nosuch"], log=tmp_path / "log", limit_s=1, environ={})
