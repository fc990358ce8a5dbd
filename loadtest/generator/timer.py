"""Waking a greenlet at an instant, to some ten microseconds.

libev's timers end in epoll_wait, whose time-out is in whole milliseconds; a timerfd is one more
file that the loop watches, and the kernel's high-resolution timer makes it readable. Python has it
from 3.13 on, so libc is called here.
"""

import ctypes
import os

import gevent

CLOCK_MONOTONIC = 1
TFD_TIMER_ABSTIME = 1
READ = 1  # of a libev watcher

_libc = ctypes.CDLL(None, use_errno=True)


class _Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("it_interval", _Timespec), ("it_value", _Timespec))


class Alarm:
    """One timer of the kernel; one greenlet at a time waits for it.

    Raises:
        OSError: no timerfd.
    """

    def __init__(self) -> None:
        self._fd = _libc.timerfd_create(CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")
        self._hub = gevent.get_hub()
        self._watcher = self._hub.loop.io(self._fd, READ)
        self._at = _Itimerspec()

    def wait_until(self, t_s: float) -> None:
        """Sleep until CLOCK_MONOTONIC shows `t_s`; at once if it is past."""
        self._at.it_value.tv_sec, self._at.it_value.tv_nsec = divmod(max(1, int(t_s * 1e9)), 10**9)
        _libc.timerfd_settime(self._fd, TFD_TIMER_ABSTIME, ctypes.byref(self._at), None)
        self._hub.wait(self._watcher)
        os.read(self._fd, 8)

    def close(self) -> None:
        """Give it back."""
        self._watcher.stop()
        os.close(self._fd)
