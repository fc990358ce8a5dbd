"""[session] of a scenario: who the people are, and the script of every one of them. Pure.

The partly-open model (Schroeder, Wierman and Harchol-Balter, Open Versus Closed: A Cautionary
Tale, NSDI 2006): people arrive open loop, whatever the server does; once there, each makes request
after request, the next one only after the last is over and some time to think.

A person's script (requests, images each, think times, patience, class) is a function of scenario
and seed. Think times, patience and the day of a daily limit are a person's own: real time, however
much the curve is compressed. A session therefore lies within one day, and a limit of n images a day
cuts a script at its n-th image. What would come due after the load's end even from a server that
takes no time is cut, too. So what is intended is known before the load, and the schedule's sums are
the scripts'.
"""

from typing import Annotated, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from loadtest.errors import ScenarioError
from loadtest.traffic import distributions
from loadtest.traffic.curve import NonNegative
from loadtest.traffic.distributions import Spread, pick, uniforms
from loadtest.units import Duration, format_duration

PEOPLE_DTYPE = np.dtype(
    [
        ("t_s", "<f8"),  # due, if the server took no time; of a person's first request: the arrival
        ("images", "<u2"),
        ("person", "<u4"),
        ("think_s", "<f8"),  # before this request; 0 for a person's first
        ("patience_s", "<f8"),  # inf: endless
        ("paying", "i1"),  # 1 paying, 0 free, -1 without a class
        ("steps", "<u2"),  # 0: as the scenario's [request] says
    ]
)
MAX_REQUESTS = 1000  # of one person
CLASSES: tuple[Literal["free", "paying"], ...] = ("free", "paying")

Schedule = np.ndarray[tuple[int], np.dtype[np.void]]
Array = npt.NDArray[np.float64]


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A TOML table whose keys are all known."""


class Retry(_Table, frozen=True, kw_only=True):
    """What a person does after 429, 503 or a timeout.

    `none`: takes it as the answer. `immediate`: asks again at once. `backoff`: waits as long as
    Retry-After told, plus u·min(cap, first·2^(n-1)), u uniform on [0, 1), n the attempts so far
    ("full jitter"; M. Brooker, Exponential Backoff and Jitter, AWS 2015).
    """

    policy: Literal["none", "immediate", "backoff"] = "none"
    most_attempts: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 5
    first: Duration = Duration(1.0)
    cap: Duration = Duration(30.0)


class PersonClass(_Table, frozen=True, kw_only=True):
    """A class of people: its weight among all, and what the service allows one of it."""

    share: NonNegative
    images_a_day: Annotated[int, msgspec.Meta(ge=1)] | None = None


class Session(_Table, frozen=True, kw_only=True):
    """What one person does.

    Attributes:
        requests: How many requests a person makes: a number is the mean of a geometric
            distribution (after each, the person goes on with probability 1 - 1/mean, as in the
            partly-open model); or a mix, {"1" = 0.6, "3" = 0.4}.
        think: From the end of one request to the next.
        patience: From wanting an image until leaving without it, retries and all; left out:
            endless. Who leaves makes none of the images still intended.
        steps: A mix of denoising steps, {"30" = 0.9, "40" = 0.1}; left out: as [request] says.
        retry: After 429, 503 or a timeout.
        classes: "paying" and "free" with their shares and limits; told to viralload's own servers.
    """

    requests: float | dict[str, NonNegative] = 1.0
    think: Spread = distributions.Fixed(value=Duration(0.0))
    patience: Spread | None = None
    steps: dict[str, NonNegative] | None = None
    retry: Retry = Retry()
    classes: dict[Literal["paying", "free"], PersonClass] = {}


def check(session: Session) -> None:
    """Make sure that people can be drawn from it.

    Raises:
        ScenarioError: an impossible parameter, named with its path.
    """
    at = "scenario: $.session"
    if isinstance(session.requests, float) and not 1 <= session.requests <= MAX_REQUESTS / 10:
        raise ScenarioError(
            f"{at}.requests: expected a mean from 1 to {MAX_REQUESTS // 10}, "
            f"got {session.requests:g}"
        )
    _request_weights(session)
    _step_weights(session)
    for name in ("think", "patience"):
        value: Spread | None = getattr(session, name)
        wrong = None if value is None else distributions.fault(value)
        if wrong:
            raise ScenarioError(f"{at}.{name}: {wrong}")
    if session.patience is not None and distributions.quantile(session.patience, 0.999) <= 0:
        raise ScenarioError(f"{at}.patience: nobody waits at all; give a time above 0")
    if session.classes and not sum(one.share for one in session.classes.values()) > 0:
        raise ScenarioError(f"{at}.classes: the shares sum to 0")
    retry = session.retry
    if retry.policy == "backoff" and not 0 < retry.first <= retry.cap:
        raise ScenarioError(
            f"{at}.retry: backoff needs 0 < first <= cap, got {retry.first:g} s and {retry.cap:g} s"
        )


def impatience(session: Session, timeout_s: float, image_s: float) -> tuple[bool, str] | None:
    """What is wrong with waiting less than an image takes alone: whether nobody waits, in words.

    Args:
        session: who waits.
        timeout_s: of an attempt.
        image_s: what an image takes on an idle server.
    """
    takes = f"the server takes {format_duration(image_s)} for an image even alone"
    if timeout_s < image_s:
        return True, f"request.timeout: {format_duration(timeout_s)} is too short: {takes}"
    if session.patience is None:
        return None
    least_s, most_s = (distributions.quantile(session.patience, share) for share in (0.05, 0.99))
    if most_s < image_s:
        told = f"nobody waits longer than {format_duration(most_s)}"
        return True, f"session.patience: {told}, and {takes}"
    if least_s < image_s:
        return False, f"session.patience: 5% wait at most {format_duration(least_s)}, and {takes}"
    return None


def hopeless_retries(session: Session, timeout_s: float, image_s: float = 0.0) -> list[str]:
    """What of `retry` hardly anyone's patience leaves room for, in words.

    A second attempt comes after half of `first` on average, and is of use if an image still fits
    before patience ends; one after a timeout needs patience beyond the timeout. A `cap` beyond
    patience does no harm: pauses grow towards it for as long as someone waits.

    Args:
        session: who waits.
        timeout_s: of an attempt.
        image_s: what an image takes on an idle server.
    """
    retry = session.retry
    if retry.policy == "none" or session.patience is None or retry.most_attempts == 1:
        return []
    most_s = distributions.quantile(session.patience, 0.99)
    most, found = format_duration(most_s), []
    if timeout_s >= most_s:
        found.append(
            f"session.retry: 99% wait at most {most}, no longer than request.timeout "
            f"({format_duration(timeout_s)}), so they leave instead of trying again after a timeout"
        )
    if retry.policy == "backoff" and retry.first / 2 + image_s >= most_s:
        found.append(
            f"session.retry: first = {format_duration(retry.first)} is half of that on average and "
            f"99% wait at most {most}, so hardly anyone's second attempt can succeed; lower it"
        )
    return found


def images_a_person(session: Session, images: dict[int, float]) -> float:
    """Expected images of a person, limits counted; before anything is cut at the load's end.

    With N requests of X_n images and a limit of L, the sum over n of
    P(N >= n)·E[min(X_n, L - S)⁺], S the images before the n-th request.
    """
    return sum(
        share * _images_within(session, images, limit)
        for limit, share in _limit_shares(session).items()
        if share
    )


def requests_a_person(session: Session) -> float:
    """Expected requests of a person at most: a limit of L images leaves no more than L of them."""
    return sum(
        share
        * sum(_survival(session, n) for n in range(1, 1 + min(limit or MAX_REQUESTS, MAX_REQUESTS)))
        for limit, share in _limit_shares(session).items()
    )


def scripts(
    session: Session, images: dict[int, float], arrivals_s: Array, end_s: float, seed: int
) -> Schedule:
    """Every intended request of everyone: a person's rows stand together, people as they arrive.

    Args:
        session: who they are.
        images: images a request -> weight.
        arrivals_s: when people come, seconds from the load's start, sorted.
        end_s: the load's end; what would come due at or after it is cut.
        seed: of all that is drawn.

    Returns:
        The schedule, of PEOPLE_DTYPE.
    """
    people = arrivals_s.size
    counts = _counts(session, uniforms(seed, 11, people))
    person = np.repeat(np.arange(people), counts)
    first = np.concatenate(([0], np.cumsum(counts)[:-1])).astype(np.int64)
    rows: Schedule = np.zeros(person.size, dtype=PEOPLE_DTYPE)
    rows["person"] = person
    rows["images"] = pick(images, uniforms(seed, 12, person.size))
    think_s = session.think.quantile(uniforms(seed, 13, person.size))
    think_s[first] = 0.0
    rows["think_s"] = think_s
    rows["t_s"] = arrivals_s[person] + _since(think_s, first, counts)
    patience_s = np.full(people, np.inf)
    if session.patience is not None:
        patience_s = session.patience.quantile(uniforms(seed, 14, people))
    rows["patience_s"] = patience_s[person]
    steps = _step_weights(session)
    if steps:
        rows["steps"] = pick(steps, uniforms(seed, 15, person.size))
    rows["paying"] = _paying(session, uniforms(seed, 16, people))[person]
    before = _since(rows["images"].astype(np.float64), first, counts) - rows["images"]
    left = np.clip(_limits(session, rows["paying"]) - before, 0, None)
    rows["images"] = np.minimum(rows["images"], left)
    kept: Schedule = rows[(rows["images"] > 0) & (rows["t_s"] < end_s)]
    return kept


def _since(values: Array, first: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> Array:
    """The running sum of each person's values, their own included; shape (rows,)."""
    running = np.cumsum(values)
    ahead = running[first] - values[first]
    total: Array = running - np.repeat(ahead, counts)
    return total


def _counts(session: Session, u: Array) -> npt.NDArray[np.int64]:
    """Requests of each person."""
    weights = _request_weights(session)
    if weights:
        return pick(weights, u)
    stop = 1.0 / float(session.requests)  # type: ignore[arg-type]
    if stop == 1.0:
        return np.ones(u.size, dtype=np.int64)
    drawn = 1 + np.floor(np.log1p(-u) / np.log1p(-stop))
    counts: npt.NDArray[np.int64] = np.minimum(drawn, MAX_REQUESTS).astype(np.int64)
    return counts


def _survival(session: Session, n: int) -> float:
    """P(a person makes n requests or more)."""
    weights = _request_weights(session)
    if weights:
        return sum(w for count, w in weights.items() if count >= n) / sum(weights.values())
    return float((1.0 - 1.0 / float(session.requests)) ** (n - 1))  # type: ignore[arg-type]


def _limit_shares(session: Session) -> dict[int | None, float]:
    """Images a day -> the share of people with that limit; None: without one."""
    total = sum(one.share for one in session.classes.values())
    shares = {one.images_a_day: 0.0 for one in session.classes.values()} or {None: 1.0}
    for one in session.classes.values():
        shares[one.images_a_day] += one.share / total
    return shares


def _images_within(session: Session, images: dict[int, float], limit: int | None) -> float:
    total = sum(images.values())
    share = {count: weight / total for count, weight in images.items()}
    mean = sum(count * weight for count, weight in share.items())
    if limit is None or limit >= max(share) * MAX_REQUESTS:
        return mean * sum(_survival(session, n) for n in range(1, MAX_REQUESTS + 1))
    left = np.arange(limit, 0, -1)  # images still allowed to one who had 0 ... limit - 1
    gains = np.sum([p * np.minimum(count, left) for count, p in share.items()], axis=0)
    expected, before = 0.0, np.eye(1, limit)[0]  # P(so many images so far), below the limit
    for n in range(1, 1 + min(limit, MAX_REQUESTS)):
        expected += _survival(session, n) * float(before @ gains)
        after = np.zeros(limit)
        for count, p in share.items():
            after[count:] += p * before[: max(limit - count, 0)]
        before = after
    return expected


def _paying(session: Session, u: Array) -> npt.NDArray[np.int8]:
    """1, 0, or -1 where there are no classes."""
    if not session.classes:
        return np.full(u.size, -1, dtype=np.int8)
    weights = {CLASSES.index(name): one.share for name, one in session.classes.items()}
    return pick(weights, u).astype(np.int8)


def _limits(session: Session, paying: npt.NDArray[np.int8]) -> Array:
    """Images each row's person may make; inf: any number."""
    limits = np.full(paying.shape, np.inf)
    for name, one in session.classes.items():
        if one.images_a_day is not None:
            limits[paying == CLASSES.index(name)] = one.images_a_day
    return limits


def _request_weights(session: Session) -> dict[int, float]:
    return _mix(session.requests, "requests", MAX_REQUESTS)


def _step_weights(session: Session) -> dict[int, float]:
    return _mix(session.steps, "steps", 1000)


def _mix(value: object, name: str, most: int) -> dict[int, float]:
    """A mix with its keys as numbers, checked; empty for anything but a mix."""
    if not isinstance(value, dict):
        return {}
    for key in value:
        if not key.isdecimal() or not 1 <= int(key) <= most:
            raise ScenarioError(
                f"scenario: $.session.{name}: {key!r} is no whole number from 1 to {most}"
            )
    if not sum(value.values()) > 0:
        raise ScenarioError(f"scenario: $.session.{name}: the weights sum to 0")
    return {int(key): weight for key, weight in value.items()}
