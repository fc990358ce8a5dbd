"""Whatever no one else has turned into words, in one line with a remedy. Pure, but for `keep`.

Every error that is foreseen says by itself what to do next. The rest (a disk that fills, bytes that
are no text, a package that cannot be imported, a fault of ours) ends here: `in_words` is what the
user reads, and `keep` puts the traceback where it can be looked at.
"""

import errno
import os
import re
import traceback
from collections.abc import Iterable
from pathlib import Path

MAX_CHARS = 600
HIDDEN = "***"
ROOM = "free some room there, or name another place with --out DIR"
ALLOWED = "see its permissions, or name a place that you may write to (--out DIR; TMPDIR)"
GONE = "it is not there, or was taken away meanwhile"
AGAIN = "see that it can be used, and try again"
FILES = "raise `ulimit -n`"
REMEDIES = {
    errno.ENOSPC: ROOM,
    errno.EDQUOT: ROOM,
    errno.EFBIG: ROOM,
    errno.EROFS: ALLOWED,
    errno.EACCES: ALLOWED,
    errno.EPERM: ALLOWED,
    errno.ENOENT: GONE,
    errno.ENOTDIR: GONE,
    errno.ESTALE: GONE,
    errno.EMFILE: FILES,
    errno.ENFILE: FILES,
    errno.ENOMEM: "end other processes, or use a machine with more memory",
    errno.EADDRINUSE: "choose another port",
}
_HALF_WRITTEN = re.compile(r"\d+ requested and \d+ written")  # numpy, of a full disk


def in_words(err: BaseException, secrets: Iterable[str | None] = ()) -> str:
    """One printable line: what failed, and what to do next.

    Args:
        err: what was raised.
        secrets: values that must not be shown, should the error quote them.
    """
    notes = "".join(f"; {note}" for note in getattr(err, "__notes__", ()))
    return hide(printable(f"{_told(err)}{notes}"), secrets)


def reason(err: OSError) -> str:
    """Why a file cannot be used, and what to do, for a sentence that names the file itself."""
    number = err.errno
    if number is None and _HALF_WRITTEN.search(str(err)):
        number = errno.ENOSPC
    said = err.strerror or (os.strerror(number) if number else str(err) or type(err).__name__)
    return f"{said}; {REMEDIES.get(number or 0, AGAIN)}"


def printable(text: str) -> str:
    """One line of at most MAX_CHARS that no terminal takes for a command."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= MAX_CHARS else f"{line[: MAX_CHARS - 2]} …"


def hide(text: str, secrets: Iterable[str | None]) -> str:
    """The text without these values."""
    for secret in secrets:
        for form in {secret, (secret or "").strip(), repr(secret)[1:-1]}:
            if form and len(form) >= 4:  # shorter ones are words of any text
                text = text.replace(form, HIDDEN)
    return text


def keep(err: BaseException, log: Path, secrets: Iterable[str | None] = ()) -> None:
    """Append the traceback to a log, and note on the error where it is; a full disk keeps none."""
    told = hide("".join(traceback.format_exception(err)), secrets)
    try:
        with log.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(told)
    except OSError:
        return
    err.add_note(f"the traceback is in {log}")


def _told(err: BaseException) -> str:
    if hasattr(err, "exit_code"):  # foreseen: its words are whole
        return str(err)
    if isinstance(err, OSError):
        return _of_the_system(err)
    if isinstance(err, UnicodeError):
        return f"{_bytes(err)}: write names, paths and texts in UTF-8, and set LC_ALL=C.UTF-8"
    if isinstance(err, RecursionError):
        return "what was read is nested too deeply: see the file, or the server's answer"
    if isinstance(err, MemoryError):
        return "there is not enough memory: lower --peak, or use a machine with more"
    if isinstance(err, ImportError):
        return (
            f"{err.name or 'a package'} cannot be imported ({err}): install it again, such as with "
            "pip install --force-reinstall"
        )
    return f"{type(err).__name__}: {err}. This is a fault of viralload: please report it"


def _of_the_system(err: OSError) -> str:
    names = [os.fsdecode(n) for n in (err.filename, err.filename2) if isinstance(n, str | bytes)]
    what = f"cannot use {' and '.join(names)}: " if names else ""
    return f"{what}{reason(err)}"


def _bytes(err: UnicodeError) -> str:
    if isinstance(err, UnicodeEncodeError):
        return f"{err.object[err.start : err.end]!a} cannot be written as {err.encoding}"
    if isinstance(err, UnicodeDecodeError):
        return f"byte 0x{err.object[err.start]:02x} at {err.start} is no {err.encoding}"
    return str(err)
