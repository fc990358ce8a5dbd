"""The limit of open files: every request in flight holds one, and beyond the limit none leaves."""

import resource

import numpy as np
import numpy.typing as npt

RESERVE = 100  # files of the process itself: logs, the record, Locust's own sockets


def raise_limit() -> int:
    """Raise this process's soft limit to its hard one; the limit then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def hard_limit() -> int:
    """What `raise_limit` would come to."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def most_in_flight(times_s: npt.NDArray[np.float64], timeout_s: float) -> int:
    """Requests in flight at most, of a server that answers none before it times out.

    Args:
        times_s: when each request is due, in any order; shape (requests,).
        timeout_s: how long one may take.
    """
    due = np.sort(times_s)
    before = np.searchsorted(due, due - timeout_s, side="right")
    return int((np.arange(1, due.size + 1) - before).max(initial=0))


def warning(
    times_s: npt.NDArray[np.float64], timeout_s: float, shares: int, limit: int
) -> str | None:
    """What to do where one of so many generators could run out of open files; None: it cannot."""
    in_flight = -(-most_in_flight(times_s, timeout_s) // shares)
    if in_flight + RESERVE <= limit:
        return None
    return (
        f"up to {in_flight:,} requests can be in flight from one generator process, if the server "
        f"answers none within the {timeout_s:g} s of the timeout, and it may open {limit:,} files: "
        "raise `ulimit -Hn`, give more --processes, or a shorter --timeout"
    )
