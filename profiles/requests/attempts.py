"""Attempts and the requests they belong to: what counts, what contradicts, how far retries amplify.

A scheduled request has attempts 1, 2, ...; its outcome is that of the last, its latency counts from
the first one's due time to the last one's end. Without retries the two are the same records. Pure.

    amplification = attempts sent / first attempts sent

is the load a server is offered over the demand behind it: above 1, retries load it (Bronson et al.,
Metastable Failures in Distributed Systems, HotOS 2021: the sustaining effect).
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from profiles.record.columns import CODES, Requests
from profiles.schema import Outcome, RunManifest
from profiles.stats import arrays
from profiles.stats.arrays import Floats

STRETCHES = 20  # the load is looked at in so many parts for its highest amplification ...
STRETCH_MIN_S = 2.0  # ... of at least this length
FIRSTS_MIN = 5  # fewer first attempts in a stretch make its ratio chance
FINAL = (Outcome.OK, Outcome.ABANDONED, Outcome.UNSENT)  # nothing comes after these


@dataclass(frozen=True)
class Tally:
    """How the records add up to the schedule."""

    scheduled: int
    missing: int  # seqs of the schedule without a record
    duplicates: int  # records beyond the first of their seq and attempt
    strangers: int  # records of seqs the schedule does not have
    contradictions: int = 0  # requests whose attempts cannot have been: see `_contradictory`


@dataclass(frozen=True)
class Counted:
    """The records that count: `requests` has one row a scheduled request, `attempts` all of them.

    A request's row is its last attempt's, due and sent when its first attempt was.
    """

    requests: Requests
    attempts: Requests
    tally: Tally


@dataclass(frozen=True)
class Amplification:
    """Retries in numbers, over the whole run."""

    attempts: int  # sent
    mean: float | None = None
    peak: float | None = None  # the most in a stretch
    window_s: float | None = None  # the stretch's length


def add_up(requests: Requests, manifest: RunManifest) -> Counted:
    """The records of scheduled requests, sorted by seq and attempt, and how the sum came out.

    Without a plan the schedule is what was recorded.
    """
    inside = requests.seq >= 0
    if manifest.plan is not None:
        inside &= requests.seq < manifest.plan.requests
    rows = np.flatnonzero(inside)
    rows = rows[np.lexsort((requests.attempt[rows], requests.seq[rows]))]
    seq, attempt = requests.seq[rows], requests.attempt[rows]
    again = np.zeros(rows.size, dtype=np.bool_)
    again[1:] = (np.diff(seq) == 0) & (np.diff(attempt) == 0)
    attempts = requests.take(rows[~again])
    starts = np.flatnonzero(np.diff(attempts.seq, prepend=-1))
    lasts = np.append(starts[1:], len(attempts)) - 1 if starts.size else starts
    whole = attempts.take(lasts)
    scheduled = manifest.plan.requests if manifest.plan is not None else int(starts.size)
    tally = Tally(
        scheduled=scheduled,
        missing=scheduled - int(starts.size),
        duplicates=int(again.sum()),
        strangers=len(requests) - int(rows.size),
        contradictions=_contradictory(attempts, starts),
    )
    first = {name: getattr(attempts, name)[starts] for name in ("scheduled_s", "sent_s")}
    return Counted(requests=replace(whole, **first), attempts=attempts, tally=tally)


def _contradictory(attempts: Requests, starts: NDArray[np.int64]) -> int:
    """Requests of which an attempt is missing, or follows an end, or was due before the last ended.

    Attempts count from 1 without a gap; none follows one that was ok, abandoned or unsent; each is
    due once the one before is over.
    """
    follows = np.ones(len(attempts), dtype=np.bool_)
    follows[starts] = False
    wrong = attempts.attempt != np.where(follows, np.roll(attempts.attempt, 1) + 1, 1)
    final = np.isin(attempts.outcome, [CODES[outcome] for outcome in FINAL])
    wrong |= follows & np.roll(final, 1)
    wrong |= follows & (attempts.scheduled_s < np.roll(attempts.done_s, 1))  # NaN: unknown, not so
    return int(np.unique(attempts.seq[wrong]).size)


def amplification(attempts: Requests, start_s: float | None, duration_s: float) -> Amplification:
    """Retries of the attempts that were sent; the peak over stretches of the load."""
    sent = ~np.isnan(attempts.sent_s)
    first = sent & (attempts.attempt == 1)
    total, firsts = int(sent.sum()), int(first.sum())
    if not firsts:
        return Amplification(attempts=total)
    if start_s is None or duration_s <= 0:
        return Amplification(attempts=total, mean=total / firsts)
    window_s = max(STRETCH_MIN_S, duration_s / STRETCHES)
    edges = start_s + window_s * np.arange(max(1, int(duration_s / window_s)) + 1)
    every, of_first = (
        np.histogram(attempts.sent_s[rows], edges)[0].astype(np.float64) for rows in (sent, first)
    )
    enough = of_first >= FIRSTS_MIN
    ratios: Floats = every[enough] / of_first[enough]
    return Amplification(
        attempts=total,
        mean=total / firsts,
        peak=arrays.largest(ratios),
        window_s=window_s if ratios.size else None,
    )
