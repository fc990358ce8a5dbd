"""Runs as evidence: goodput at an SLO counted afresh, repeats, windows, what cannot be mixed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from profiles.columns import Recorded
from profiles.evidence import estimate
from profiles.schema import TargetInfo
from profiles.seen import Seen, look
from profiles.slo import MixedError, SloError, TooLittleError, own_slo, parse_slo
from tests.profiles.steady import SD15, steady
from tests.profiles.synthetic import gpu_info

AT_12 = {"peak_images_per_s": 12.0}
WITHIN_3S = parse_slo("p(95) < 3s")


def seen(root: Path, run_id: str = "a", slo: str = "p(95) < 3s", **options: Any) -> Seen:
    run = steady(root, run_id, **options)
    return look(run, parse_slo(slo), len(run.manifest.gpus) or 1)


def test_goodput_is_per_gpu_and_in_windows(tmp_path: Path) -> None:
    run = seen(tmp_path, images_per_s=10.0, duration_s=30.0)
    assert run.goodput_per_gpu == pytest.approx(10.0 / 2)  # 300 images, 30 s, 2 GPUs
    assert run.windows.shape == (30,)  # of a second each
    assert run.windows.mean() == pytest.approx(run.goodput_per_gpu)
    assert run.lost_share == pytest.approx(0.0)
    assert run.slack == pytest.approx((3.0 - 0.5) * 5.0)  # 2.5 s to spare, 5 images/s


def test_the_slo_is_counted_afresh(tmp_path: Path) -> None:
    run = steady(tmp_path, latency_s=1.0)  # 0.9 to 1.1 s
    half = look(run, parse_slo("med < 1s"), 2)
    assert half.goodput_per_gpu == pytest.approx(2.5, rel=0.15)
    assert look(run, parse_slo("p(95) < 2s"), 2).goodput_per_gpu == pytest.approx(5.0)
    with pytest.raises(SloError, match=r"a never met|steady never met p\(95\) < 0.5s"):
        look(run, parse_slo("p(95) < 0.5s"), 2)


def test_answers_after_the_load_are_too_little_and_no_missed_slo(tmp_path: Path) -> None:
    run = steady(tmp_path, images_per_s=5.0, duration_s=1.0)  # a second each, within 10 s
    with pytest.raises(TooLittleError, match="within its load of 1 s: they all came after it"):
        look(run, parse_slo("p(95) < 10s"), 2)


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
    assert (found.repeats, found.tested_gpus, found.saturated) == (1, 2, False)
    assert "60 windows of 1 s" in found.goodput.source
    assert "stationary bootstrap" in found.goodput.source
    # Poisson images: sd of the mean about 1 / sqrt(600) = 4 %
    assert 0.02 < found.goodput.log_sd < 0.09
    assert found.goodput.degrees is not None


def test_repeats_scatter(tmp_path: Path) -> None:
    rates = (10.0, 11.0, 12.0)
    runs = [
        seen(tmp_path, f"r{rate:g}", images_per_s=rate, seed=int(rate), load=AT_12)
        for rate in rates
    ]
    found = estimate(runs)
    logs = np.log([5.0, 5.5, 6.0])
    assert found.goodput.value == pytest.approx(float(np.exp(logs.mean())), rel=1e-6)
    assert found.goodput.log_sd == pytest.approx(logs.std(ddof=1) * np.sqrt(4 / 3), rel=1e-6)
    assert found.goodput.degrees == 2.0


def test_refusals_beyond_the_slo_are_a_full_node(tmp_path: Path) -> None:
    assert estimate([seen(tmp_path, "full", refused=0.3)]).saturated
    assert not estimate([seen(tmp_path, "spare", refused=0.01)]).saturated


def test_one_window_bears_nothing(tmp_path: Path) -> None:
    with pytest.raises(TooLittleError, match="one window"):
        estimate([seen(tmp_path, duration_s=1.5, images_per_s=30.0, latency_s=0.1)])


def test_a_short_run_is_called_so(tmp_path: Path) -> None:
    found = estimate([seen(tmp_path, duration_s=8.0)])
    assert any("short run" in one for one in found.loud)


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
        ({"load": {"peak_images_per_s": 20.0}}, "peaks are 5 images/s a server and 10 images/s"),
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
    # 10 requests/s of 4 images on 2 GPUs: 5 a GPU, so 2.5 s are 12.5 services
    run = seen(tmp_path, asked={"images": 4}, load={"images": 1200})
    assert run.slack == pytest.approx(2.5 * 5.0)
    assert run.goodput_per_gpu == pytest.approx(20.0)
    assert run.images_a_request == pytest.approx(4.0)
    untold = replace(run, slack=None)  # then the whole SLO is
    assert estimate([untold]).slack == pytest.approx(3.0 * 5.0)


def test_a_run_tells_its_own_arrivals_and_whether_their_time_was_compressed(
    tmp_path: Path,
) -> None:
    due_s = np.repeat(np.random.default_rng(0).uniform(0.0, 85.0, 60), 20)
    run = seen(tmp_path, duration_s=90.0, due_s=np.sort(due_s), load={"time_compression": 40.0})
    assert run.arrivals is not None
    assert (run.arrivals.times_s.size, run.arrivals.compression) == (1200, 40.0)
    assert run.arrivals.bursty
    assert any("Arrivals came in bursts" in one for one in estimate([run]).loud)


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
        look(idle, WITHIN_3S, 2)
