"""The one home of numba: machine code that runs without the interpreter's lock, cached on disk."""

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numba.extending
from llvmlite import ir

Function = TypeVar("Function", bound=Callable[..., object])


def key_of(kernel: Path) -> str:
    """The name of the cache of these very sources: a hash of every file of the folder.

    numba asks only whether a function's own file has changed, and would go on running what an
    older version of another file was compiled into.
    """
    told = hashlib.sha256()
    for path in sorted(kernel.glob("*.py")):
        told.update(path.read_bytes())
    return told.hexdigest()[:16]


def _cache() -> Path | None:
    """A folder of its own for these very sources; None where none can be written.

    Without a folder everything is compiled anew each time, which takes some seconds. It is never
    one that others may write: what lies there is run.
    """
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    try:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = Path(chosen) if chosen else root / "viralload" / key_of(Path(__file__).parent)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # as numba tries it
            return folder
    except (OSError, RuntimeError):  # RuntimeError: no home is known
        return None


CACHE = _cache()
if CACHE is not None:
    numba.config.CACHE_DIR = str(CACHE)  # type: ignore[attr-defined]

# Without the lock, threads of one process simulate cells side by side. No fast math: a seed gives
# the same figures on every machine. The error model of numpy asks no division for its divisor.
compiled = cast(
    "Callable[[Function], Function]",
    numba.njit(cache=CACHE is not None, nogil=True, error_model="numpy"),
)


_BYTES = ir.IntType(8).as_pointer()  # type: ignore[no-untyped-call]


def _at(_context: Any, _address: Any) -> Any:
    """An address as the pointer that `numba.carray` takes."""

    def code(_context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], _BYTES)

    return numba.types.voidptr(numba.types.int64), code


# carray(pointer(address), shape, dtype) is the array there. Arrays reached by their address cost a
# call nothing; of others numba counts the references, at every call, for every array handed on:
# with the cell as a tuple of 17 arrays, a request took three times as long.
pointer = cast("Callable[[int], Any]", numba.extending.intrinsic(_at))
carray: Any = numba.carray  # type: ignore[attr-defined]
