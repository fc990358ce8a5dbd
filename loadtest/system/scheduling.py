"""How a generator's process stands with the kernel: its rank, and its table of open files."""

import contextlib
import fcntl
import os
import resource
import sys

MAX_FILES = 1 << 14
PRIORITY = -10  # nice value, where it cannot be real time


def come_first() -> None:
    """Have this thread run as soon as it wakes, where the user may: on time outranks computing.

    Real time (round robin, the lowest rank of it) if allowed, else a nice value; threads started
    later have neither. Amid other work on the cores the nice value left a p99 of 4 to 40 ms.
    """
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    with contextlib.suppress(PermissionError):
        policy = os.SCHED_RR | os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(0, policy, os.sched_param(os.sched_get_priority_min(os.SCHED_RR)))


def make_room_for_files() -> None:
    """Have the kernel grow this process's table of open files now, by opening a high number.

    Growing it later, at the 64th connection, the 128th and so on, holds a process of several
    threads up for some 6 ms each time (`expand_fdtable` waits for an RCU grace period).
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError):
        os.close(fcntl.fcntl(sys.stderr.fileno(), fcntl.F_DUPFD_CLOEXEC, min(soft, MAX_FILES) - 1))
