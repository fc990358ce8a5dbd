"""What a person does next, as tables: no clock, no sleeping."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.generator.person import (
    Answer,
    Departure,
    DueAttempt,
    IntendedRequest,
    Script,
    after,
    begin,
    jitter,
    pause_s,
    retry_after,
)
from loadtest.scenario.session import Retry
from loadtest.units import Duration
from profiles.schema import Outcome

OK, FAILED, REJECTED = Outcome.OK, Outcome.FAILED, Outcome.REJECTED
TIMEOUT, ABANDONED, UNSENT = Outcome.TIMEOUT, Outcome.ABANDONED, Outcome.UNSENT

# Arrives at 10 s, wants two images with 5 s to think between, waits 20 s; the load ends at 100 s.
SCRIPT = Script(
    person=7,
    arrives_s=10.0,
    patience_s=20.0,
    priority="free",
    wishes=(IntendedRequest(seq=3, images=1), IntendedRequest(seq=4, images=2, think_s=5.0)),
    load_end_s=100.0,
)
NONE = Retry()
IMMEDIATE = Retry(policy="immediate", most_attempts=3)
BACKOFF = Retry(policy="backoff", most_attempts=4, first=Duration(2.0), cap=Duration(6.0))


def test_the_first_attempt_is_due_as_the_person_arrives() -> None:
    assert begin(SCRIPT) == DueAttempt(wish=0, attempt=1, wanted_s=10.0, due_s=10.0)


def tried(
    wish: int = 0, attempt: int = 1, wanted_s: float = 10.0, due_s: float = 10.0
) -> DueAttempt:
    return DueAttempt(wish=wish, attempt=attempt, wanted_s=wanted_s, due_s=due_s)


NEXT = DueAttempt(wish=1, attempt=1, wanted_s=17.0, due_s=17.0)  # 5 s of thinking after 12 s
AGAIN = DueAttempt(wish=0, attempt=2, wanted_s=10.0, due_s=12.0)


@pytest.mark.parametrize(
    ("retry", "answered", "outcome", "told_s", "now_s", "expected"),
    [
        # final answers: think, then the next image
        (NONE, tried(), OK, None, 12.0, NEXT),
        (IMMEDIATE, tried(), OK, None, 12.0, NEXT),
        (IMMEDIATE, tried(), FAILED, None, 12.0, NEXT),
        (NONE, tried(), REJECTED, 3.0, 12.0, NEXT),
        (NONE, tried(), TIMEOUT, None, 12.0, NEXT),
        # tried again: at once; whatever Retry-After says
        (IMMEDIATE, tried(), REJECTED, None, 12.0, AGAIN),
        (IMMEDIATE, tried(), REJECTED, 60.0, 12.0, AGAIN),
        (IMMEDIATE, tried(), TIMEOUT, None, 12.0, AGAIN),
        # the last attempt's answer is final
        (IMMEDIATE, tried(attempt=3), REJECTED, None, 12.0, NEXT),
        # backoff with jitter 0.5: 0.5 x min(6, 2 x 2^(n-1)), plus what was told
        (
            BACKOFF,
            tried(),
            TIMEOUT,
            None,
            12.0,
            DueAttempt(wish=0, attempt=2, wanted_s=10, due_s=13.0),
        ),
        (
            BACKOFF,
            tried(),
            REJECTED,
            4.0,
            12.0,
            DueAttempt(wish=0, attempt=2, wanted_s=10, due_s=17.0),
        ),
        (
            BACKOFF,
            tried(attempt=3),
            TIMEOUT,
            None,
            12.0,
            DueAttempt(wish=0, attempt=4, wanted_s=10, due_s=15.0),
        ),
        # patience ends at 30 s: told to come back after it, the person leaves at once
        (
            BACKOFF,
            tried(),
            REJECTED,
            30.0,
            12.0,
            Departure(wish=0, attempt=2, at_s=12.0, outcome=ABANDONED, why=""),
        ),
        # hung up: the image's own outcome is recorded, the next one is abandoned with it
        (
            IMMEDIATE,
            tried(),
            ABANDONED,
            None,
            30.0,
            Departure(wish=1, attempt=1, at_s=30.0, outcome=ABANDONED, why=""),
        ),
        (IMMEDIATE, tried(wish=1), ABANDONED, None, 30.0, None),
        # nothing is left
        (NONE, tried(wish=1), OK, None, 12.0, None),
        (NONE, tried(wish=1), REJECTED, None, 12.0, None),
        # the load's end begins no image (95 + 5 s), but what was begun is tried on
        (
            NONE,
            tried(),
            OK,
            None,
            95.0,
            Departure(wish=1, attempt=1, at_s=100.0, outcome=UNSENT, why=""),
        ),
        (
            IMMEDIATE,
            tried(wanted_s=99.0, due_s=99.0),
            TIMEOUT,
            None,
            105.0,
            DueAttempt(wish=0, attempt=2, wanted_s=99.0, due_s=105.0),
        ),
    ],
)
def test_what_comes_next(
    retry: Retry,
    answered: DueAttempt,
    outcome: Outcome,
    told_s: float | None,
    now_s: float,
    expected: DueAttempt | Departure | None,
) -> None:
    answer = Answer(outcome=outcome, retry_after_s=told_s)
    found = after(SCRIPT, answered, answer, now_s, retry, 0.5)
    if isinstance(expected, Departure):
        assert isinstance(found, Departure)
        assert found.why
        got = (found.wish, found.attempt, found.at_s, found.outcome)
        assert got == (expected.wish, expected.attempt, expected.at_s, expected.outcome)
    else:
        assert found == expected


@given(
    attempts=st.integers(1, 2000),
    told_s=st.none() | st.floats(-5, 500),
    draw=st.floats(0, 1, exclude_max=True),
)
def test_backoff_honours_what_was_told_and_its_cap(
    attempts: int, told_s: float | None, draw: float
) -> None:
    wait_s = pause_s(BACKOFF, attempts, told_s, draw)
    least_s = max(told_s or 0.0, 0.0)
    assert least_s <= wait_s <= least_s + BACKOFF.cap
    assert pause_s(IMMEDIATE, attempts, told_s, draw) == 0.0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, None), ("", None), ("3", 3.0), ("0.5", 0.5), ("-1", None), ("nan", None),
     ("inf", None), ("Wed, 21 Oct 2026 07:28:00 GMT", 30.0), ("Wed, 21 Oct 2026 07:27:00 GMT", 0.0),
     ("Wed, 21 Oct 2026", None), ("soon", None), ("Wed, 41 Oct 2026 07:28:00 GMT", None)],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    now_utc_s = datetime(2026, 10, 21, 7, 27, 30, tzinfo=UTC).timestamp()
    assert retry_after(header, now_utc_s) == seconds


def test_jitter_is_of_seed_person_request_and_attempt() -> None:
    one = jitter(1, 2, 3, 4)
    assert one == jitter(1, 2, 3, 4)
    others = {jitter(9, 2, 3, 4), jitter(1, 9, 3, 4), jitter(1, 2, 9, 4), jitter(1, 2, 3, 9)}
    assert len(others | {one}) == 5
    assert all(0 <= draw < 1 for draw in others)
