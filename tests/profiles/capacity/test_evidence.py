"""Runs as evidence: goodput at an SLO counted afresh, repeats, windows, what cannot be mixed."""

import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from profiles.capacity.evidence import estimate
from profiles.capacity.goodput import GoodputAtSlo, measure_goodput
from profiles.record.columns import Recorded
from profiles.requests.slo import MixedError, SloError, TooLittleError, own_slo, parse_slo
from profiles.schema import TargetInfo
from tests.profiles.steady import SD15, full, steady
from tests.profiles.synthetic import gpu_info

AT_12 = {"peak_images_per_s": 12.0}
WITHIN_3S = parse_slo("p(95) < 3s")


def seen(root: Path, run_id: str = "a", slo: str = "p(95) < 3s", **options: Any) -> GoodputAtSlo:
    run = full(root, run_id, **options)
    return measure_goodput(run, parse_slo(slo), len(run.manifest.gpus) or 1)


def test_the_rate_is_per_gpu_and_in_windows(tmp_path: Path) -> None:
    run = seen(tmp_path, images_per_s=10.0, duration_s=30.0)
    assert run.rate_per_gpu == pytest.approx(10.0 / 2, rel=0.01)  # 2 GPUs, asked for 16/s
    assert 27 <= run.windows.size <= 30  # of a second each; a queue stands from the second on
    assert run.windows.mean() == pytest.approx(run.rate_per_gpu)
    # an answer takes 0.1 s, so 2.9 s to spare at 5 images/s
    assert run.slack == pytest.approx(2.9 * run.rate_per_gpu, rel=1e-3)


def test_what_a_full_node_does_is_no_matter_of_the_slo_and_its_slack_is(tmp_path: Path) -> None:
    run = full(tmp_path)
    tight, loose = (
        measure_goodput(run, parse_slo(f"p(95) < {limit}"), 2) for limit in ("1s", "3s")
    )
    assert tight.rate_per_gpu == loose.rate_per_gpu
    assert loose.slack is not None
    assert tight.slack == pytest.approx(loose.slack * 0.9 / 2.9, rel=1e-3)


def test_an_slo_that_the_fastest_answer_missed(tmp_path: Path) -> None:
    run = steady(tmp_path, latency_s=1.0)  # 0.9 to 1.1 s
    with pytest.raises(SloError, match=r"steady never met p\(95\) < 0.5s: its fastest answer took"):
        measure_goodput(run, parse_slo("p(95) < 0.5s"), 2)


def test_where_no_queue_stood_there_is_no_figure(tmp_path: Path) -> None:
    run = steady(tmp_path, "a", images_per_s=10.0)
    with pytest.raises(
        TooLittleError,
        match=r"no queue stood in any window of a: it shows what was asked for, not what the "
        r"node can do. Use `viralload find`, or run it with a higher --peak",
    ):
        measure_goodput(run, WITHIN_3S, 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("p(95) > 3s", "below a limit"),
        ("avg < 3s", "no share of latencies"),
        ("p95 < 3s", r'did you mean "p\(95\)"'),
        ("fast", "write for example"),
        ("p(95) < 0s", "above 0"),
        ("p(95) < -3s", "above 0"),
        ("rate < 1%", "no aggregator"),
    ],
)
def test_slos_that_are_none(text: str, words: str) -> None:
    with pytest.raises(SloError, match=words):
        parse_slo(text)


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("p(95) < 10s", "p(95) < 10s"),
        ("p(95)<10000ms", "p(95) < 10s"),
        (" p( 95.0 ) < 10 ", "p(95) < 10s"),
        ("p(99.9) <= 1min", "p(99.9) <= 60s"),
        ("p(50) < 2.5s", "med < 2.5s"),
        ("p(100) < 2s", "max < 2s"),
    ],
)
def test_an_slo_is_spelled_in_one_way(text: str, spelled: str) -> None:
    assert parse_slo(text).text == spelled
    assert parse_slo(spelled) == parse_slo(text)


def test_a_runs_own_slo_takes_the_share_of_its_threshold(tmp_path: Path) -> None:
    run = steady(tmp_path, thresholds={"latency": ["max < 30s", "p(99) < 10s"]})
    assert own_slo(run.manifest).share == pytest.approx(0.99)
    plain = msgspec.structs.replace(run.manifest, thresholds={})
    assert own_slo(plain).share == pytest.approx(0.95)


def test_one_run_is_its_windows_and_says_so(tmp_path: Path) -> None:
    found = estimate([seen(tmp_path, duration_s=60.0)])
    assert (found.repeats, found.tested_gpus, found.saturated) == (1, 2, True)
    assert found.rate.name == "saturated rate per GPU"
    assert re.search(r"saturated: (5\d|60) windows of 1 s of a in which a queue", found.rate.source)
    assert "stationary bootstrap" in found.rate.source
    # about 10 answers of 5.8% a window, and as many windows: 0.24%, and counts are whole
    assert 0.001 < found.rate.log_sd < 0.02
    assert found.rate.degrees is not None


def test_repeats_scatter(tmp_path: Path) -> None:
    rates = (10.0, 11.0, 12.0)
    runs = [
        seen(tmp_path, f"r{rate:g}", images_per_s=rate, seed=int(rate), load=AT_12)
        for rate in rates
    ]
    found = estimate(runs)
    logs = np.log([5.0, 5.5, 6.0])
    assert found.rate.value == pytest.approx(float(np.exp(logs.mean())), rel=0.01)
    assert found.rate.log_sd == pytest.approx(logs.std(ddof=1) * np.sqrt(4 / 3), rel=0.1)
    assert found.rate.degrees == 2.0
    assert "3 runs of steady while saturated" in found.rate.source


def test_five_windows_and_ten_seconds_at_least(tmp_path: Path) -> None:
    with pytest.raises(TooLittleError, match=r"in only \d of 8 windows of 1 s of a"):
        seen(tmp_path, duration_s=8.0)
    (loud,) = estimate([seen(tmp_path, "b", duration_s=12.0)]).loud
    assert "that is short, and the interval is a guess" in loud


def test_none_is_named() -> None:
    with pytest.raises(TooLittleError, match="no run"):
        estimate([])


def _changed(**changes: Any) -> TargetInfo:
    return msgspec.structs.replace(SD15, **changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scenario": "rush"}, "scenarios are steady and rush"),
        ({"target": _changed(model="sdxl")}, "models are sd15 and sdxl"),
        ({"gpus": [gpu_info(0)]}, "number 2 and 1"),
        (
            {"gpus": [msgspec.structs.replace(gpu_info(i), name="NVIDIA L4") for i in (0, 1)]},
            "devices are NVIDIA H200 and NVIDIA L4",
        ),
        (
            {"target": _changed(settings={"weights": "random", "fp8": True})},
            "setting fp8 is None and True",
        ),
        ({"load": {"arrivals": "agent-like"}}, "arrivals are even and agent-like"),
        ({"load": {"time_compression": 40.0}}, "time is compressed by 1.0 and 40.0"),
        ({"load": {"peak_images_per_s": 20.0}}, "peaks are 8 images/s a server and 10 images/s"),
        (
            {"asked": {"width": 1024, "height": 1024, "steps": 50}},
            "requests are for 1 image of 512 × 512 a request and 1 image of 1024 × 1024 in 50",
        ),
        ({"asked": {"images": 4}}, "1 image of 512 × 512 a request and 4 images of"),
    ],
)
def test_what_differs_is_no_repeat(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    one = seen(tmp_path, "one")
    two = seen(tmp_path, "two", **changes)
    with pytest.raises(MixedError, match=words):
        estimate([one, two])


def test_slack_is_told_in_services_of_a_request_whatever_it_holds(tmp_path: Path) -> None:
    # 10 requests/s of 4 images on 2 GPUs: 5 a GPU, so 2.9 s are 14.5 services
    run = seen(tmp_path, asked={"images": 4}, load={"images": 1920})
    assert run.slack == pytest.approx(2.9 * 5.0, rel=0.01)
    assert run.rate_per_gpu == pytest.approx(20.0, rel=0.01)
    assert run.images_a_request == pytest.approx(4.0)
    # where it is not told, a quick answer is taken for the service
    untold = seen(tmp_path, "untold", tells=False)
    assert untold.slack is not None
    assert 2.0 * 5.0 < untold.slack < 2.9 * 5.0


def test_a_run_tells_its_own_arrivals_and_whether_their_time_was_compressed(
    tmp_path: Path,
) -> None:
    run = seen(tmp_path, duration_s=90.0, load={"time_compression": 40.0})
    assert run.arrivals is not None
    assert (run.arrivals.times_s.size, run.arrivals.compression) == (1440, 40.0)


def test_ports_and_folders_make_no_difference(tmp_path: Path) -> None:
    one = seen(tmp_path, "one")
    two = seen(tmp_path, "two", target=_changed(settings={"weights": "random", "port": 9999}))
    assert estimate([one, two]).repeats == 2


def test_a_run_is_no_repeat_of_itself(tmp_path: Path) -> None:
    one = seen(tmp_path, "one")
    with pytest.raises(MixedError, match="named twice"):
        estimate([one, one])


def test_no_load_is_no_evidence(tmp_path: Path) -> None:
    run = steady(tmp_path)
    idle = Recorded(
        manifest=msgspec.structs.replace(run.manifest, load_start_s=None),
        requests=run.requests, gpus=run.gpus, hosts=run.hosts, load=[], events=[],
    )  # fmt: skip
    with pytest.raises(TooLittleError, match="no load was on"):
        measure_goodput(idle, WITHIN_3S, 2)
