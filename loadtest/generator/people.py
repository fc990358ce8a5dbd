"""People played: a greenlet a person, which asks, thinks, tries again or leaves as `person` says.

What it needs of the generator comes as a `Stage`, so that a test plays people without a network.
"""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from loadtest.generator import person
from loadtest.generator.person import Answer, Departure, DueAttempt, IntendedRequest, Script
from loadtest.generator.recorder import Attempt
from loadtest.scenario.session import CLASSES, Retry
from profiles.schema import Outcome


class Stage(Protocol):
    """What a person is played on."""

    def now_s(self) -> float:
        """Seconds on the run's clock."""
        ...

    def sleep_until(self, t_s: float) -> bool:
        """Sleep until then; False as soon as no further request is to be sent."""
        ...

    def is_over(self) -> bool:
        """Whether no further request is to be sent."""
        ...

    def ask(self, seq: int, due_s: float, images: int, whose: Attempt, patience_s: float) -> Answer:
        """Send a request, wait for its end at most so long, record it."""
        ...

    def leave(self, seq: int, due_s: float, images: int, whose: Attempt, gone: Departure) -> None:
        """Record a request that never left."""
        ...


def live(script: Script, retry: Retry, seed: int, stage: Stage) -> None:
    """Play one person, from the first attempt to the last record."""
    tried = person.begin(script)
    while True:
        if not stage.sleep_until(tried.due_s):
            _leave(script, _stopped(script, tried, stage.now_s()), stage)
            return
        wish = script.wishes[tried.wish]
        patience_s = tried.wanted_s + script.patience_s - stage.now_s()
        whose = _attempt(script, tried.attempt)
        answer = stage.ask(wish.seq, tried.due_s, wish.images, whose, patience_s)
        now_s = stage.now_s()
        draw = person.jitter(seed, script.person, wish.seq, tried.attempt)
        following = person.after(script, tried, answer, now_s, retry, draw)
        if stage.is_over() and isinstance(following, DueAttempt):
            following = _stopped(script, following, now_s)
        if not isinstance(following, DueAttempt):
            _leave(script, following, stage)
            return
        tried = following


def scripts_of(
    rows: "np.ndarray[Any, Any]", share: int, shares: int, load_start_s: float, load_end_s: float
) -> Iterator[Script]:
    """The scripts of the people whose index among the arrivals is `share` modulo `shares`."""
    first = np.flatnonzero(np.diff(rows["person"].astype(np.int64), prepend=-1))
    ends = np.append(first[1:], len(rows))
    for begin, end in zip(first[share::shares].tolist(), ends[share::shares].tolist(), strict=True):
        head = rows[begin]
        paying = int(head["paying"])
        yield Script(
            person=int(head["person"]),
            arrives_s=load_start_s + float(head["t_s"]),
            patience_s=float(head["patience_s"]),
            priority=CLASSES[paying] if paying >= 0 else None,
            wishes=tuple(
                IntendedRequest(
                    seq=seq,
                    images=int(rows[seq]["images"]),
                    think_s=float(rows[seq]["think_s"]),
                )
                for seq in range(begin, end)
            ),
            load_end_s=load_end_s,
        )


def never_came(script: Script, stage: Stage) -> None:
    """Record a person who was to arrive after the run was stopped."""
    _leave(script, _stopped(script, person.begin(script), script.arrives_s), stage)


def _stopped(script: Script, tried: DueAttempt, now_s: float) -> Departure | None:
    """Where the run's stop leaves a person whose next attempt would have been `tried`.

    A request that was tried before has its outcome; what was never begun is unsent.
    """
    begun = tried.attempt > 1
    wish = tried.wish + begun
    if wish == len(script.wishes):
        return None
    return Departure(
        wish=wish,
        attempt=1,
        at_s=now_s if begun else tried.due_s,
        outcome=Outcome.UNSENT,
        why="the run stopped before it was sent",
    )


def _leave(script: Script, gone: Departure | None, stage: Stage) -> None:
    """Record everything that is intended still."""
    if gone is None:
        return
    for index, wish in enumerate(script.wishes[gone.wish :]):
        whose = _attempt(script, 1 if index else gone.attempt)
        stage.leave(wish.seq, gone.at_s, wish.images, whose, gone)


def _attempt(script: Script, attempt: int) -> Attempt:
    return Attempt(attempt=attempt, person=script.person, priority=script.priority)
