"""The summary: rates, sums, verdicts and what makes a run INVALID."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.columns import Recorded, gpu_columns, host_columns, request_columns
from profiles.run import RunFolder
from profiles.schema import (
    EndReason,
    LoadSample,
    Outcome,
    RequestRecord,
    RunEvent,
    RunManifest,
    Summary,
    TargetInfo,
    Verdict,
)
from profiles.summary import compute, summarize, verdict_exit_code
from tests.profiles.synthetic import (
    START_S,
    gpu_info,
    gpu_sample,
    host_samples,
    manifest,
    plan,
    record,
    viral_run,
    write_run,
)

TEN = plan(10, 10.0)
OK = [record(seq) for seq in range(10)]
STUB = TargetInfo(url="http://127.0.0.1:8000", embedded=True, model="stub", is_stub=True)


def recorded(about: RunManifest, records: Sequence[RequestRecord] = OK, **changes: Any) -> Recorded:
    values: dict[str, Any] = {
        "gpus": [],
        "hosts": host_columns(host_samples(START_S + 10.0)),
        "load": [],
        "events": [],
    }
    return Recorded(manifest=about, requests=request_columns(records), **(values | changes))


def summed(about: RunManifest, records: Sequence[RequestRecord] = OK, **changes: Any) -> Summary:
    return compute(recorded(about, records, **changes))


def replaced(*changes: RequestRecord) -> list[RequestRecord]:
    """The ten, with these in place of theirs."""
    return list(({one.seq: one for one in OK} | {one.seq: one for one in changes}).values())


# -- figures ---------------------------------------------------------------------------------


def test_a_plain_run() -> None:
    summary = summed(manifest(TEN))
    assert summary.verdict is Verdict.PASS
    assert (summary.valid, summary.reasons, summary.warnings) == (True, [], [])
    assert (summary.scheduled, summary.outcomes["ok"], summary.ok_images) == (10, 10, 10)
    assert summary.offered_images_per_s == 1.0  # 10 images / 10 s
    assert summary.sent_images_per_s == 1.0
    assert summary.completed_images_per_s == 1.0  # the last is done exactly at the end
    assert summary.latency_p50_s == pytest.approx(1.0)
    assert summary.lateness_p99_s == 0.0
    assert summary.queue_p50_s is None  # not told
    assert summary.energy_j_per_image is None  # no GPU
    assert summary.slo_share == 1.0


def test_what_is_done_after_the_load_counts_in_no_rate() -> None:
    late = record(9, done_s=START_S + 10.5)  # ok, but half a second after the window
    summary = summed(manifest(TEN), replaced(late))
    assert summary.ok_images == 10
    assert summary.completed_images_per_s == pytest.approx(0.9)
    assert summary.goodput_images_per_s == pytest.approx(0.9)


def test_goodput_counts_what_is_ok_and_within_the_slo() -> None:
    # Of 10 images a second apart: one takes 3 s, one is refused, the SLO is 2 s.
    slow = record(3, done_s=START_S + 6.0)
    refused = record(4, outcome=Outcome.REJECTED, status=429)
    summary = summed(manifest(TEN, slo_latency_s=2.0), replaced(slow, refused))
    assert summary.completed_images_per_s == pytest.approx(0.9)
    assert summary.goodput_images_per_s == pytest.approx(0.8)
    assert summary.slo_share == pytest.approx(0.8)


def test_latency_counts_from_the_scheduled_time() -> None:
    # Due at 0, sent 0.03 s late, answered 1 s after that: latency 1.03 s, lateness 0.03 s.
    records = [record(0, sent_s=START_S + 0.03)]
    summary = summed(manifest(plan(1, 10.0)), records)
    assert summary.latency_max_s == pytest.approx(1.03)
    assert summary.lateness_p50_s == pytest.approx(0.03)


def test_requests_of_several_images_count_as_images_in_rates_and_as_one_in_outcomes() -> None:
    records = [record(0, images=4, bytes_in=4000), record(1, images=1, bytes_in=2000)]
    summary = summed(manifest(plan(2, 10.0, images=5)), records)
    assert summary.scheduled_images == summary.ok_images == 5
    assert summary.offered_images_per_s == 0.5
    assert summary.outcomes["ok"] == 2
    assert summary.image_bytes_mean == pytest.approx(1200.0)  # 6000 bytes / 5 images


def test_the_peak_is_the_busiest_window_of_arrivals() -> None:
    # 10 s of load: the window is 5 s. Due at 0, 1 and, from 4 s on, two a second; those of 6 s
    # and later are refused. [4, 9) holds 5 pairs: 10 images; of these, 4 were answered.
    due = [0, 1, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8]
    records = [
        record(
            seq,
            scheduled_s=START_S + at,
            outcome=Outcome.OK if at < 6 else Outcome.REJECTED,
        )
        for seq, at in enumerate(due)
    ]
    summary = summed(manifest(plan(12, 10.0)), records)
    assert summary.peak_window_s == 5.0
    assert summary.peak_offered_images_per_s == pytest.approx(2.0)
    assert summary.peak_completed_images_per_s == pytest.approx(0.8)


def test_energy_is_all_gpus_over_the_images_done_in_the_load() -> None:
    # Two GPUs at 100 W for 10 s: 2 kJ by counter and by power; 10 images: 200 J each.
    about = manifest(
        TEN,
        gpus=[gpu_info(0), gpu_info(1)],
        target=TargetInfo(url="http://127.0.0.1:1", embedded=True, model="sd15", device="cuda"),
    )
    gpus = [gpu_sample(i / 2, index) for i in range(61) for index in (0, 1)]
    summary = summed(about, gpus=gpu_columns(gpus))
    assert summary.energy_j_per_image == pytest.approx(200.0)
    assert summary.energy_basis == "counter"
    assert [gpu.energy_j for gpu in summary.gpus] == [pytest.approx(1000.0)] * 2
    assert summary.gpus[0].power_mean_w == pytest.approx(100.0)
    assert summary.gpus[0].name == "NVIDIA H200"

    no_counter = [gpu_sample(i / 2, 0, energy_j=None) for i in range(61)]
    about = manifest(TEN, gpus=[gpu_info(0)], target=about.target)
    summary = summed(about, gpus=gpu_columns(no_counter))
    assert summary.energy_j_per_image == pytest.approx(100.0)
    assert summary.energy_basis == "integrated power"


@pytest.mark.parametrize(
    "target",
    [
        TargetInfo(url="http://10.0.0.9:8000", embedded=False),  # its GPUs are elsewhere
        TargetInfo(url="http://127.0.0.1:1", embedded=True, device="cpu"),  # they stood idle
    ],
)
def test_energy_of_gpus_that_made_no_image_is_nobodys(target: TargetInfo) -> None:
    gpus = gpu_columns(gpu_sample(i / 2) for i in range(61))
    summary = summed(manifest(TEN, gpus=[gpu_info(0)], target=target), gpus=gpus)
    assert summary.energy_j_per_image is None
    assert summary.gpus[0].energy_j == pytest.approx(1000.0)


# -- the sum ---------------------------------------------------------------------------------

records_of_any_kind = st.lists(
    st.builds(
        lambda seq, outcome: record(
            seq,
            scheduled_s=START_S + seq % 10,
            sent_s=None if outcome is Outcome.UNSENT else START_S + seq % 10,
            outcome=outcome,
        ),
        st.integers(-3, 25),
        st.sampled_from(Outcome),
    ),
    max_size=40,
)


@given(records_of_any_kind, st.integers(0, 20), st.sampled_from([None, *EndReason]))
def test_outcomes_always_sum_to_the_schedule(
    records: list[RequestRecord], requests: int, end: EndReason | None
) -> None:
    about = manifest(plan(requests, 10.0), end_reason=end)
    summary = summed(about, records)
    assert sum(summary.outcomes.values()) == summary.scheduled == requests
    assert set(summary.outcomes) == {outcome.value for outcome in Outcome}
    seqs = [one.seq for one in records]
    adds_up = sorted(seqs) == list(range(requests))
    assert adds_up or not summary.valid
    assert bool(summary.reasons) is not summary.valid


@pytest.mark.parametrize(
    ("records", "unsent", "words"),
    [
        (OK[:8], 2, "2 of 10 scheduled requests have no record"),
        ([*OK, OK[3], OK[3]], 0, "2 records repeat a request"),
        ([*OK, record(10), record(-1)], 0, "2 records are of requests the schedule does not have"),
    ],
)
def test_a_record_that_does_not_add_up_is_invalid(
    records: list[RequestRecord], unsent: int, words: str
) -> None:
    summary = summed(manifest(TEN), records)
    assert summary.verdict is Verdict.INVALID
    assert summary.outcomes["unsent"] == unsent
    assert words in summary.reasons[0]


# -- verdicts --------------------------------------------------------------------------------


def unhealthy() -> list[RunEvent]:
    return [RunEvent(t_s=START_S + 3, kind="server_unhealthy", source="runner", detail="503")]


@pytest.mark.parametrize(
    ("about", "changes", "words"),
    [
        ({"end_reason": None}, {}, "driver was killed"),
        ({"end_reason": EndReason.GENERATOR_DIED}, {}, "load generator died; see its log"),
        (
            {"end_reason": EndReason.SERVER_DIED, "end_detail": "exit code -9."},
            {},
            "server died under the load (exit code -9); see its log",
        ),
        ({"end_reason": EndReason.SAMPLER_DIED}, {}, "sampler died"),
        ({"end_reason": EndReason.ERROR, "end_detail": "no space"}, {}, "an error (no space)"),
        ({}, {"events": unhealthy()}, "unhealthy from 3.0 s into the load (503)"),
        ({}, {"hosts": []}, "no samples of the hardware"),
        ({"gpus": [gpu_info(0)]}, {}, "no samples of GPU 0 of node-a"),
        (
            {},
            {"hosts": host_columns(host_samples(START_S + 4.0))},
            "silent for 6.0 s of the load about the machine node-a",
        ),
        (
            {},
            {"hosts": host_columns(host_samples(START_S + 10.0, start_s=START_S + 5.5))},
            "silent for 5.5 s",
        ),
    ],
)
def test_invalid(about: dict[str, Any], changes: dict[str, Any], words: str) -> None:
    summary = summed(manifest(TEN, **about), **changes)
    assert summary.verdict is Verdict.INVALID
    assert any(words in reason for reason in summary.reasons), summary.reasons
    assert all(reason.endswith(".") for reason in summary.reasons)
    assert verdict_exit_code(summary) == 3


def test_an_existing_server_that_stumbles_is_measured_not_distrusted() -> None:
    target = TargetInfo(url="http://10.0.0.9:8000", embedded=False)
    assert summed(manifest(TEN, target=target), events=unhealthy()).valid


@pytest.mark.parametrize(
    ("late_s", "valid"),
    [(0.049, True), (0.051, False)],  # the bound is 0.05 s
)
def test_a_late_generator_accuses_itself(late_s: float, valid: bool) -> None:
    records = [record(seq, sent_s=START_S + seq + late_s) for seq in range(10)]
    summary = summed(manifest(TEN), records)
    assert summary.valid is valid
    assert valid or "bound 50 ms" in summary.reasons[0]


@pytest.mark.parametrize(
    ("about", "records", "words"),
    [
        (manifest(None), [], "Nothing was scheduled"),
        (manifest(plan(0, 10.0)), [], "Nothing was scheduled"),
        (
            manifest(plan(1, 10.0)),
            [record(0, sent_s=None, outcome=Outcome.UNSENT)],
            "Nothing was sent",
        ),
    ],
)
def test_a_run_without_load_is_invalid(
    about: RunManifest, records: list[RequestRecord], words: str
) -> None:
    summary = summed(about, records)
    assert summary.verdict is Verdict.INVALID
    assert words in " ".join(summary.reasons)


@pytest.mark.parametrize(
    ("limit", "verdict", "code"), [("2s", Verdict.PASS, 0), ("500ms", Verdict.FAIL, 99)]
)
def test_thresholds_decide_a_valid_run(limit: str, verdict: Verdict, code: int) -> None:
    # every latency is 1 s
    summary = summed(manifest(TEN, thresholds={"latency": [f"p(95) < {limit}"]}))
    assert (summary.verdict, verdict_exit_code(summary)) == (verdict, code)
    assert summary.valid


def test_thresholds_do_not_decide_an_invalid_run() -> None:
    about = manifest(TEN, thresholds={"latency": ["p(95) < 1ms"]}, end_reason=None)
    summary = summed(about)
    assert summary.verdict is Verdict.INVALID
    assert not summary.thresholds[0].passed


def stopped(records: list[RequestRecord]) -> Summary:
    """Stopped by the user 4 s into the load."""
    events = [RunEvent(t_s=START_S + 4.0, kind="interrupted", source="runner")]
    return summed(manifest(TEN, end_reason=EndReason.INTERRUPTED), records, events=events)


def test_interrupted() -> None:
    left = [record(seq, sent_s=None, outcome=Outcome.UNSENT) for seq in range(4, 10)]
    summary = stopped(replaced(*left))
    assert (summary.verdict, verdict_exit_code(summary)) == (Verdict.INTERRUPTED, 130)
    assert not summary.valid
    assert "stopped by the user after 4 s of the planned 10 s" in summary.reasons[0]
    # due in the 4 s played: at 0, 1, 2, 3 and 4 s: 5 images; done by then: those of 0 to 3 s.
    assert summary.duration_s == 4.0
    assert summary.offered_images_per_s == pytest.approx(1.25)
    assert summary.completed_images_per_s == pytest.approx(1.0)


def test_interrupted_with_requests_unaccounted_for_is_invalid() -> None:
    summary = stopped(OK[:4])
    assert summary.verdict is Verdict.INVALID
    assert summary.outcomes["unsent"] == 6


def test_stopped_before_the_load_is_interrupted() -> None:
    summary = summed(manifest(None, end_reason=EndReason.INTERRUPTED), [])
    assert summary.verdict is Verdict.INTERRUPTED
    assert "before its load began" in summary.reasons[0]


def busy_generator() -> list[LoadSample]:
    return [
        LoadSample(t_s=START_S + i, generator="0", due=i, sent=i, done=i, in_flight=0, cpu_pct=90.0)
        for i in range(10)
    ]


@pytest.mark.parametrize(
    ("about", "changes", "words"),
    [
        ({"target": STUB}, {}, "stub without a model"),
        ({"plan": plan(10, 10.0, time_compression=40.0)}, {}, "compressed 40 times"),
        ({}, {"damaged": 3}, "3 lines"),
        ({}, {"load": busy_generator()}, "Generator 0 kept 90 % of a core busy"),
        (
            {},
            {"gpus": gpu_columns(gpu_sample(i / 2, lag_s=0.4) for i in range(61))},
            "sampler was late",
        ),
        (
            # the counter says 100 W, the power readings 130 W: 30 % apart
            {},
            {"gpus": gpu_columns(gpu_sample(i / 2, power_w=130.0) for i in range(61))},
            "disagree by 30 %",
        ),
    ],
)
def test_warnings_leave_the_run_valid(
    about: dict[str, Any], changes: dict[str, Any], words: str
) -> None:
    summary = summed(manifest(TEN, **about), **changes)
    assert summary.valid
    assert [words in warning for warning in summary.warnings] == [True], summary.warnings


def test_the_driver_killed_mid_run_is_judged_up_to_its_last_record(tmp_path: Path) -> None:
    about = manifest(TEN, end_reason=None, end_utc=None)
    folder = write_run(tmp_path, about, OK[:4], host=host_samples(START_S + 5.0))
    summary = summarize(folder)
    assert summary.verdict is Verdict.INVALID
    assert summary.duration_s == 5.0  # the last sample
    assert sum(summary.outcomes.values()) == 10


def test_summarize_reads_what_the_folder_holds(tmp_path: Path) -> None:
    folder = viral_run(tmp_path, duration_s=40.0)
    summary = summarize(folder)
    assert summary.valid
    assert summary.scheduled == len(folder.requests().read()) == sum(summary.outcomes.values())
    assert summary.capacity is not None
    assert summary.capacity.block_images_per_s is not None
    folder.write_summary(summary)
    assert RunFolder(folder.path).summary() == summary
