"""Whatever is left becomes one line with a remedy, and tells no secret."""

import errno
import os
from pathlib import Path

import pytest

from profiles.edge import HIDDEN, MAX_CHARS, in_words, keep, reason
from profiles.record.folder import RunError

SECRET = "sk-a-marked-secret"


def of(number: int, name: str | None = "/a/b") -> OSError:
    return OSError(number, os.strerror(number), name)


def decoded() -> Exception:
    try:
        b"name\xe9".decode()
    except UnicodeDecodeError as err:
        return err
    raise AssertionError


def encoded() -> Exception:
    try:
        "/bilder-größe".encode("ascii")
    except UnicodeEncodeError as err:
        return err
    raise AssertionError


@pytest.mark.parametrize(
    ("err", "said"),
    [
        (of(errno.ENOSPC), ["/a/b", "No space left", "--out DIR"]),
        (of(errno.EROFS), ["Read-only", "that you may write to"]),
        (of(errno.EACCES), ["Permission denied", "permissions"]),
        (of(errno.ENOENT), ["/a/b", "taken away meanwhile"]),
        (of(errno.EMFILE, None), ["Too many open files", "ulimit -n"]),
        (of(errno.ESTALE), ["taken away meanwhile"]),  # a network disk
        (of(errno.EIO), ["Input/output error", "see that it can be used"]),
        (OSError("20057 requested and 5721 written"), ["No space left", "--out DIR"]),
        (FileNotFoundError(2, "No such file", b"name\xe9"), ["cannot use name", "No such file"]),
        (decoded(), ["0xe9", "utf-8", "LC_ALL=C.UTF-8"]),
        (encoded(), ["\\xf6\\xdf", "ascii", "UTF-8"]),
        (RecursionError("maximum recursion depth exceeded"), ["nested too deeply"]),
        (MemoryError(), ["not enough memory", "--peak"]),
        (ImportError("no libfoo.so", name="numba"), ["numba", "no libfoo.so", "pip install"]),
        (RuntimeError("Could not\ndetermine"), ["RuntimeError: Could not determine", "report it"]),
        (KeyError("x\x1b[2J"), ["KeyError", "report it"]),
        (ValueError(f"Invalid header value b'Bearer {SECRET}\\r'"), [HIDDEN]),
        (UnicodeError("x" * 9000), ["…"]),
    ],
)
def test_in_words(err: BaseException, said: list[str]) -> None:
    told = in_words(err, [None, "", f"{SECRET}\r"])
    for words in said:
        assert words in told
    assert told.isprintable()
    assert len(told) <= MAX_CHARS
    assert SECRET not in told


def test_what_was_foreseen_is_no_fault_of_viralloads() -> None:
    assert in_words(RunError("cannot write r/report.html: full")) == (
        "cannot write r/report.html: full"
    )


def test_the_traceback_is_kept_without_secrets_and_told_of(tmp_path: Path) -> None:
    log = tmp_path / "viralload.log"
    with pytest.raises(ValueError) as raised:
        raise ValueError(f"bad header {SECRET}")
    keep(raised.value, log, [SECRET])
    assert f"the traceback is in {log}" in in_words(raised.value)
    kept = log.read_text()
    assert kept.startswith("Traceback")
    assert SECRET not in kept
    assert HIDDEN in kept


def test_a_log_that_cannot_be_written_is_not_told_of(tmp_path: Path) -> None:
    err = ValueError("x")
    keep(err, tmp_path / "gone" / "viralload.log")
    assert "traceback" not in in_words(err)


def test_a_reason_names_the_remedy() -> None:
    assert reason(of(errno.ENOSPC)).startswith("No space left on device; free some room")
