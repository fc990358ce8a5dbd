"""From people to the summary: each intended image ends in exactly one outcome, whatever happens.

People are drawn and played without a network or a clock, records are lost and repeated, and what is
left is summed up as a run's folder is.
"""

import random
from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.generator.people import live, never_came, scripts_of
from loadtest.generator.person import Answer, Departure
from loadtest.generator.recorder import Attempt
from loadtest.scenario.session import PersonClass, Retry, Session, scripts
from loadtest.traffic.distributions import Exponential, Fixed
from loadtest.units import Duration
from profiles.schema import Outcome, RequestRecord, Summary, Verdict
from profiles.summary.run import compute
from tests.profiles.synthetic import START_S, manifest, plan, recorded

ENDS = [Outcome.OK, Outcome.FAILED, Outcome.REJECTED, Outcome.TIMEOUT]
LOAD_S = 10.0
SLO_S = 2.0
DOUBT = "The record"  # does not add up, or contradicts itself


class Stage:
    """One person's: answers by chance after some time, cut by patience and by the run's stop."""

    def __init__(
        self, seed: str, stop_s: float, steps: dict[int, int], records: list[RequestRecord]
    ) -> None:
        self.random = random.Random(seed)
        self.stop_s = stop_s
        self.steps = steps
        self.records = records
        self.at_s = 0.0

    def now_s(self) -> float:
        return self.at_s

    def sleep_until(self, t_s: float) -> bool:
        self.at_s = max(self.at_s, min(t_s, self.stop_s))
        return not self.is_over()

    def is_over(self) -> bool:
        return self.at_s >= self.stop_s

    def ask(self, seq: int, due_s: float, images: int, whose: Attempt, patience_s: float) -> Answer:
        sent_s, outcome = self.at_s, self.random.choice(ENDS)
        took_s = self.random.uniform(0, 4)
        if took_s > patience_s:
            took_s, outcome = max(patience_s, 0.0), Outcome.ABANDONED
        if sent_s + took_s > self.stop_s:
            took_s, outcome = self.stop_s - sent_s, Outcome.TIMEOUT
        self.at_s += took_s
        self._record(seq, due_s, images, whose, outcome, sent_s)
        return Answer(outcome=outcome, retry_after_s=self.random.choice([None, 0.5]))

    def leave(self, seq: int, due_s: float, images: int, whose: Attempt, gone: Departure) -> None:
        self._record(seq, due_s, images, whose, gone.outcome, None)

    def _record(
        self, seq: int, due_s: float, images: int, whose: Attempt, outcome: Outcome,
        sent_s: float | None,
    ) -> None:  # fmt: skip
        done_s = None if sent_s is None else self.at_s
        self.records.append(
            RequestRecord(
                seq=seq, attempt=whose.attempt, session=whose.person, priority=whose.priority,
                scheduled_s=due_s, sent_s=sent_s, done_s=done_s, outcome=outcome, images=images,
                width=64, height=64, steps=self.steps[seq], prompt_chars=1,
            )
        )  # fmt: skip


def played(
    session: Session, people: int, seed: int, stop_s: float
) -> tuple[list[RequestRecord], dict[int, int]]:
    """Everyone's records, and the images that each seq intends."""
    arrivals = np.sort(np.random.default_rng(seed).uniform(0, LOAD_S, people))
    rows = scripts(session, {1: 2.0, 4: 1.0}, arrivals, LOAD_S, seed)
    steps = dict(enumerate(rows["steps"].tolist()))
    records: list[RequestRecord] = []
    for share in range(2):  # two processes
        for script in scripts_of(rows, share, 2, START_S, START_S + LOAD_S):
            stage = Stage(f"{seed}/{script.person}", START_S + stop_s, steps, records)
            if script.arrives_s < stage.stop_s:
                live(script, session.retry, seed, stage)
            else:
                never_came(script, stage)
    return records, dict(enumerate(rows["images"].tolist()))


def summed(records: list[RequestRecord], intended: dict[int, int], people: int) -> Summary:
    load = plan(len(intended), LOAD_S, images=sum(intended.values()), people=people)
    return compute(recorded(manifest(load, slo_latency_s=SLO_S), records))


def last_attempts(records: list[RequestRecord]) -> dict[int, RequestRecord]:
    return {one.seq: one for one in sorted(records, key=lambda one: one.attempt)}


@settings(max_examples=60, deadline=None)
@given(
    policy=st.sampled_from(["none", "immediate", "backoff"]),
    patience_s=st.sampled_from([None, 1.0, 6.0]),
    mean=st.floats(1, 3),
    limit=st.none() | st.integers(1, 5),
    people=st.integers(1, 25),
    seed=st.integers(0, 2**32),
    stop_s=st.sampled_from([0.0, 3.0, LOAD_S, 60.0]),
    lost=st.integers(0, 4),
    repeated=st.integers(0, 2),
)
def test_each_intended_image_ends_in_one_outcome(
    policy: str, patience_s: float | None, mean: float, limit: int | None, people: int, seed: int,
    stop_s: float, lost: int, repeated: int,
) -> None:  # fmt: skip
    session = Session(
        requests=mean,
        think=Exponential(mean=Duration(1)),
        patience=None if patience_s is None else Fixed(value=Duration(patience_s)),
        steps={"20": 1.0, "30": 3.0},
        retry=Retry(policy=policy, most_attempts=3),  # type: ignore[arg-type]
        classes={
            "free": PersonClass(share=0.7, images_a_day=limit),
            "paying": PersonClass(share=0.3),
        },
    )
    records, intended = played(session, people, seed, stop_s)
    last = last_attempts(records)
    assert last.keys() == intended.keys()
    assert {seq: one.images for seq, one in last.items()} == intended

    whole = summed(records, intended, people)
    assert not any(DOUBT in said for said in whole.reasons)
    assert whole.outcomes == dict.fromkeys(whole.outcomes, 0) | Counter(
        one.outcome for one in last.values()
    )
    images = Counter[str]()
    for one in last.values():
        images[one.outcome] += one.images
    assert whole.ok_images == images["ok"]
    assert whole.scheduled_images == sum(images.values()) == sum(intended.values())
    gave_up = {one.session for one in last.values() if one.outcome is Outcome.ABANDONED}
    assert whole.people_gave_up == len(gave_up)
    assert whole.attempts == sum(one.sent_s is not None for one in records)
    for tag in {one.tag for one in whole.groups}:  # every tag divides the same images
        of_tag = [one for one in whole.groups if one.tag == tag]
        for outcome in Outcome:
            assert sum(one.outcomes[outcome] for one in of_tag) == images[outcome]
        assert all(0 <= one.in_time_images <= one.outcomes["ok"] for one in of_tag)
        tried = [one.images * (one.attempts_per_image or 0.0) for one in of_tag]
        sent = sum(one.images for one in records if one.sent_s is not None)
        assert round(sum(tried), 6) == sent

    # some requests' records are lost, others are there twice: told, and still one outcome each
    kept = [one for one in records if one.seq >= lost]
    partial = summed([*kept, *kept[:repeated]], intended, people)
    gone = min(lost, len(intended))
    assert sum(partial.outcomes.values()) == partial.scheduled == len(intended)
    assert partial.scheduled_images == whole.scheduled_images
    remaining = Counter(one.outcome for seq, one in last.items() if seq >= lost)
    remaining[Outcome.UNSENT] += gone
    assert partial.outcomes == dict.fromkeys(partial.outcomes, 0) | remaining
    doubted = any(DOUBT in said for said in partial.reasons)
    assert doubted is bool(gone or kept[:repeated]), partial.reasons


def test_a_lost_attempt_is_told_and_changes_no_outcome() -> None:
    session = Session(retry=Retry(policy="immediate", most_attempts=3))
    records, intended = played(session, 20, 3, 60.0)
    whole = summed(records, intended, 20)
    thirds = {one.seq for one in records if one.attempt == 3}
    [victim, *_] = [one for one in records if one.attempt == 2 and one.seq in thirds]
    rest = [one for one in records if one is not victim]
    partial = summed(rest, intended, 20)
    assert partial.verdict is Verdict.INVALID
    assert sum(partial.outcomes.values()) == sum(whole.outcomes.values()) == len(intended)
    assert partial.outcomes == whole.outcomes  # the last attempts are all there
