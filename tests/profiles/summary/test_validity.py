"""The verdict: what makes a run INVALID, what only warns, and how a run is cut short."""

from pathlib import Path
from typing import Any

import pytest

from profiles.record.columns import gpu_columns, host_columns
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
from profiles.summary.run import summarize, verdict_exit_code
from tests.profiles.synthetic import (
    OK,
    START_S,
    STUB,
    TEN,
    gpu_info,
    gpu_sample,
    host_samples,
    manifest,
    plan,
    record,
    replaced,
    summed,
    write_run,
)


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
    # every latency is 1 s; p(70) wants 4 answers, and is known from 9 on
    summary = summed(manifest(TEN, thresholds={"latency": [f"p(70) < {limit}"]}))
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


FP8 = TargetInfo(url="http://127.0.0.1:8000", embedded=True, settings={"fp8": True})


def busy_generator() -> list[LoadSample]:
    return [
        LoadSample(t_s=START_S + i, generator="0", due=i, sent=i, done=i, in_flight=0, cpu_pct=90.0)
        for i in range(10)
    ]


def counting(**counts: int) -> list[LoadSample]:
    """Two generators whose counters rise, one twice as fast: only the last of each counts."""
    return [
        LoadSample(
            t_s=START_S + i,
            generator=str(k),
            due=i,
            sent=i,
            done=i,
            in_flight=0,
            **{name: count * (k + 1) * i for name, count in counts.items()},
        )
        for i in range(3)
        for k in range(2)
    ]


@pytest.mark.parametrize(
    ("about", "changes", "words"),
    [
        ({"target": STUB}, {}, "stub without a model"),
        ({"target": FP8}, {}, "refer to bf16"),
        ({"plan": plan(10, 10.0, time_compression=40.0)}, {}, "compressed 40 times"),
        ({}, {"damaged": 3}, "3 lines"),
        ({}, {"load": busy_generator()}, "Generator 0 kept 90% of a core busy"),
        ({}, {"load": counting(unasked=1)}, "On 6 kept connections bytes came"),  # 2 and 4
        ({}, {"load": counting(untrue=1)}, "6 answers told figures of themselves"),
        (
            {},
            {"gpus": gpu_columns(gpu_sample(i / 2, lag_s=0.4) for i in range(61))},
            "sampler was late",
        ),
        (
            # the counter says 100 W, the power readings 130 W: 30% apart
            {},
            {"gpus": gpu_columns(gpu_sample(i / 2, power_w=130.0) for i in range(61))},
            "disagree by 30%",
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


BOUNDS = {"loop_stall_bound_s": 1.0, "loop_cpu_bound_pct": 95.0, "loop_cpu_bound_for_s": 5.0}


def watched(*seconds: float) -> list[LoadSample]:
    return [
        LoadSample(t_s=START_S + at, generator="0", due=0, sent=0, done=0, in_flight=0)
        for at in seconds
    ]


@pytest.mark.parametrize(
    ("load", "generators", "words"),
    [
        ([], ["0"], "Generator 0 recorded nothing of itself (load-0.jsonl) for 10.0 s"),
        (watched(1, 2, 3), ["0"], "for 7.0 s of the load (bound 5 s)"),
        (watched(*range(1, 11)), ["0", "1"], "Generator 1 recorded nothing"),
        (watched(*range(1, 11)), ["0"], None),
    ],
)
def test_a_run_without_its_witness_is_invalid(
    load: list[LoadSample], generators: list[str], words: str | None
) -> None:
    summary = summed(manifest(TEN, **BOUNDS), load=load, generators=generators)
    assert summary.valid is (words is None), summary.reasons
    assert words is None or words in summary.reasons[0]


def test_images_that_were_not_asked_for_make_it_invalid() -> None:
    summary = summed(manifest(TEN), replaced(record(3, images=10**15)))
    assert summary.verdict is Verdict.INVALID
    assert "asked for 1,000,000,000,000,009 images, the schedule for 10" in summary.reasons[0]


@pytest.mark.parametrize(
    ("expression", "records", "verdict", "words"),
    [
        ("p(95) < 2s", OK, Verdict.INVALID, "latency p(95) has 10 answers of 20"),
        ("p(95) < 1ms", OK, Verdict.FAIL, None),  # what was missed was missed
        ("max < 2s", OK, Verdict.PASS, None),
        ("p(80) < 2s", OK, Verdict.PASS, "latency p(80) has 10 answers of 14"),  # a warning
        ("p(60) < 30s", OK, Verdict.PASS, "A short load: it lasted 10 s"),
        ("p(60) < 90s", [record(k, done_s=START_S + k + 11.0) for k in range(10)],
         Verdict.INVALID, "Too short to pass: the load lasted 10 s, and half of the answers"),
    ],
)  # fmt: skip
def test_a_pass_needs_answers_and_time(
    expression: str, records: list[RequestRecord], verdict: Verdict, words: str | None
) -> None:
    summary = summed(manifest(TEN, thresholds={"latency": [expression]}), records)
    assert summary.verdict is verdict, summary.reasons
    told = " ".join([*summary.reasons, *summary.warnings])
    assert (words or "") in told
    assert ("Few answers" in told) is (verdict is Verdict.PASS and "p(80)" in expression)


def test_a_threshold_that_cannot_be_read_costs_the_verdict_and_nothing_else() -> None:
    summary = summed(manifest(TEN, thresholds={"latency": ["max < 2s", "quick"]}))
    assert summary.verdict is Verdict.INVALID
    assert "thresholds.latency" in summary.reasons[0]
    assert [one.passed for one in summary.thresholds] == [True]
    assert summary.latency_p50_s == 1.0
