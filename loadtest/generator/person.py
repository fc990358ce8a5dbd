"""What one person does next, given what the server answered: a step function. Pure.

    begin(script) -> Try                       the first attempt
    after(script, tried, answer, ...) -> Try   the next attempt, of this image or the next
                                     -> Gone   the person leaves; what was still intended is told
                                     -> None   everything intended was made or tried

Every intended request ends in exactly one outcome, that of its last record. Rules:

- An ok or failed answer is final; so is a 429, 503 or timeout that is not tried again. The person
  thinks, then wants the next image.
- Patience runs from wanting an image (its first due time). It cuts an attempt under way, and whose
  next attempt would come after it leaves at once. Who leaves abandons everything still intended.
- The load's end begins no image: what comes due later is unsent. Images begun before are tried on.
"""

import contextlib
import random
from email.utils import parsedate_to_datetime

import msgspec

from loadtest.scenario.session import Retry
from profiles.schema import Outcome

RETRIED = (Outcome.REJECTED, Outcome.TIMEOUT)


class IntendedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One intended request."""

    seq: int
    images: int
    think_s: float = 0.0  # before it, after the one before is over


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """One person, as drawn; instants are on the run's clock."""

    person: int
    arrives_s: float
    patience_s: float
    priority: str | None
    wishes: tuple[IntendedRequest, ...]
    load_end_s: float


class DueAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt to be made: which wish's, the how-manieth, and when.

    `wanted_s` is when the image was first due; patience and its latency count from there.
    """

    wish: int
    attempt: int
    wanted_s: float
    due_s: float


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt ended."""

    outcome: Outcome
    retry_after_s: float | None = None


class Departure(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a session: the wishes from `wish` on end so, the first with this attempt."""

    wish: int
    attempt: int
    at_s: float
    outcome: Outcome
    why: str


def begin(script: Script) -> DueAttempt:
    """The first attempt, due as the person arrives."""
    return DueAttempt(wish=0, attempt=1, wanted_s=script.arrives_s, due_s=script.arrives_s)


def after(
    script: Script, tried: DueAttempt, answer: Answer, now_s: float, retry: Retry, jitter: float
) -> DueAttempt | Departure | None:
    """What comes after an attempt that ended now.

    Args:
        script: the person.
        tried: the attempt.
        answer: how it ended.
        now_s: when, on the run's clock.
        retry: the policy.
        jitter: a draw from [0, 1) of this attempt's own.
    """
    if answer.outcome is Outcome.ABANDONED:
        return _gone(script, tried.wish + 1, now_s, Outcome.ABANDONED, "the person had left")
    again = retry.policy != "none" and tried.attempt < retry.most_attempts
    if answer.outcome in RETRIED and again:
        due_s = now_s + pause_s(retry, tried.attempt, answer.retry_after_s, jitter)
        if due_s < tried.wanted_s + script.patience_s:
            return DueAttempt(
                wish=tried.wish, attempt=tried.attempt + 1, wanted_s=tried.wanted_s, due_s=due_s
            )
        return Departure(
            wish=tried.wish,
            attempt=tried.attempt + 1,
            at_s=now_s,
            outcome=Outcome.ABANDONED,
            why="the person left: patience would end before the next attempt",
        )
    following = tried.wish + 1
    if following == len(script.wishes):
        return None
    due_s = now_s + script.wishes[following].think_s
    if due_s >= script.load_end_s:
        return _gone(script, following, due_s, Outcome.UNSENT, "the load ended before it was due")
    return DueAttempt(wish=following, attempt=1, wanted_s=due_s, due_s=due_s)


def pause_s(retry: Retry, attempts: int, retry_after_s: float | None, jitter: float) -> float:
    """Seconds until the next attempt after so many.

    Backoff: Retry-After as told, plus jitter·min(cap, first·2^(attempts-1)), so that those who
    were told the same second do not come back in it together.
    """
    if retry.policy == "immediate":
        return 0.0
    longest_s = min(retry.cap, retry.first * 2.0 ** min(attempts - 1, 60))
    return max(retry_after_s or 0.0, 0.0) + jitter * longest_s


def jitter(seed: int, person: int, seq: int, attempt: int) -> float:
    """The draw of one attempt, from [0, 1): the same whenever and wherever it is made."""
    return random.Random(f"{seed}/{person}/{seq}/{attempt}").random()


def retry_after(header: str | None, now_utc_s: float) -> float | None:
    """Seconds of a Retry-After header (RFC 9110, 10.2.3); None for none, or nonsense.

    Args:
        header: seconds, or the date to wait for; one that has passed is no wait.
        now_utc_s: of the date, seconds since 1970.
    """
    with contextlib.suppress(ValueError):
        seconds = float(header or "")
        return seconds if 0 <= seconds < float("inf") else None
    with contextlib.suppress(ValueError, OverflowError):
        return max(0.0, parsedate_to_datetime(header or "").timestamp() - now_utc_s)
    return None


def _gone(script: Script, wish: int, at_s: float, outcome: Outcome, why: str) -> Departure | None:
    if wish == len(script.wishes):
        return None
    return Departure(wish=wish, attempt=1, at_s=at_s, outcome=outcome, why=why)
