import os
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.system import scheduling


def test_room_for_files_leaves_none_open() -> None:
    before = sorted(Path("/proc/self/fd").iterdir())
    scheduling.make_room_for_files()
    assert sorted(Path("/proc/self/fd").iterdir()) == before
    size = next(
        int(line.split()[1])
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("FDSize:")
    )
    assert size >= 1024  # the usual limit; a table of three files has 64


def test_who_may_not_come_first_goes_on() -> None:
    # in a process of its own: pytest itself should not run in real time
    code = (
        "import os, resource\n"
        "from loadtest.system import scheduling\n"
        "scheduling.come_first()\n"
        "print(os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK, os.getpriority(0, 0))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    policy, nice = (int(word) for word in done.stdout.split())
    assert policy in (os.SCHED_RR, os.SCHED_OTHER)
    assert nice <= os.getpriority(os.PRIO_PROCESS, 0)


def test_a_refusal_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "not permitted")

    monkeypatch.setattr(os, "setpriority", refuse)
    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    scheduling.come_first()
