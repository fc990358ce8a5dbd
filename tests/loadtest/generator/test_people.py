"""People played on a stage without a network or a clock: every intended request is recorded."""

import heapq
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from loadtest.generator.people import live, never_came, scripts_of
from loadtest.generator.person import Answer, Departure, IntendedRequest, Script
from loadtest.generator.recorder import Attempt
from loadtest.scenario.session import PersonClass, Retry, Session, scripts
from loadtest.traffic.distributions import Fixed
from loadtest.units import Duration
from profiles.record.columns import request_columns
from profiles.requests.attempts import add_up
from profiles.schema import Outcome, RequestRecord
from tests.profiles.synthetic import manifest, plan

ANSWERS = [Outcome.OK, Outcome.FAILED, Outcome.REJECTED, Outcome.TIMEOUT]


class Stage:
    """Answers from a list, each after a second; stops once `stop_s` is reached."""

    def __init__(self, answers: list[Outcome], stop_s: float = np.inf) -> None:
        self.answers = answers
        self.stop_s = stop_s
        self.at_s = 0.0
        self.records: list[RequestRecord] = []

    def now_s(self) -> float:
        return self.at_s

    def sleep_until(self, t_s: float) -> bool:
        self.at_s = min(max(self.at_s, t_s), max(self.stop_s, self.at_s))
        return not self.is_over()

    def is_over(self) -> bool:
        return self.at_s >= self.stop_s

    def ask(self, seq: int, due_s: float, images: int, whose: Attempt, patience_s: float) -> Answer:
        sent_s = self.at_s
        outcome = self.answers[len(self.records) % len(self.answers)]
        if patience_s < 1.0:
            outcome = Outcome.ABANDONED
        self.at_s += min(1.0, patience_s)
        self._record(seq, due_s, images, whose, outcome, sent_s)
        return Answer(outcome=outcome)

    def leave(self, seq: int, due_s: float, images: int, whose: Attempt, gone: Departure) -> None:
        self._record(seq, due_s, images, whose, gone.outcome, None)

    def _record(
        self, seq: int, due_s: float, images: int, whose: Attempt, outcome: Outcome,
        sent_s: float | None,
    ) -> None:  # fmt: skip
        self.records.append(
            RequestRecord(
                seq=seq, attempt=whose.attempt, session=whose.person, scheduled_s=due_s,
                sent_s=sent_s, done_s=None if sent_s is None else self.at_s, outcome=outcome,
                images=images, width=8, height=8, prompt_chars=1,
            )
        )  # fmt: skip


@given(
    answers=st.lists(st.sampled_from(ANSWERS), min_size=1, max_size=6),
    wishes=st.integers(1, 4),
    patience_s=st.sampled_from([0.5, 2.5, 10.0, np.inf]),
    policy=st.sampled_from(["none", "immediate", "backoff"]),
    stop_s=st.sampled_from([0.0, 1.5, 4.0, np.inf]),
    think_s=st.sampled_from([0.0, 3.0, 30.0]),
)
def test_whatever_happens_the_record_adds_up(
    answers: list[Outcome], wishes: int, patience_s: float, policy: str, stop_s: float,
    think_s: float,
) -> None:  # fmt: skip
    script = Script(
        person=0, arrives_s=0.0, patience_s=patience_s, priority=None, load_end_s=50.0,
        wishes=tuple(
            IntendedRequest(seq=k, images=1, think_s=think_s if k else 0.0) for k in range(wishes)
        ),
    )  # fmt: skip
    stage = Stage(answers, stop_s)
    live(script, Retry(policy=policy, most_attempts=3), 1, stage)  # type: ignore[arg-type]
    counted = add_up(request_columns(stage.records), manifest(plan(wishes, 50.0)))
    tally = counted.tally
    assert (tally.missing, tally.duplicates, tally.strangers, tally.contradictions) == (0, 0, 0, 0)
    assert len(counted.requests) == wishes


def test_someone_who_was_to_come_after_the_stop_is_unsent() -> None:
    stage = Stage([Outcome.OK])
    wishes = (IntendedRequest(seq=4, images=1), IntendedRequest(seq=5, images=2, think_s=3.0))
    never_came(
        Script(
            person=2, arrives_s=9.0, patience_s=1.0, priority=None, wishes=wishes, load_end_s=50
        ),
        stage,
    )
    assert [(r.seq, r.outcome, r.sent_s) for r in stage.records] == [
        (4, Outcome.UNSENT, None),
        (5, Outcome.UNSENT, None),
    ]


def test_scripts_are_shared_by_person_and_nobody_is_left_out() -> None:
    session = Session(
        requests=2.5,
        think=Fixed(value=Duration(1)),
        steps={"7": 1.0},
        classes={"paying": PersonClass(share=1), "free": PersonClass(share=1, images_a_day=2)},
    )
    rows = scripts(session, {1: 1.0}, np.arange(50.0), 1e6, 3)
    parts = [list(scripts_of(rows, share, 3, 100.0, 200.0)) for share in range(3)]
    assert [len(part) for part in parts] == [17, 17, 16]
    everyone = list(heapq.merge(*parts, key=lambda script: script.person))
    assert [script.person for script in everyone] == list(range(50))
    assert [wish.seq for script in everyone for wish in script.wishes] == list(range(rows.size))
    assert everyone[4].arrives_s == 104.0
    assert everyone[4].load_end_s == 200.0
    assert set(rows["steps"]) == {7}
    assert set(Counter(script.priority for script in everyone)) == {"free", "paying"}
