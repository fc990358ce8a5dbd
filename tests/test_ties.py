"""Rules that stand twice, for serve and the simulation stand alone: played side by side.

The kernel agrees with the plain simulation to 1e-9 (`tests/profiles/fleet/test_simulate.py`), so
what ties the plain one to the server and the crowd ties the kernel to them.
"""

from typing import Any

import pytest

from loadtest.generator.person import Answer, DueAttempt, IntendedRequest, Script, after
from loadtest.scenario.session import Retry
from loadtest.units import Duration
from profiles.fleet.kernel import streams
from profiles.schema import Outcome
from profiles.schema.fleet import People
from serve.engine.admission import AdmissionRequest, Admitted, Backlog, admit, admit_by_count
from serve.engine.forecast import Load, completion_s
from tests.profiles.fleet.test_simulate import IMPATIENT, MANIFOLD, arrivals, fleet
from tests.profiles.plain_fleet import Image, Person, PlainFleet, Server


class Tied(PlainFleet):
    """A plain fleet that asks the server's own rules at each request, and holds its own to them."""

    forecasts = refusals = taken = 0

    def forecast_s(self, server: Server, person: Person) -> float:
        told_s = super().forecast_s(server, person)
        if self.fleet.policy == "step":
            left_s = server.tick_s - self.now if server.batch else 0.0  # of the step that runs
            running = [one.left - 1 for one in server.batch if one is not None and one.left > 1]
            before = [one for one in server.line if one.paying or not person.paying]
            done_s = completion_s(
                [load(left) for left in running],
                [*(load(int(one.work)) for one in before), *self.loads(person)],
                slots=self.fleet.batch_limit,
                step_s=lambda images: self.step_s(round(images)),
            )
            own_s = left_s + max(done_s[len(before) :]) + self.fleet.service.tail_s
            assert told_s == pytest.approx(own_s, rel=1e-9)
            self.forecasts += 1
        return told_s

    def is_refused(self, person: Person, server: Server | None, line: list[Image]) -> bool:
        assert server is not None
        assert self.fleet.max_queue is not None
        shed_before = self.counts.get("refused")
        before = 0.0 if shed_before is None else float(shed_before.sum())
        expected = self.real_rule(person, server, line)
        refused = super().is_refused(person, server, line)
        now = float(self.counts["refused"].sum()) if "refused" in self.counts else 0.0
        assert refused is (expected is None)
        assert now - before == (1 if expected is None else expected)  # itself, or those shed
        self.refusals += refused
        self.taken += not refused
        return refused

    def real_rule(self, person: Person, server: Server, line: list[Image]) -> int | None:
        """How many requests the server sheds for this one; None: it refuses it."""
        assert self.fleet.max_queue is not None
        if self.fleet.policy != "step":
            refusal = admit_by_count(
                person.wants, waiting=len(line), max_queue=self.fleet.max_queue, images_per_s=1.0
            )
            return 0 if refusal is None else None
        free = [one.person for one in reversed(line) if not one.paying]
        whole = [
            one for one in dict.fromkeys(free) if all(each.where == "line" for each in one.images)
        ]
        found = admit(
            AdmissionRequest(
                loads=self.loads(person),
                priority="paying" if person.paying else "free",
                deadline_s=None,
            ),
            Backlog(
                running=[load(one.left) for one in server.batch if one is not None],
                paying=[load(int(one.work)) for one in line if one.paying],
                free=[load(int(one.work)) for one in line if not one.paying],
                sheddable=[one.wants for one in whole],
            ),
            slots=self.fleet.batch_limit,
            max_queue=self.fleet.max_queue,
            step_s=lambda images: self.step_s(round(images)),
            tail_s=self.fleet.service.tail_s,
        )
        return found.shed if isinstance(found, Admitted) else None

    @staticmethod
    def loads(person: Person) -> list[Load]:
        return [load(int(person.work))] * person.wants


def load(steps: int) -> Load:
    return Load(steps=steps, step_flop=1.0)


def played(people: People, **changes: Any) -> Tied:
    times = arrivals(9.0 / people.mean_images, 120.0, 1)
    block = fleet(routing="two", **changes)
    tied = Tied(block, people, times.tolist(), seed=1, duration_s=120.0, slo_s=5.0, drain_s=60.0)
    tied.run()
    return tied


@pytest.mark.parametrize("people", [IMPATIENT, MANIFOLD])
def test_a_simulated_server_forecasts_as_the_real_one(people: People) -> None:
    tied = played(people, policy="step", deadline_s=1e6)  # asked of each request, refuses none
    assert tied.forecasts > 300


@pytest.mark.parametrize(
    ("policy", "people"), [("step", IMPATIENT), ("step", MANIFOLD), ("request", People())]
)
def test_a_simulated_queue_takes_refuses_and_sheds_as_the_real_one(
    policy: Any, people: People
) -> None:
    tied = played(people, policy=policy, max_queue=3)
    assert tied.refusals > 30
    assert tied.taken > 300


@pytest.mark.parametrize("policy", ["none", "immediate", "backoff"])
@pytest.mark.parametrize("retry_after_s", [0.0, 3.0])
@pytest.mark.parametrize("attempt", [1, 2, 4, 5])
def test_a_simulated_person_asks_again_when_a_played_one_does(
    policy: Any, retry_after_s: float, attempt: int
) -> None:
    people = People(retry=policy, most_attempts=5, first_s=1.0, cap_s=6.0, patience_s=(20.0,))
    retry = Retry(policy=policy, most_attempts=5, first=Duration(1.0), cap=Duration(6.0))
    script = Script(
        person=0,
        arrives_s=0.0,
        patience_s=20.0,
        priority="free",
        wishes=(IntendedRequest(seq=0, images=1),),
        load_end_s=1e9,
    )
    plain = PlainFleet(fleet(), people, [], seed=1, duration_s=120.0, slo_s=5.0, drain_s=60.0)
    for now_s in (2.0, 9.0, 17.5, 19.9):
        person = Person(number=0, paying=False, patience_s=20.0, attempt=attempt)
        plain.now, plain.events, plain.inside = now_s, [], {person}
        jitter = streams.draw(plain.seed, streams.JITTER, plain.drawn[streams.JITTER])
        plain.ended(person, "rejected", retry_after_s)
        following = after(
            script,
            DueAttempt(wish=0, attempt=attempt, wanted_s=0.0, due_s=0.0),
            Answer(outcome=Outcome.REJECTED, retry_after_s=retry_after_s),
            now_s,
            retry,
            jitter,
        )
        if plain.events:
            assert isinstance(following, DueAttempt)
            assert plain.events[0][0] == pytest.approx(following.due_s)
            assert person.attempt == following.attempt
        else:
            assert not isinstance(following, DueAttempt)
