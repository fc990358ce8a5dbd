"""Requests by class, steps and size; images are counted, never answers."""

import numpy as np
import pytest

from profiles.record.columns import request_columns
from profiles.report.html.run import render
from profiles.report.text import groups as group_text
from profiles.report.text.run import WIDTH, summary_text
from profiles.requests import groups
from profiles.requests.attempts import add_up
from profiles.schema import Outcome, RequestRecord, Summary, Verdict
from tests.profiles.synthetic import START_S, manifest, plan, record, recorded, summed

PEOPLE = manifest(plan(5, 10.0, people=4, images=12), slo_latency_s=5.0)

# due, done, seconds into the load; SLO 5 s
RECORDS = [
    # paying: 4 images in time after 2 s; 1 image late after 6 s
    record(0, priority="paying", images=4, steps=30, done_s=START_S + 2, decoded=True),
    record(1, priority="paying", images=1, steps=40, done_s=START_S + 7, decoded=False),
    # free: 2 images refused, tried three times; 4 in time at the second try; 1 abandoned, unsent
    *(
        record(2, priority="free", images=2, steps=30, attempt=k, outcome=Outcome.REJECTED,
               scheduled_s=START_S + 2 + k, done_s=START_S + 2.5 + k)
        for k in (1, 2, 3)
    ),
    record(3, priority="free", images=4, steps=30, outcome=Outcome.REJECTED, done_s=START_S + 3.1),
    record(3, priority="free", images=4, steps=30, attempt=2, scheduled_s=START_S + 4,
           done_s=START_S + 6, decoded=True),
    record(4, priority="free", images=1, steps=30, sent_s=None, outcome=Outcome.ABANDONED),
]  # fmt: skip


@pytest.fixture
def summary() -> Summary:
    return summed(PEOPLE, RECORDS)


def test_each_class_has_its_images_outcomes_latency_and_tries(summary: Summary) -> None:
    paying, free, thirty, forty = summary.groups
    assert (paying.tag, paying.value, paying.requests, paying.images) == ("class", "paying", 2, 5)
    assert (paying.in_time_images, paying.outcomes["ok"]) == (4, 5)
    assert (paying.latency_p50_s, paying.latency_p99_s) == pytest.approx((4.0, 5.96))  # 2 s, 6 s
    assert paying.attempts_per_image == 1.0
    assert (free.value, free.requests, free.images, free.in_time_images) == ("free", 3, 7, 4)
    lost = (free.outcomes["rejected"], free.outcomes["abandoned"], free.outcomes["ok"])
    assert lost == (2, 1, 4)
    assert free.latency_p95_s == pytest.approx(3.0)  # from the first try
    assert free.attempts_per_image == pytest.approx((3 * 2 + 2 * 4) / 7)
    assert (thirty.tag, thirty.value, thirty.images) == ("steps", "30", 11)
    assert (forty.value, forty.images) == ("40", 1)
    for one in summary.groups:
        assert sum(one.outcomes.values()) == one.images


def test_images_are_counted_not_answers(summary: Summary) -> None:
    assert (summary.scheduled_images, summary.ok_images) == (12, 9)  # in 3 answers
    assert summary.completed_images_per_s == pytest.approx(0.9)
    assert summary.goodput_images_per_s == pytest.approx(0.8)
    assert summary.slo_share == pytest.approx(8 / 12)
    # 5 images at first, then 2 x 3 and 4 x 2 in tries: 19
    assert summary.sent_images_per_s == pytest.approx(1.9)
    assert summary.peak_completed_images_per_s == pytest.approx(0.9)
    assert sum(summary.outcomes.values()) == 5  # of requests


@pytest.mark.parametrize(
    ("metric", "expression", "actual"),
    [
        ("latency{class:free}", "max < 4s", 3.0),
        ("latency{class:paying}", "p(50) < 4.5s", 4.0),
        ("rejected{class:free}", "rate < 50%", 1 / 3),
        ("ok{class:paying}", "count == 2", 2.0),
        ("ok{steps:40}", "count == 1", 1.0),
        ("ok{size:512x512}", "count == 3", 3.0),
        ("latency{steps:7}", "max < 100s", None),  # nobody asked for 7 steps
    ],
)
def test_a_threshold_may_be_of_one_kind_of_requests(
    metric: str, expression: str, actual: float | None
) -> None:
    run = manifest(PEOPLE.plan, slo_latency_s=5.0, thresholds={metric: [expression]})
    summary = summed(run, RECORDS)
    [result] = summary.thresholds
    assert result.metric == metric
    assert result.actual == (None if actual is None else pytest.approx(actual))
    assert result.passed is (actual is not None)
    assert summary.verdict is (Verdict.FAIL if actual is None else Verdict.PASS)


def test_text_and_report_show_them(summary: Summary) -> None:
    text = summary_text(summary, PEOPLE)
    assert max(map(len, text.splitlines())) <= WIDTH
    [free] = [line.split() for line in text.splitlines() if line.startswith("free")]
    assert free[:3] == ["free", "7", "57%"]
    assert free[-1] == "2"
    assert "2 of 3 successful responses were fully decoded" in " ".join(text.split())
    page = render(recorded(PEOPLE, RECORDS), summary)
    assert 'id="groups"' in page
    assert "2 of 3 successful responses were fully decoded" in page


def test_requests_that_do_not_differ_are_not_told_apart() -> None:
    plain = summed(manifest(plan(2, 10.0)), [record(0), record(1)])
    assert plain.groups == []
    assert plain.decoded is None
    assert group_text.decoded(plain) is None
    assert group_text.lines(plain) == []
    every = summed(manifest(plan(2, 10.0)), [record(k, decoded=True) for k in range(2)])
    assert group_text.decoded(every) == "all 2 successful responses were fully decoded"


def test_a_trace_of_many_steps_shows_the_most_asked_for() -> None:
    records = [
        record(seq, steps=steps)
        for seq, steps in enumerate(s for s in range(1, 13) for _ in range(s))
    ]
    shown = summed(manifest(plan(len(records), 10.0)), records).groups
    assert [one.value for one in shown] == [str(steps) for steps in range(5, 13)]


def test_sizes_are_told_apart_and_every_request_is_in_one() -> None:
    sizes = [(512, 512), (768, 512), (512, 768), (512, 512)]
    records: list[RequestRecord] = [
        record(seq, width=w, height=h) for seq, (w, h) in enumerate(sizes)
    ]
    about = manifest(plan(4, 10.0))
    found = groups.groups(add_up(request_columns(records), about))
    assert [(one.value, len(one.counted.requests)) for one in found] == [
        ("512x512", 2), ("512x768", 1), ("768x512", 1),
    ]  # fmt: skip
    assert np.sum([one.images for one in groups.summaries(found, about)]) == 4
