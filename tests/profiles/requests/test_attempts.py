"""Attempts: what counts as a request's outcome and latency, what contradicts, amplification."""

import numpy as np
import pytest

from profiles.record.columns import request_columns
from profiles.report.charts import timeline
from profiles.report.charts.load import load_panels
from profiles.report.html.run import render
from profiles.report.text.run import summary_text
from profiles.requests.attempts import add_up, amplification
from profiles.schema import Outcome, RequestRecord, RunManifest, Verdict
from tests.profiles.synthetic import OK, START_S, TEN, manifest, plan, record, recorded, summed

REJECTED, TIMEOUT, ABANDONED = Outcome.REJECTED, Outcome.TIMEOUT, Outcome.ABANDONED


def at(seq: int, attempt: int, due_s: float, done_s: float, **changes: object) -> RequestRecord:
    """An attempt due and sent `due_s` into the load."""
    return record(
        seq, attempt=attempt, scheduled_s=START_S + due_s, done_s=START_S + done_s, **changes
    )


def people(requests: int) -> RunManifest:
    return manifest(plan(requests, 10.0, people=requests))


# Request 0: refused at 0.1 s, timed out from 1 to 3 s, ok from 4 to 5 s. Request 1: refused, left.
TRIED = [
    at(0, 1, 0.0, 0.1, outcome=REJECTED, status=429),
    at(0, 2, 1.0, 3.0, outcome=TIMEOUT),
    at(0, 3, 4.0, 5.0),
    at(1, 1, 2.0, 2.1, outcome=REJECTED, status=429),
    at(1, 2, 2.1, 2.1, outcome=ABANDONED, sent_s=None, session=1),
]


def test_a_request_ends_as_its_last_attempt_and_counts_from_its_first() -> None:
    counted = add_up(request_columns(reversed(TRIED)), people(2))  # the file's order is nothing
    requests = counted.requests
    assert requests.seq.tolist() == [0, 1]
    assert requests.where(Outcome.OK).tolist() == [True, False]
    assert requests.where(ABANDONED).tolist() == [False, True]
    assert requests.latency_s[0] == pytest.approx(5.0)
    assert len(counted.attempts) == 5
    assert counted.tally.contradictions == 0


def test_the_summary_tells_both_and_adds_up() -> None:
    summary = summed(people(2), TRIED)
    assert summary.verdict is Verdict.PASS
    assert sum(summary.outcomes.values()) == summary.scheduled == 2
    assert (summary.outcomes["ok"], summary.outcomes["abandoned"]) == (1, 1)
    assert summary.latency_max_s == pytest.approx(5.0)  # of the request
    assert summary.attempt_latency_p50_s == pytest.approx(1.0)  # of its ok attempt
    assert summary.people_gave_up == 1
    assert (summary.people, summary.attempts) == (2, 4)  # the fifth was never sent
    assert summary.amplification == pytest.approx(2.0)  # 4 attempts for 2 first ones
    assert summary.offered_images_per_s == pytest.approx(0.2)  # 2 images in 10 s
    assert summary.sent_images_per_s == pytest.approx(0.4)
    assert summary.lateness_p99_s == 0.0  # waiting to try again is not the generator's fault
    text = summary_text(summary, people(2))
    assert "2 people, 1 of whom gave up, sent 4 attempts: amplification 2" in text
    page = render(recorded(people(2), TRIED), summary)
    for words in ("1 images wanted each, 0.5 made", "tries for one wanted", "above it are retries",
                  "Offered against original demand", "2 requests of 2 people",
                  "with retries, 2 times what was due"):  # fmt: skip
        assert words in page, words


def test_a_run_without_people_tells_nothing_of_them() -> None:
    summary = summed(manifest(TEN))
    assert (summary.people, summary.attempts, summary.amplification) == (None, None, None)


@pytest.mark.parametrize(
    "records",
    [
        [at(0, 1, 0, 1), at(0, 2, 2, 3)],  # tried again though it was ok
        [at(0, 1, 0, 1, outcome=ABANDONED), at(0, 2, 2, 3)],
        [at(0, 2, 0, 1)],  # no first attempt
        [at(0, 1, 0, 1, outcome=REJECTED), at(0, 3, 2, 3)],  # no second
        [at(0, 0, 0, 1)],
        [at(0, 1, 0, 2, outcome=REJECTED), at(0, 2, 1, 3)],  # two at once
    ],
)
def test_attempts_that_cannot_have_been_make_the_run_invalid(records: list[RequestRecord]) -> None:
    summary = summed(people(2), [*records, at(1, 1, 5, 6)])
    assert summary.verdict is Verdict.INVALID
    assert "contradicts itself: of 1 requests" in summary.reasons[0]
    assert sum(summary.outcomes.values()) == 2


def test_the_same_attempt_twice_is_a_duplicate() -> None:
    summary = summed(manifest(TEN), [*OK, OK[3]])
    assert summary.verdict is Verdict.INVALID
    assert "1 records repeat a request" in summary.reasons[0]


def test_amplification_is_highest_where_retries_crowd() -> None:
    # Ten first attempts a stretch of 2 s; thirty retries in the third one.
    records = [at(k, 1, k / 5, k / 5 + 0.01, outcome=REJECTED) for k in range(50)]
    records += [at(k, 2, 4.0 + k / 20, 9.0) for k in range(20)]
    records += [at(k, 3, 5.0 + k / 20, 9.5) for k in range(10)]  # not of this table's making
    attempts = request_columns(records)
    found = amplification(attempts, START_S, 10.0)
    assert found.attempts == 80
    assert found.mean == pytest.approx(80 / 50)
    assert found.window_s == 2.0
    assert found.peak == pytest.approx((10 + 30) / 10)
    assert amplification(attempts, None, 0.0).peak is None
    nothing = amplification(request_columns([]), START_S, 10.0)
    assert (nothing.attempts, nothing.mean) == (0, None)


def test_the_report_draws_attempts_first_attempts_and_goodput() -> None:
    run = recorded(people(2), TRIED)
    time = timeline.timeline(run)
    assert time is not None
    rates = timeline.demand_rates(timeline.since_load(run), 10.0, time)
    images = {name: float(np.nansum(values) * time.width_s) for name, values in rates.items()}
    assert images == pytest.approx({"attempts": 4.0, "first": 2.0, "goodput": 1.0})
    assert timeline.demand_rates(timeline.since_load(run), 4.0, time)["goodput"].sum() == 0.0
    assert [p.name for p in load_panels(run, time, timeline.since_load(run))][1] == "amplification"
    plain = recorded(manifest(TEN))
    assert "amplification" not in [
        p.name for p in load_panels(plain, time, timeline.since_load(plain))
    ]
