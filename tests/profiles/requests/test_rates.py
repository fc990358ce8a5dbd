"""The window of the load: where a run was cut short, nothing after it is held against anybody."""

import pytest

from loadtest.driver.watch import DEATHS
from profiles.record.columns import host_columns
from profiles.requests.rates import CUTS, load_window
from profiles.schema import EndReason, Outcome, RunEvent
from tests.profiles.synthetic import (
    START_S,
    host_samples,
    manifest,
    plan,
    record,
    recorded,
    summed,
)

CUT_S = START_S + 4.0
ENDS = dict(DEATHS.values()) | {
    EndReason.ERROR: "error",  # a full disk
    EndReason.INTERRUPTED: "interrupted",
}


@pytest.mark.parametrize("reason", ENDS)
def test_whatever_cut_a_run_short_ends_its_load(reason: EndReason) -> None:
    about = manifest(plan(10, 10.0), end_reason=reason, end_detail="it was so")
    event = RunEvent(t_s=CUT_S, kind=ENDS[reason], source="runner")
    assert event.kind in CUTS
    window = load_window(recorded(about, events=[event]))
    assert window is not None
    assert (window.start_s, window.end_s, window.planned_s) == (START_S, CUT_S, 10.0)


@pytest.mark.parametrize("reason", [EndReason.SAMPLER_DIED, EndReason.ERROR])
def test_who_ended_with_the_run_was_not_silent(reason: EndReason) -> None:
    about = manifest(plan(20, 20.0), end_reason=reason)
    event = RunEvent(t_s=CUT_S, kind=ENDS[reason], source="runner")
    sent = [record(seq) for seq in range(4)]
    unsent = [record(seq, outcome=Outcome.UNSENT, sent_s=None) for seq in range(4, 20)]
    hosts = host_columns(host_samples(CUT_S))
    summary = summed(about, [*sent, *unsent], hosts=hosts, events=[event])
    assert not [said for said in summary.reasons if "silent" in said]
    assert summary.completed_images_per_s == pytest.approx(1.0, abs=0.3)  # not 4 in 20 s
