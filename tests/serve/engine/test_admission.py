from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.engine.admission import (
    RETRY_AFTER_MAX_S,
    AdmissionRequest,
    Admitted,
    Backlog,
    Refusal,
    ServiceRate,
    admit,
    admit_by_count,
    retry_after_s,
)
from serve.engine.forecast import Load, completion_s
from serve.engine.request import Priority


def loads(*steps: int) -> list[Load]:
    """An image of so many steps each, of one FLOP a step."""
    return [Load(steps=each, step_flop=1.0) for each in steps]


def ask(
    *steps: int, priority: Priority = "paying", deadline_s: float | None = None, **others: Any
) -> Admitted | Refusal:
    """The verdict where a step takes a second, whatever runs in it."""
    backlog = Backlog(**{name: others.pop(name) for name in list(others) if name in FIELDS})
    keywords = {"slots": 2, "max_queue": 4, "step_s": lambda step_flop: 1.0, "tail_s": 0.0}
    asked = AdmissionRequest(loads=loads(*steps), priority=priority, deadline_s=deadline_s)
    return admit(asked, backlog, **{**keywords, **others})


FIELDS = Backlog.__struct_fields__


class TestBound:
    @pytest.mark.parametrize(
        ("images", "waiting", "is_taken"),
        [
            (1, 0, True),
            (1, 3, True),  # exactly full
            (1, 4, False),
            (2, 3, False),
            (9, 0, True),  # an empty queue takes any request
        ],
    )
    def test_so_many_may_wait(self, images: int, waiting: int, is_taken: bool) -> None:
        verdict = ask(*[5] * images, paying=loads(*[5] * waiting))
        assert isinstance(verdict, Admitted) is is_taken

    @pytest.mark.parametrize(
        ("images", "delay_s"),
        [
            # Two slots, four images of 5, 6, 7, 8 steps: done at 5, 6, 5 + 7 = 12, 6 + 8 = 14 s.
            (1, 5),
            (2, 6),
            (3, 12),
            (4, 14),
            (9, 14),  # more than the queue holds: when it is empty
        ],
    )
    def test_it_may_come_back_when_as_many_are_done_as_are_in_its_way(
        self, images: int, delay_s: int
    ) -> None:
        verdict = ask(*[1] * images, paying=loads(5, 6, 7, 8))
        assert verdict == Refusal(reason="queue_full", waiting=4, retry_after_s=delay_s)

    def test_what_runs_is_in_the_way_too(self) -> None:
        verdict = ask(1, running=loads(10, 10), paying=loads(5, 6, 7, 8))
        assert isinstance(verdict, Refusal)
        assert verdict.retry_after_s == 15


class TestShedding:
    @pytest.mark.parametrize(
        ("images", "sheddable", "shed"),
        [
            (1, [1, 1, 1], 1),
            (2, [1, 1, 1], 2),
            (3, [1, 1, 1], 3),
            (1, [3], 1),  # a request goes as a whole
            (2, [1, 2], 2),
        ],
    )
    def test_the_newest_free_ones_make_room(
        self, images: int, sheddable: list[int], shed: int
    ) -> None:
        verdict = ask(
            *[1] * images, paying=loads(5), free=loads(5, 5, 5), sheddable=sheddable
        )  # three rounds of one slot's 5 steps at most: 4 images on two slots are done at 10 s
        assert verdict == Admitted(shed=shed, shed_retry_after_s=10)

    def test_none_is_shed_while_there_is_room(self) -> None:
        verdict = ask(1, paying=loads(5), free=loads(5, 5), sheddable=[1, 1])
        assert verdict == Admitted(shed=0)

    def test_free_ones_make_no_room_for_a_free_one(self) -> None:
        verdict = ask(1, priority="free", free=loads(5, 5, 5, 5), sheddable=[1, 1, 1, 1])
        assert isinstance(verdict, Refusal)
        assert verdict.reason == "queue_full"

    def test_none_is_shed_in_vain(self) -> None:
        """Two of the four are paying: a request of three finds no room whoever goes."""
        verdict = ask(1, 1, 1, paying=loads(5, 5), free=loads(5, 5), sheddable=[1, 1])
        assert isinstance(verdict, Refusal)

    def test_nor_for_what_would_be_late(self) -> None:
        verdict = ask(9, deadline_s=8.0, paying=loads(1), free=loads(1, 1, 1), sheddable=[3])
        assert isinstance(verdict, Refusal)
        assert verdict.reason == "deadline"


class TestDeadline:
    @pytest.mark.parametrize(
        ("steps", "deadline_s", "others", "predicted_s"),
        [
            ([5], 5.0, {}, None),  # exactly in time
            ([5], 4.9, {}, 5.0),
            ([5], None, {"running": loads(999, 999)}, None),  # no deadline
            ([5], 5.0, {"tail_s": 0.5}, 5.5),
            ([5, 5, 5], 9.0, {}, 10.0),  # the last of its images counts
            ([5], 9.0, {"running": loads(5, 7)}, 10.0),  # waits for the slot that is free at 5
            ([5], 9.0, {"running": loads(4)}, None),  # beside it
            ([5], 9.0, {"paying": loads(5, 5)}, 10.0),
            ([5], 9.0, {"free": loads(5, 5)}, None),  # it stands before those
            ([5], 9.0, {"free": loads(5, 5), "priority": "free"}, 10.0),
            ([5], 9.0, {"paying": loads(5, 5), "priority": "free"}, 10.0),
        ],
    )
    def test_what_would_be_late_is_refused_at_once(
        self, steps: list[int], deadline_s: float, others: dict[str, Any], predicted_s: float | None
    ) -> None:
        verdict = ask(*steps, deadline_s=deadline_s, **others)
        assert getattr(verdict, "predicted_s", None) == predicted_s
        assert isinstance(verdict, Refusal) is (predicted_s is not None)

    def test_it_may_come_back_when_so_much_is_done_as_it_would_be_late_by(self) -> None:
        verdict = ask(5, deadline_s=9.0, running=loads(20, 20))  # done at 25 s: 16 too late
        assert verdict == Refusal(reason="deadline", waiting=0, predicted_s=25.0, retry_after_s=16)


@given(
    priority=st.sampled_from(["paying", "free"]),
    steps=st.lists(st.integers(1, 20), min_size=1, max_size=4),
    running=st.lists(st.integers(1, 20), max_size=2),
    paying=st.lists(st.integers(1, 20), max_size=5),
    free=st.lists(st.integers(1, 20), max_size=5),
    deadline_s=st.none() | st.floats(1, 100),
)
def test_whoever_is_taken_fits_and_is_in_time(
    priority: Priority,
    steps: list[int],
    running: list[int],
    paying: list[int],
    free: list[int],
    deadline_s: float | None,
) -> None:
    verdict = ask(
        *steps,
        priority=priority,
        deadline_s=deadline_s,
        running=loads(*running),
        paying=loads(*paying),
        free=loads(*free),
        sheddable=[1] * len(free),
    )
    waiting = len(paying) + len(free)
    if isinstance(verdict, Refusal):
        assert verdict.waiting == waiting
        assert 1 <= verdict.retry_after_s <= RETRY_AFTER_MAX_S
        if verdict.reason == "queue_full":
            assert waiting + len(steps) > 4
        return
    assert not waiting or waiting - verdict.shed + len(steps) <= 4
    assert verdict.shed <= (len(free) if priority == "paying" else 0)
    if deadline_s is not None:
        ahead = loads(*paying, *(free if priority == "free" else ()))
        line = [*ahead, *loads(*steps)]
        done_s = completion_s(loads(*running), line, slots=2, step_s=lambda step_flop: 1.0)
        assert max(done_s[len(ahead) :]) <= deadline_s


@pytest.mark.parametrize(
    ("images", "waiting", "max_queue", "rate", "delay_s"),
    [
        (1, 0, 4, None, None),
        (1, 3, 4, None, None),  # exactly full
        (1, 4, 4, None, 1),  # no rate known yet
        (1, 4, 4, 10.0, 1),  # 1/10 s, rounded up
        (3, 4, 4, 0.5, 6),  # 3 images at 0.5/s
        (2, 3, 4, 2.0, 1),  # 1 image too many at 2/s
        (10, 0, 4, 1.0, None),  # an empty queue takes any request
        (1, 4, 4, 1e-9, RETRY_AFTER_MAX_S),
    ],
)
def test_admit_by_count(
    images: int, waiting: int, max_queue: int, rate: float | None, delay_s: int | None
) -> None:
    refusal = admit_by_count(images, waiting=waiting, max_queue=max_queue, images_per_s=rate)
    assert (refusal and refusal.retry_after_s) == delay_s


@pytest.mark.parametrize(
    ("delay_s", "told"), [(0.0, 1), (0.2, 1), (1.0, 1), (1.1, 2), (599.5, 600), (1e9, 600)]
)
def test_retry_after_is_in_whole_seconds(delay_s: float, told: int) -> None:
    assert retry_after_s(delay_s) == told


def test_rate_starts_at_the_first_batch_and_follows_the_later_ones() -> None:
    rate = ServiceRate()
    seen = [rate.images_per_s]
    for seconds in (2.0, 1.0):
        rate.observe(8, seconds)
        seen.append(rate.images_per_s)
    assert seen == [None, 4.0, pytest.approx(4.8)]  # 0.8 * 4 + 0.2 * 8
