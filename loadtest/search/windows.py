"""A search's arrivals, window by window: drawn, handed over in the run folder, and read again.

The driver decides on a window while the one before is still on, so the load has no gap. A window
is whole once its name exists; an index k window holds the requests that follow those of window k-1.
"""

from collections.abc import Callable, Iterator

import numpy as np

from loadtest.plan.plan import SCHEDULE_FIELDS, Schedule
from loadtest.traffic.arrivals import poisson
from profiles.record.folder import RunFolder

Images = np.ndarray[tuple[int], np.dtype[np.uint16]]

LOOK_S = 0.02  # how often a generator looks for the next window


def draw(
    rate_per_s: float, begin_s: float, duration_s: float, images: Images, first: int, seed: int
) -> Schedule:
    """The Poisson arrivals of a window.

    Args:
        rate_per_s: Requests a second.
        begin_s: When it begins, after the load's start.
        duration_s: Its length.
        images: Of each request, in turn, again and again.
        first: The number of its first request.
        seed: Of its instants.
    """
    times = poisson(lambda t: rate_per_s * t, duration_s, seed)
    rows: Schedule = np.zeros(times.size, dtype=np.dtype(SCHEDULE_FIELDS))
    rows["t_s"] = begin_s + times
    rows["images"] = images[(first + np.arange(times.size)) % len(images)]
    return rows


def publish(folder: RunFolder, index: int, rows: Schedule) -> None:
    """Hand a window to the generators."""
    half = folder.path / f".window-{index}"
    with half.open("wb") as file:
        np.save(file, rows)
    half.replace(folder.window_path(index))


def end(folder: RunFolder) -> None:
    """No window follows."""
    folder.windows_end_path.touch()


def arrivals(
    folder: RunFolder, share: int, shares: int, wait: Callable[[], bool]
) -> Iterator[tuple[int, float, int]]:
    """(seq, t_s, images) of every arrival whose index is `share` modulo `shares`, as they come.

    `wait` sleeps a moment and says whether to go on.
    """
    first = index = 0
    while True:
        path = folder.window_path(index)
        while not path.exists():
            if folder.windows_end_path.exists() or not wait():
                return
        rows = np.load(path)
        for row in range((share - first) % shares, len(rows), shares):
            yield first + row, float(rows[row]["t_s"]), int(rows[row]["images"])
        first, index = first + len(rows), index + 1
