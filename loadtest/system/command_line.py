"""This process's command line as `ps` shows it, without the secrets that were typed into it."""

import contextlib
import ctypes
from collections.abc import Sequence
from pathlib import Path

ARGUMENTS_START = 48 - 3  # field 48 of /proc/PID/stat (proc(5)), behind the name's bracket


def hide(secrets: Sequence[str]) -> None:
    """Overwrite each of these words in this process's arguments with asterisks, as curl does.

    The arguments lie in this process's own memory, and Linux shows what lies there now. Where that
    is not so, they stay: then only this process's own line shows what its user typed.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        told = Path("/proc/self/cmdline").read_bytes()
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start = int(fields[ARGUMENTS_START])
        for secret in filter(None, secrets):
            word = secret.encode("utf-8", "surrogateescape")
            at = told.find(word)
            while at >= 0:
                if ctypes.string_at(start + at, len(word)) == word:
                    ctypes.memset(start + at, ord("*"), len(word))
                at = told.find(word, at + len(word))
