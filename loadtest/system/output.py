"""stdout and stderr as they really are: full, closed, a pipe nobody reads, not in UTF-8.

stdout is the result. Who closes the pipe has read enough: the rest goes nowhere, and the command
ends as it would have. A stdout that cannot be written is an error. stderr is the progress: nothing
that befalls it ends a run. Characters that a stream cannot show are shown as others.
"""

import codecs
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import IO, Any, TextIO, cast

MIN_COLUMNS = 30  # below it nothing is readable anyway
MAX_COLUMNS = 96
PLAIN = {
    "—": "-", "–": "-", "−": "-", "─": "-", "│": "|", "┤": "|", "└": "+", "·": ".", "…": "...",
    "✓": "+", "✗": "x", "×": "x", "±": "+-", "≤": "<=", "≥": ">=", "µ": "u", "→": "->",
    "█": "#", "▇": "#", "▆": "#", "▅": "=", "▄": "=", "▃": "-", "▂": "-", "▁": "_", "░": ".",
    "“": '"', "”": '"', "‘": "'", "’": "'", "\u00a0": " ", "²": "2", "°": "deg", "■": "#",
}  # fmt: skip


class OutputError(Exception):
    """The result cannot be written to stdout."""

    exit_code = 1


class Stream:
    """A text stream that survives what befalls the real one.

    Args:
        real: the stream; None: it was closed before this process began.
        is_result: what cannot be written is an error, as on stdout.

    Attributes:
        hide: what a text goes through before it is written, so that no secret is in it.
    """

    def __init__(self, real: TextIO | None, *, is_result: bool) -> None:
        self.real = real
        self.is_result = is_result
        self.is_gone = False
        self.hide: Callable[[str], str] = str

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def write(self, text: str) -> int:
        """Write, or do without.

        Raises:
            OutputError: stdout is full or closed.
        """
        self._try("write", self.hide(text))
        return len(text)

    def flush(self) -> None:
        """Flush, or do without.

        Raises:
            OutputError: stdout is full or closed.
        """
        self._try("flush")

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self.real is not None and not self.is_gone and self.real.isatty()

    @property
    def encoding(self) -> str:
        """Of its characters."""
        return getattr(self.real, "encoding", None) or "utf-8"

    def _try(self, name: str, *words: str) -> None:
        if self.is_gone:
            return
        try:
            if self.real is None:
                raise OSError("it is closed")
            getattr(self.real, name)(*words)
        except BrokenPipeError:
            self._give_up()
        except (OSError, ValueError) as err:  # ValueError: closed by someone in this process
            self._give_up()
            if self.is_result:
                why = getattr(err, "strerror", None) or err
                raise OutputError(
                    f"cannot write to standard output: {why}; send it to a file or a pipe that "
                    "takes it"
                ) from err

    def _give_up(self) -> None:
        """What is buffered, and all that follows, goes nowhere."""
        self.is_gone = True
        with contextlib.suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, cast("TextIO", self.real).fileno())
            os.close(nowhere)


def width(most: int = MAX_COLUMNS, stream: IO[str] | None = None) -> int:
    """Columns of the terminal that stdout is, at most so many; as many where it is none."""
    stream = stream or sys.stdout
    with contextlib.suppress(OSError, ValueError, AttributeError):
        if stream.isatty():
            columns = os.get_terminal_size(stream.fileno()).columns
            return min(most, max(columns, MIN_COLUMNS)) if columns else most
    return most


@contextlib.contextmanager
def guarded() -> Iterator[tuple[Stream, Stream]]:
    """Stdout and stderr for the time of the block, as `sys` has them."""
    for number in (0, 1, 2):  # else the first file that is opened would be taken for it
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    before = (sys.stdout, sys.stderr)
    out, err = Stream(sys.stdout, is_result=True), Stream(sys.stderr, is_result=False)
    with _shown_otherwise(out.real), _shown_otherwise(err.real):
        sys.stdout, sys.stderr = cast("TextIO", out), cast("TextIO", err)
        try:
            yield out, err
        finally:
            sys.stdout, sys.stderr = before
            if sys.stderr is None and err.real is None:  # nothing is said at the very end, either
                sys.stderr = cast("TextIO", err)


@contextlib.contextmanager
def _shown_otherwise(real: TextIO | None) -> Iterator[None]:
    """Characters that the stream's encoding lacks are replaced for the time of the block."""
    change = getattr(real, "reconfigure", None)
    if change is None:
        yield
        return
    codecs.register_error("viralload", _plain)
    before = cast("TextIO", real).errors
    change(errors="viralload")
    try:
        yield
    finally:
        with contextlib.suppress(OSError, ValueError):
            change(errors=before)


def _plain(err: UnicodeError) -> tuple[str, int]:
    """What stands for characters that cannot be shown."""
    if not isinstance(err, UnicodeEncodeError):
        raise err
    found = []
    for letter in err.object[err.start : err.end]:
        plain = PLAIN.get(letter, "?")
        try:
            plain.encode(err.encoding)
        except UnicodeError:
            plain = "?"
        found.append(plain)
    return "".join(found), err.end
