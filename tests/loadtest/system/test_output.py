"""stdout and stderr as they may be: full, closed, nobody's, not in UTF-8."""

import errno
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from loadtest.system.output import PLAIN, OutputError, Stream, guarded, width

PLAN = "import sys; from loadtest.cli.main import main; sys.exit(main(['scenarios']))"


def shell(words: str) -> subprocess.CompletedProcess[bytes]:
    """`$V` is `viralload scenarios`."""
    python = f'{sys.executable} -c "{PLAN}"'
    return subprocess.run(
        ["bash", "-c", words.replace("$V", python)],
        capture_output=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("$V > /dev/full", 1, "error: cannot write to standard output: No space left"),
        ("$V >&-", 2, "error: standard output is closed"),
        ("$V 2>&-", 0, ""),
        ("$V | true; exit ${PIPESTATUS[0]}", 0, ""),  # a closed pipe is silence
    ],
)
def test_streams_of_a_whole_command(words: str, code: int, said: str) -> None:
    done = shell(words)
    told = done.stderr.decode()
    assert done.returncode == code, told
    assert told.startswith(said)
    assert told.count("\n") == (1 if said else 0)
    assert "Traceback" not in told


class Broken(io.StringIO):
    """Fails as told."""

    def __init__(self, fault: Exception) -> None:
        super().__init__()
        self.fault = fault

    def write(self, text: str) -> int:
        raise self.fault


@pytest.mark.parametrize(
    ("fault", "is_result", "told"),
    [
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), True, None),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), False, None),
        (OSError(errno.ENOSPC, "No space left on device"), True, "No space left on device"),
        (OSError(errno.EIO, "Input/output error"), True, "Input/output error"),
        (OSError(errno.EIO, "Input/output error"), False, None),  # progress ends no run
        (ValueError("I/O operation on closed file"), True, "closed file"),
        (ValueError("I/O operation on closed file"), False, None),
    ],
)
def test_what_befalls_a_stream(fault: Exception, is_result: bool, told: str | None) -> None:
    stream = Stream(Broken(fault), is_result=is_result)
    if told is None:
        assert stream.write("text") == 4
    else:
        with pytest.raises(OutputError, match=told):
            stream.write("text")
    assert stream.write("more") == 4  # all that follows goes nowhere
    stream.flush()
    assert not stream.isatty()


@pytest.mark.parametrize(
    ("encoding", "text", "shown"),
    [
        ("ascii", "FAIL — ✗ 5 × 3", b"FAIL - x 5 x 3"),
        ("latin-1", "✓ größe ×", "+ größe ×".encode("latin-1")),
        ("cp1252", "— █ 日本", "— # ??".encode("cp1252")),
        ("ascii", "name\udce9", b"name?"),  # a name that is no UTF-8
        ("utf-8", "name\udce9 ✓", "name? ✓".encode()),
    ],
)
def test_what_a_stream_cannot_show_is_shown_otherwise(
    encoding: str, text: str, shown: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    real = io.TextIOWrapper(raw, encoding=encoding, write_through=True)
    monkeypatch.setattr(sys, "stdout", real)
    with guarded():
        sys.stdout.write(text)
    assert raw.getvalue() == shown
    assert real.errors == "strict"  # as it was


def test_what_is_shown_instead_can_be_shown() -> None:
    assert all(plain.isascii() for plain in PLAIN.values())


@pytest.mark.parametrize(("columns", "most", "found"), [(40, 96, 40), (200, 96, 96), (3, 96, 30)])
def test_the_width_of_a_terminal(
    columns: int, most: int, found: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

        def fileno(self) -> int:
            return 1

    size: Any = os.terminal_size((columns, 24))
    monkeypatch.setattr(os, "get_terminal_size", lambda _number: size)
    assert width(most, Terminal()) == found
    assert width(most, io.StringIO()) == most  # no terminal
