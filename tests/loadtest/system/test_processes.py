import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from loadtest.errors import ViralloadError
from loadtest.system.processes import Child, last_words


def python(code: str, log: Path) -> Child:
    return Child("helper", [sys.executable, "-u", "-c", code], log, {"SEEN": "yes"})


def test_the_first_line_is_read_and_the_rest_goes_to_the_log(tmp_path: Path) -> None:
    code = "import os, sys; print(os.environ['SEEN']); sys.stderr.write('noted')"
    child = python(code, tmp_path / "log")
    assert child.first_line(10.0) == b"yes"
    assert child.end(10.0) == 0
    assert (tmp_path / "log").read_text() == "noted"


def test_a_child_that_fails_at_start_is_quoted(tmp_path: Path) -> None:
    child = python("import sys; sys.exit('error: no such thing')", tmp_path / "log")
    with pytest.raises(ViralloadError, match="the helper ended at start: no such thing"):
        child.first_line(10.0)
    assert child.end(1.0) == 1


def test_a_child_that_says_nothing_is_given_up(tmp_path: Path) -> None:
    child = python("import time; time.sleep(60)", tmp_path / "log")
    with pytest.raises(ViralloadError, match="was not ready in 0 s"):
        child.first_line(0.2)
    assert child.end(5.0) == -signal.SIGTERM


def test_a_child_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up'); time.sleep(60)"
    child = python(code, tmp_path / "log")
    child.first_line(10.0)
    assert child.end(0.2) == -signal.SIGKILL
    assert not psutil.pid_exists(child.pid)


CLEAN_UP = """
import subprocess, sys
from loadtest.system.processes import kill_descendants
seconds, patience_s, file = sys.argv[1:]
clears_up = f"echo up; sleep {seconds}; echo cleared > {file}"
guard = subprocess.Popen(["/bin/sh", "-c", clears_up, "viralload-guard"], stdout=subprocess.PIPE)
other = subprocess.Popen(["sleep", "60"])
guard.stdout.readline()
kill_descendants(float(patience_s))
print(other.wait(), guard.wait())
"""


@pytest.mark.parametrize(("seconds", "patience_s", "cleared"), [(0.3, 10, True), (60, 0.1, False)])
def test_what_clears_up_behind_a_killed_server_is_let_come_to_its_end(
    tmp_path: Path, seconds: float, patience_s: float, cleared: bool
) -> None:
    file = tmp_path / "file"
    done = subprocess.run(
        [sys.executable, "-c", CLEAN_UP, str(seconds), str(patience_s), str(file)],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.stdout.split()[0] in ("-9", "0"), done.stderr  # 0: reaped before it was asked
    assert file.exists() is cleared


TABLE = """\
Type     Name                          # reqs  # fails |  Avg  Min  Max  Med | req/s  failures/s
--------|-----------------------------|-------|-------|-----|-----|-----|----|------|-----------
POST     /v1/images/generations            47  0(0.00%) |  51    2    9    5 | 4.70        0.00
         Aggregated                        47  0(0.00%) |  51    2    9    5 | 4.70        0.00
Response time percentiles (approximated)
         Aggregated    47     51     56     60    70    80    90    95    98    99
"""


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("", "it said nothing"),
        ("one\ntwo\n\n", "two"),
        ("error: no such thing\nbye\n", "no such thing"),
        (f"worker 1 was lost\n{TABLE}", "worker 1 was lost"),
        (f"Traceback:\nOSError: [Errno 24] Too many open files\n{TABLE}",
         "OSError: [Errno 24] Too many open files"),
        (TABLE, "it said nothing"),
    ],
)  # fmt: skip
def test_last_words_are_of_an_error_and_never_of_a_table(log: str, said: str) -> None:
    """F25."""
    assert last_words(log) == said
