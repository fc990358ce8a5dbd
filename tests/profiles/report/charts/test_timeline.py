"""Curves over time: what is binned by which instant, and what adds up."""

import numpy as np
import pytest

from profiles.report.charts import timeline
from profiles.schema import EndReason, Outcome, RunEvent
from tests.profiles.synthetic import OK, START_S, TEN, manifest, plan, record, recorded, replaced

NAN = np.nan


def test_each_rate_is_binned_by_its_own_instant() -> None:
    # One request, two images, due at 1 s, sent at 3 s, done at 5 s.
    one = record(0, images=2, scheduled_s=START_S + 1, sent_s=START_S + 3, done_s=START_S + 5)
    about = manifest(plan(1, 9.0, images=2))
    run = recorded(about, [one])
    time = timeline.timeline(run)
    assert time is not None
    rates = timeline.image_rates(timeline.since_load(run), time)
    assert time.width_s == pytest.approx(0.2)  # 9 s in at most 45 bins
    at = {name: float(time.edges[values.argmax()]) for name, values in rates.items()}
    assert at == pytest.approx({"offered": 1.0, "sent": 3.0, "completed": 5.0})
    assert [values.sum() * time.width_s for values in rates.values()] == pytest.approx([2, 2, 2])


def test_a_run_cut_short_shows_no_zeros_after_its_end() -> None:
    # Cut at 4 s; the last answer came at 4 s, too.
    cut = RunEvent(t_s=START_S + 4.0, kind="interrupted", source="runner")
    run = recorded(manifest(TEN, end_reason=EndReason.INTERRUPTED), OK[:4], events=[cut])
    time = timeline.timeline(run)
    assert time is not None
    counted = timeline.since_load(run)
    level = timeline.in_flight(counted.attempts, time)
    for values in (*timeline.image_rates(counted, time).values(), level):
        np.testing.assert_array_equal(np.isnan(values), time.edges[:-1] >= 4.0)


def test_the_parts_of_latency_add_up_to_it() -> None:
    # Due at 0, sent 0.5 s late, 2 s in the queue, 1 s of service, answered 4 s after it was due:
    # elsewhere is 4 - 2 - 1 = 1 s.
    one = record(
        0,
        scheduled_s=START_S,
        sent_s=START_S + 0.5,
        done_s=START_S + 4.0,
        queue_s=2.0,
        denoise_s=1.0,
    )
    run = recorded(manifest(plan(1, 10.0)), [one])
    parts = timeline.latency_split(timeline.since_load(run).requests, np.array([0.0, 1.0, 2.0]))
    assert parts is not None
    first = {name: values[0] for name, values in parts.items()}
    assert first == pytest.approx({"service": 1.0, "queue": 2.0, "elsewhere": 1.0})
    assert np.isnan(parts["queue"][1])


def test_outcomes_stand_at_their_due_time_and_absent_ones_are_left_out() -> None:
    refused = record(3, outcome=Outcome.REJECTED)
    run = recorded(manifest(TEN), replaced(refused))
    rates = timeline.outcome_rates(timeline.since_load(run).requests, np.array([0.0, 5.0, 10.0]))
    assert set(rates) == {Outcome.OK, Outcome.REJECTED}
    np.testing.assert_allclose(rates[Outcome.REJECTED], [0.2, 0.0])  # one in the first 5 s
    np.testing.assert_allclose(rates[Outcome.OK], [0.8, 1.0])


def test_no_load_no_timeline() -> None:
    assert timeline.timeline(recorded(manifest(None), [])) is None
