"""Whether a run that something was done to ended as it must. Pure.

Whatever befalls it: it ends by itself, in time; each scheduled request is in exactly one outcome;
the summary can be made again from the folder; the verdict is one that fits, and the reason names
what was hit and nothing else; nothing stays behind.
"""

import re
from typing import Literal

import msgspec

from benchmarks.chaos_draw import Case
from benchmarks.chaos_expected import BUSY, EXITS, KILLED, VALID, Expected, accused, expected
from benchmarks.chaos_roles import Process

Class = Literal["as expected", "late", "not hit", "fault"]


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a summary says, as far as it is judged."""

    verdict: str
    reasons: list[str]
    outcomes: dict[str, int]
    scheduled: int
    lateness_p99_s: float | None = None


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of a run.

    Attributes:
        exit_code: None where it had to be ended for it did not end.
        took_s: From its start to its end.
        bound_s: In which it had to end.
        hit: What the act hit; empty where its target was not there.
        told: By the run itself; None where it wrote no summary.
        again: By `viralload report` of its folder; None where there is none to report.
        folder: Whether there is a run folder.
        schedule: Requests in schedule.npy; None where there is none.
        recorded: Requests by the outcome of their last record.
        left: What is still there of it afterwards.
        errors: Lines of stderr of a kind that nobody should see (tracebacks).
        words: The last line of stderr.
        load_1min: The machine's load average when it ended.
    """

    exit_code: int | None
    took_s: float
    bound_s: float
    hit: list[Process]
    told: Told | None
    again: Told | None
    folder: bool
    schedule: int | None
    recorded: dict[str, int]
    left: list[str]
    errors: list[str] = []
    words: str = ""
    load_1min: float | None = None


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """The judgement: `late` is what would have been right had this machine not been busy."""

    is_as: Class
    faults: list[str]


def judge(case: Case, seen: Seen) -> Judged:
    """How the run ended, against how it must."""
    must_hit = case.act.target is not None
    is_hit = not must_hit or bool(seen.hit)
    right = expected(case) if is_hit else Expected(verdicts=VALID)
    faults = _sums(seen) + _again(seen)
    if not (never_began := _never_began(seen)):
        faults += _ending(right, seen) + _blame(right, seen)
    faults += [f"left behind: {what}" for what in seen.left]
    faults += [f"on stderr: {line}" for line in seen.errors]
    if faults:
        return Judged(is_as="fault", faults=faults)
    if never_began:
        return Judged(is_as="late", faults=[])
    if not is_hit:
        return Judged(is_as="not hit", faults=[])
    return Judged(is_as="late" if _only_late(right, seen) else "as expected", faults=[])


def _final(seen: Seen) -> Told | None:
    return seen.told or seen.again


def _only_late(right: Expected, seen: Seen) -> bool:
    """Whether it is INVALID for lateness alone, and nothing was done to make it late."""
    told = _final(seen)
    if told is None or told.verdict != "invalid" or "late" in right.first:
        return False
    if right.verdicts == {"invalid"}:  # for another reason, which must be said
        return False
    return {accused(reason) for reason in told.reasons} - right.also == {"late"}


def _never_began(seen: Seen) -> bool:
    """Whether this machine was too busy for the run to come to its load, as it says itself."""
    told = _final(seen)
    if told is None or seen.hit or seen.exit_code != 1 or not told.reasons:
        return False
    return re.search(BUSY, told.reasons[0]) is not None


def _ending(right: Expected, seen: Seen) -> list[str]:
    if seen.exit_code is None:
        return [f"it did not end by itself in {seen.bound_s:.0f} s"]
    told = _final(seen)
    if told is None:
        if seen.folder:
            return ["its folder cannot be reported"]
        is_right = seen.exit_code in right.exits
        return [] if is_right else [f"exit code {seen.exit_code}, and no folder"]
    faults = []
    if told.verdict not in right.verdicts and not _only_late(right, seen):
        faults.append(f"verdict {told.verdict}, not one of {sorted(right.verdicts)}")
    codes = right.exits if KILLED in right.exits else {EXITS[told.verdict]} | right.exits
    if seen.exit_code not in codes:
        faults.append(f"exit code {seen.exit_code}, not one of {sorted(codes)}")
    if seen.exit_code == EXITS[told.verdict] and seen.told is None and told.verdict in VALID:
        faults.append("it told no summary")
    return faults


def _sums(seen: Seen) -> list[str]:
    """What does not add up between schedule, record and summary."""
    told = _final(seen)
    if told is None:
        return []
    faults, total = [], sum(told.outcomes.values())
    if total != told.scheduled:
        faults.append(f"outcomes add up to {total}, scheduled were {told.scheduled}")
    if seen.schedule is not None and told.scheduled not in (seen.schedule, 0):
        faults.append(f"{told.scheduled} scheduled, {seen.schedule} in schedule.npy")
    missing = told.scheduled - sum(seen.recorded.values())
    for outcome, count in told.outcomes.items():
        found = seen.recorded.get(outcome, 0) + (missing if outcome == "unsent" else 0)
        if count != found:
            faults.append(f"{count} {outcome} told, {found} in the record")
    return faults


def _again(seen: Seen) -> list[str]:
    """What a report made afterwards says otherwise than the run itself."""
    if not seen.folder:
        return []
    if seen.again is None:
        return ["no report can be made of its folder"]
    if seen.told is None:
        return []
    pairs = (
        ("verdict", seen.told.verdict, seen.again.verdict),
        ("outcomes", seen.told.outcomes, seen.again.outcomes),
        ("reasons", seen.told.reasons, seen.again.reasons),
    )
    return [
        f"reported again, its {name} are {after!r}, and were {before!r}"
        for name, before, after in pairs
        if before != after
    ]


def _blame(right: Expected, seen: Seen) -> list[str]:
    """Who is accused that was not hit, and whether the first reason says what happened."""
    told = _final(seen)
    if told is None or told.verdict != "invalid":
        return []
    faults = []
    if not told.reasons:
        return ["invalid without a reason"]
    may = right.first | right.also | {"late"}
    for reason in told.reasons:
        cause = accused(reason)
        if cause is None:
            faults.append(f"a reason that is not known here: {reason}")
        elif cause not in may:
            faults.append(f"accuses another ({cause}): {reason}")
    if faults or _only_late(right, seen):
        return faults
    first = told.reasons[0]
    if accused(first) not in right.first:
        return [f"the first reason is not the cause: {first}"]
    if not re.search(right.words, first):
        return [f"the first reason does not say {right.words!r}: {first}"]
    return []
