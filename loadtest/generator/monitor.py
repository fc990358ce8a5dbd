"""A generator's own state while it sends: CPU, how long its loop was held up, its counters."""

import time
from collections.abc import Callable

import gevent

from loadtest.generator.recorder import Recorder
from profiles.record.json_lines import LineWriter

LOOK_S = 0.05
LOOKS = 20  # a sample


def sample_forever(
    lines: LineWriter,
    recorder: Recorder,
    generator: str,
    due: Callable[[], int],
    look: Callable[[], None],
    unasked: Callable[[], int] = lambda: 0,
) -> None:
    """Once a second: a sample, and the record on disk. Ends by being killed.

    Args:
        lines: where samples go; closed in the end.
        recorder: of this generator.
        generator: its name.
        due: requests due so far.
        look: called every LOOK_S.
        unasked: connections so far on which bytes came that nobody asked for.

    Raises:
        OSError: a file cannot be written.
    """
    cpu_s, wall_s, lag_s = time.process_time(), time.monotonic(), 0.0
    loop_s = time.thread_time()  # this is the event loop's thread; checks run in others
    try:
        while True:
            for _ in range(LOOKS):
                before = time.monotonic()
                gevent.sleep(LOOK_S)
                lag_s = max(lag_s, time.monotonic() - before - LOOK_S)
                look()
            used, now, looped = time.process_time(), time.monotonic(), time.thread_time()
            cpu_pct = 100 * (used - cpu_s) / (now - wall_s)
            loop_pct = 100 * (looped - loop_s) / (now - wall_s)
            lines.add(recorder.sample(generator, due(), cpu_pct, lag_s, loop_pct, unasked()))
            lines.flush()
            recorder.flush()
            cpu_s, wall_s, lag_s, loop_s = used, now, 0.0, looped
    finally:
        used, now = time.process_time(), time.monotonic()
        if now - wall_s > LOOK_S:  # the last part of a second, too
            cpu_pct = 100 * (used - cpu_s) / (now - wall_s)
            loop_pct = 100 * (time.thread_time() - loop_s) / (now - wall_s)
            lines.add(recorder.sample(generator, due(), cpu_pct, lag_s, loop_pct, unasked()))
        lines.close()
