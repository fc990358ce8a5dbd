"""The node's capacity, measured before the load: what "1.5x" refers to.

A closed loop keeps enough requests in flight that no batch waits for company, drops a warm-up, and
counts images between the first and the last completion of the window. It is a quick look, good to
some ten percent; the plan and the report say so.
"""

import itertools
import threading
import time

import msgspec

from loadtest.credentials import Credentials
from loadtest.errors import ViralloadError
from loadtest.job import Job
from loadtest.once import fault_of

WARMUP_S = 1.5
WINDOW_S = 5.0
MAX_S = 60.0
ENOUGH_IMAGES = 12
MAX_IN_FLIGHT = 512
UNTOLD_BATCH = 4  # of a server that does not tell its batch size


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """What the closed loop saw."""

    images_per_s: float
    images: int
    seconds: float
    in_flight: int

    @property
    def basis(self) -> str:
        """How it was measured, for people."""
        return (
            f"measured: {self.images} images in {self.seconds:.1f} s with {self.in_flight} "
            "requests in flight"
        )


def in_flight_for(max_batch: int | None, replicas: int | None) -> int:
    """Requests that keep every replica busy: a batch that runs and one that waits."""
    return min(2 * (max_batch or UNTOLD_BATCH) * (replicas or 1), MAX_IN_FLIGHT)


def calibrate(job: Job, key: Credentials | None, in_flight: int) -> Calibration:
    """Images/s that the server completes when always busy, one image a request.

    Raises:
        ViralloadError: requests fail, or too few come back in MAX_S.
    """
    state = _State()
    threads = [
        threading.Thread(target=_ask_again_and_again, args=(job, key, state, k), daemon=True)
        for k in range(in_flight)
    ]
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    while not state.stop.is_set():
        state.stop.wait(0.1)
        elapsed = time.monotonic() - begin
        counted = sum(t > begin + WARMUP_S for t in state.done_s)
        if elapsed > MAX_S or (elapsed > WARMUP_S + WINDOW_S and counted > ENOUGH_IMAGES):
            state.stop.set()
    for thread in threads:
        thread.join(job.timeout_s)
    if state.fault:
        raise ViralloadError(f"measuring the capacity failed: {state.fault}")
    return rate(sorted(state.done_s), begin + WARMUP_S, in_flight)


def alone(job: Job, key: Credentials | None) -> float:
    """Seconds one request of one image takes on a server that does nothing else.

    Raises:
        ViralloadError: it fails.
    """
    begin = time.monotonic()
    fault = fault_of(job, key, 0)
    if fault:
        raise ViralloadError(f"a first request failed: {fault}")
    return time.monotonic() - begin


def rate(done_s: list[float], after_s: float, in_flight: int) -> Calibration:
    """Images/s from sorted completion times later than `after_s`.

    The images of a batch complete together, so counting starts at the end of the first such
    cluster: rate = (images after it) / (last completion - its end). A cluster ends at the first
    gap wider than a quarter of the mean gap.

    Raises:
        ViralloadError: fewer than two images.
    """
    times = [t for t in done_s if t > after_s]
    if len(times) < 2:
        raise ViralloadError(
            "measuring the capacity failed: the server completed fewer than two images. "
            "Give --capacity IMAGES_PER_S instead"
        )
    wide = (times[-1] - times[0]) / (len(times) - 1) / 4
    first = next((k for k, (a, b) in enumerate(itertools.pairwise(times)) if b - a > wide), 0)
    images = len(times) - 1 - first
    seconds = times[-1] - times[first]
    return Calibration(
        images_per_s=images / seconds, images=images, seconds=seconds, in_flight=in_flight
    )


class _State:
    def __init__(self) -> None:
        self.stop = threading.Event()
        self.done_s: list[float] = []
        self.fault: str | None = None


def _ask_again_and_again(job: Job, key: Credentials | None, state: _State, first_seq: int) -> None:
    seq = first_seq
    while not state.stop.is_set():
        fault = fault_of(job, key, seq)
        if fault:
            state.fault = fault
            state.stop.set()
            return
        state.done_s.append(time.monotonic())
        seq += 1
