"""The summary: rates, energy, and outcomes that add up."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.record.columns import gpu_columns
from profiles.record.folder import RunFolder
from profiles.schema import (
    EndReason,
    Outcome,
    RequestRecord,
    TargetInfo,
    Verdict,
)
from profiles.summary.run import summarize
from tests.profiles.synthetic import (
    OK,
    START_S,
    TEN,
    gpu_info,
    gpu_sample,
    manifest,
    plan,
    record,
    replaced,
    summed,
)
from tests.profiles.viral import viral_run


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


def test_energy_is_unknown_where_the_samples_stop_short() -> None:
    about = manifest(TEN, gpus=[gpu_info(0)])
    samples = [gpu_sample(i / 2) for i in range(57)]  # to 28 s; the load ends at 30 s
    summary = summed(about, gpus=gpu_columns(samples))
    assert summary.gpus[0].energy_j is None
    assert summary.gpus[0].power_mean_w == pytest.approx(100.0)


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


def test_summarize_reads_what_the_folder_holds(tmp_path: Path) -> None:
    folder = viral_run(tmp_path, duration_s=40.0)
    summary = summarize(folder)
    assert summary.valid
    assert summary.scheduled == len(folder.requests().read()) == sum(summary.outcomes.values())
    assert summary.capacity is not None
    assert summary.capacity.block_images_per_s is not None
    folder.write_summary(summary)
    assert RunFolder(folder.path).summary() == summary


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
