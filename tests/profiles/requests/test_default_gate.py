"""The default gate: a run in which little or nothing came back does not pass."""

from collections.abc import Callable

import pytest

from profiles.record.columns import host_columns
from profiles.report.text.run import summary_text
from profiles.requests.threshold import DEFAULTS, default_gate, parse_all, spell
from profiles.schema import Outcome, RequestRecord, Verdict
from profiles.summary.run import verdict_exit_code
from tests.profiles.synthetic import START_S, host_samples, manifest, plan, record, summed

HUNDRED = plan(100, 100.0)
READ = host_columns(host_samples(START_S + 100.0))
GATE = {metric: list(texts) for metric, texts in DEFAULTS.items()}


def some(outcome: Outcome, times: int) -> Callable[[int], RequestRecord]:
    """The first `times` requests end so, the others are ok."""
    status = {Outcome.REJECTED: 429, Outcome.FAILED: 500}.get(outcome)
    return lambda seq: record(
        seq, **({"outcome": outcome, "status": status} if seq < times else {})
    )


def slow(by_s: float) -> Callable[[int], RequestRecord]:
    """All are ok, after so long; the SLO is 10 s."""
    return lambda seq: record(seq, done_s=START_S + seq + by_s)


@pytest.mark.parametrize(
    ("request_of", "broken"),
    [
        (some(Outcome.FAILED, 0), []),
        (some(Outcome.FAILED, 100), ["failed", "goodput"]),  # every request failed
        (some(Outcome.REJECTED, 52), ["rejected"]),  # 52% refused
        (some(Outcome.REJECTED, 100), ["rejected", "goodput"]),
        (some(Outcome.TIMEOUT, 52), ["timeout"]),
        (some(Outcome.TIMEOUT, 100), ["timeout", "goodput"]),
        (some(Outcome.ABANDONED, 100), ["goodput"]),
        (some(Outcome.FAILED, 1), ["failed"]),  # 1% is not below 1%
        (slow(10.5), ["goodput"]),  # all answered, none within the SLO
        (slow(9.5), []),
    ],
)
def test_a_run_without_thresholds_is_held_to_the_defaults(
    request_of: Callable[[int], RequestRecord], broken: list[str]
) -> None:
    about = manifest(HUNDRED, default_thresholds=GATE)
    summary = summed(about, [request_of(seq) for seq in range(100)], hosts=READ)
    assert [one.metric for one in summary.thresholds if not one.passed] == broken
    assert all(one.default for one in summary.thresholds)
    assert summary.verdict is (Verdict.FAIL if broken else Verdict.PASS)
    assert verdict_exit_code(summary) == (99 if broken else 0)
    told = summary_text(summary, about)
    assert all(f"✗ {metric} {DEFAULTS[metric][0]} (default)" in told for metric in broken)


def test_a_load_shorter_than_an_answer_takes_has_goodput() -> None:
    # One request at 0 s of a load of 2 s, ok after 5 s: no image a second in the load, one in time.
    about = manifest(plan(1, 2.0), default_thresholds=GATE)
    summary = summed(about, [record(0, done_s=START_S + 5.0)], hosts=READ)
    assert summary.goodput_images_per_s == 0.0
    assert all(one.passed for one in summary.thresholds)
    assert summary.verdict is Verdict.INVALID  # but it says too little to pass
    assert "Too short" in summary.reasons[0]


def test_an_older_record_without_the_mark_reports_as_before() -> None:
    records = [some(Outcome.FAILED, 100)(seq) for seq in range(100)]
    summary = summed(manifest(HUNDRED), records, hosts=READ)
    assert (summary.verdict, summary.thresholds) == (Verdict.PASS, [])


@pytest.mark.parametrize(
    ("own", "left"),
    [
        ({}, ["failed", "rejected", "timeout", "goodput"]),
        ({"latency": ["p(95) < 1s"]}, ["failed", "rejected", "timeout", "goodput"]),
        ({"rejected": ["rate < 50%"]}, ["failed", "timeout", "goodput"]),
        ({"failed": ["count < 5"], "goodput": ["value > 2"]}, ["rejected", "timeout"]),
        ({"timeout": []}, ["failed", "rejected", "goodput"]),
        # of some requests only: it says nothing of the others
        ({"failed{class:paying}": ["rate < 5%"]}, ["failed", "rejected", "timeout", "goodput"]),
    ],
)
def test_a_threshold_of_ones_own_replaces_the_default_of_its_metric(
    own: dict[str, list[str]], left: list[str]
) -> None:
    assert list(default_gate(own)) == left


def test_the_defaults_are_in_the_grammar() -> None:
    told = {one.metric: spell(one) for one in parse_all(DEFAULTS)}
    assert told == {
        "failed": "rate < 0.01",
        "rejected": "rate < 0.01",
        "timeout": "rate < 0.01",
        "goodput": "count > 0.0",
    }
