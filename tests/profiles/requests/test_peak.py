"""One peak on one clock: what was planned, what its busiest stretch had, what was done in it."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from profiles.record.columns import host_columns
from profiles.report.text.run import happened
from profiles.requests.peak import peak_of
from profiles.requests.rates import LoadWindow
from profiles.schema import LoadPlan, Outcome, RequestRecord, Summary
from profiles.summary.run import summarize
from tests.profiles.synthetic import START_S, host_samples, manifest, plan, record, summed
from tests.profiles.viral import viral_run


def stepped(low: float, high: float, at: tuple[float, float], lasts_s: float) -> LoadPlan:
    """A plan of `low` images/s, from `at[0]` to `at[1]` of `high`."""
    since, until = at
    images = round(low * (lasts_s - until + since) + high * (until - since))
    return plan(
        images,
        lasts_s,
        peak_images_per_s=high,
        curve_t_s=[0.0, since - 0.1, since, until, until + 0.1, lasts_s],
        curve_images_per_s=[low, low, high, high, low, low],
    )


def every(rate: float, since: float, until: float) -> list[float]:
    """Instants at an even rate, half a distance from both ends."""
    return [since + (k + 0.5) / rate for k in range(round(rate * (until - since)))]


def run(load: LoadPlan, due_s: Sequence[float], takes_s: float) -> Summary:
    """Each of the requests is ok after `takes_s`."""
    records = [
        record(seq, scheduled_s=START_S + at, done_s=START_S + at + takes_s)
        for seq, at in enumerate(sorted(due_s))
    ]
    return summed_of(load, records)


def summed_of(load: LoadPlan, records: list[RequestRecord]) -> Summary:
    hosts = host_columns(host_samples(START_S + load.duration_s))
    return summed(manifest(load), records, hosts=hosts)


@pytest.mark.parametrize(
    ("load", "span", "window_s"),
    [
        # a tenth of 100 s is 10 s, a quarter of a peak of 20 s is 5 s: 200 images
        (stepped(1, 40, (40.0, 60.0), 100.0), (40.0, 60.0), 5.0),
        # at 10/s it is 50 images, whose maximum is chance
        (stepped(1, 10, (40.0, 60.0), 100.0), (40.0, 60.0), None),
        # ... and a load of 20 s with a peak of 25/s is quoted as planned
        (stepped(1, 25, (8.0, 12.0), 20.0), (8.0, 12.0), None),
        # at 1000/s even a second has enough
        (stepped(1, 1000, (8.0, 12.0), 20.0), (8.0, 12.0), 1.0),
        # a peak of 100 s in 400: a tenth of the load is 40, a quarter of the peak 25
        (stepped(1, 10, (100.0, 200.0), 400.0), (100.0, 200.0), 25.0),
        # a steady load is all peak: 10 s are a tenth of it
        (plan(1000, 100.0), (0.0, 100.0), 10.0),
        (plan(40, 10.0), (0.0, 10.0), None),
    ],
)
def test_how_long_the_busiest_stretch_is(
    load: LoadPlan, span: tuple[float, float], window_s: float | None
) -> None:
    peak = peak_of(load, LoadWindow(START_S, START_S + load.duration_s, load.duration_s))
    assert peak is not None
    assert (peak.start_s, peak.end_s, peak.window_s) == (*span, window_s)


def test_a_load_that_ended_before_its_peak_had_none() -> None:
    load = stepped(1, 40, (40.0, 60.0), 100.0)
    assert peak_of(load, LoadWindow(START_S, START_S + 30.0, 100.0)) is None
    assert peak_of(load, LoadWindow(START_S, START_S + 50.0, 100.0)) is not None  # in its midst
    assert peak_of(load, None) is None


def test_what_is_done_in_the_peak_is_not_what_is_done_after_it() -> None:
    # 40 images/s come due from 40 to 60 s, and 1/s before and after; of the peak's 800 the server
    # does 10/s while it lasts (200) and the other 600 in the decay, at 30/s: its busiest stretch
    # lies there, and says nothing of the peak.
    load = stepped(1, 40, (40.0, 60.0), 100.0)
    done = every(10, 40.0, 60.0) + every(30, 60.0, 80.0)
    records = [
        record(seq, scheduled_s=START_S + due, done_s=START_S + at)
        for seq, (due, at) in enumerate(zip(every(40, 40.0, 60.0), done, strict=True))
    ]
    records += [
        record(800 + seq, scheduled_s=START_S + at, done_s=START_S + at)
        for seq, at in enumerate([*every(1, 0.0, 40.0), *every(1, 60.0, 100.0)])
    ]
    summary = summed_of(load, records)
    assert summary.peak_planned_images_per_s == 40.0
    assert summary.peak_offered_images_per_s == pytest.approx(40.0)  # even arrivals: as planned
    assert summary.peak_due_images_per_s == pytest.approx(40.0)
    assert summary.peak_completed_images_per_s == pytest.approx(10.0)
    assert summary.peak_goodput_images_per_s is not None
    assert summary.peak_goodput_images_per_s < 10.0  # the later ones of them took above 10 s
    told = happened(summary, manifest(load))
    assert told.startswith(
        "peak demand was 40 images/s (busiest 5 s; planned peak 40); during the peak (20 s) the "
        "node delivered 10 of 40 images/s due; "
    )


def test_a_burst_within_the_peak_is_told_with_its_length() -> None:
    # of 800 images of the peak 500 come within 5 s
    load = stepped(1, 40, (40.0, 60.0), 100.0)
    summary = run(load, every(20, 40.0, 55.0) + every(100, 55.0, 60.0), 0.0)
    assert summary.peak_window_s == 5.0
    assert summary.peak_offered_images_per_s == pytest.approx(100.0)
    assert summary.peak_due_images_per_s == summary.peak_completed_images_per_s == 40.0


def test_a_burst_elsewhere_is_not_the_peak() -> None:
    load = stepped(1, 40, (40.0, 60.0), 100.0)
    summary = run(load, every(40, 40.0, 60.0) + every(200, 80.0, 85.0), 0.0)
    assert summary.peak_offered_images_per_s == pytest.approx(40.0)


def test_too_few_images_leave_the_plan() -> None:
    # of a planned 2/s five come in one second: by chance
    load = plan(20, 10.0)
    summary = run(load, [*every(5, 0.0, 1.0), *every(1.5, 0.0, 10.0)], 0.5)
    assert summary.peak_window_s is None
    assert summary.peak_offered_images_per_s is None
    assert summary.peak_completed_images_per_s == pytest.approx(1.9)  # the last comes after it
    told = happened(summary, manifest(load))
    assert told.startswith("planned peak demand was 2 images/s; during the peak (10 s) the node")


def test_the_table_of_phases_has_the_same_peak(tmp_path: Path) -> None:
    summary = summarize(viral_run(tmp_path, duration_s=30.0, gpus=1))
    [peak] = [one for one in summary.phases if one.name == "peak"]
    assert (peak.start_s, peak.end_s) == (summary.peak_start_s, summary.peak_end_s)
    assert peak.images_per_s == summary.peak_completed_images_per_s
    assert peak.tflops == summary.peak_achieved_tflops


def test_refused_images_are_not_delivered() -> None:
    records = [record(seq) for seq in range(5)] + [record(5, outcome=Outcome.REJECTED)]
    summary = summed(manifest(plan(6, 6.0)), records)
    assert summary.peak_due_images_per_s == pytest.approx(1.0)
    assert summary.peak_completed_images_per_s == pytest.approx(5 / 6)
