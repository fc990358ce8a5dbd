"""Whatever no one else has turned into words, in one line with a remedy; its traceback to stderr.

The server's stderr is its log (`server.log` of a run). Every error that is foreseen says by itself
what to do next; the rest ends here.
"""

import contextlib
import sys
import traceback

REMEDIES: dict[type[BaseException], str] = {
    MemoryError: "there is not enough memory: use a smaller model or batch (--set max_batch=1)",
    RecursionError: "what was read is nested too deeply: see the weights' folder",
    UnicodeError: "write paths in UTF-8, and set LC_ALL=C.UTF-8",
    ImportError: "install the package again, such as with pip install --force-reinstall",
    OSError: "see that it can be used, and start again",
}


def in_words(err: BaseException) -> str:
    """One printable line: what failed, and what to do next; the traceback goes before it."""
    with contextlib.suppress(OSError):  # the log's disk is full
        sys.stderr.write("".join(traceback.format_exception(err)))
    told = "".join(letter if letter.isprintable() else " " for letter in str(err))
    remedy = next(
        (remedy for kind, remedy in REMEDIES.items() if isinstance(err, kind)),
        "this is a fault of viralload: please report it",
    )
    return f"{type(err).__name__}: {' '.join(told.split())[:500]}; {remedy}"
