import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.generators import GENERATORS, SIDE, Load
from benchmarks.loadgen import case_name, main
from benchmarks.null_server import Server, Service, http_answer, request_end
from benchmarks.tree import Look, cpu_between, rss_at
from benchmarks.trial import VIRAL
from loadtest.client.response import check
from loadtest.scenario.scenario import parse_scenario
from tests.serve.conftest import ROOT

GET = b"GET /v1/models HTTP/1.1\r\n\r\n"
POST = b"POST /v1/images/generations HTTP/1.1\r\nContent-Length: 3\r\n\r\n{ }"


@pytest.mark.parametrize(
    ("data", "end"),
    [(GET, len(GET)), (POST, len(POST)), (POST + GET, len(POST)), (POST[:-1], None), (b"", None)],
)
def test_where_a_request_ends(data: bytes, end: int | None) -> None:
    assert request_end(data) == end


@pytest.mark.parametrize(
    ("service", "now_s", "answer_s"),
    [
        (Service(), 100.0, 100.0),
        (Service(service_s=2), 100.0, 102.0),
        (Service(service_s=2, stall_at_s=3), 100.5, 102.5),
        (Service(service_s=2, stall_at_s=3), 101.0, 104.0),  # ready as the stall begins
        (Service(service_s=2, stall_at_s=3), 101.9, 104.0),
        (Service(service_s=2, stall_at_s=3), 102.0, 104.0),
        (Service(service_s=2, stall_at_s=3), 102.1, 104.1),
    ],
)  # fmt: skip
def test_a_stall_keeps_back_what_is_ready_in_it(
    service: Service, now_s: float, answer_s: float
) -> None:
    assert service.answer_s(now_s, first_s=100.0) == pytest.approx(answer_s)


def test_the_null_servers_answer_is_an_image_of_100_kb() -> None:
    answer = Server(Service()).answer
    body = answer.partition(b"\r\n\r\n")[2]
    assert http_answer(body) == answer
    assert 85_000 < len(body) <= 101_000
    assert check(body, 1, SIDE, SIDE, decode=True).fault is None


def test_our_scenario_is_the_rate_or_the_curve_that_was_asked_for(tmp_path: Path) -> None:
    for load in (
        Load(url="http://127.0.0.1:1", folder=tmp_path, rate_per_s=200.0, seconds=8.0),
        Load(folder=tmp_path, rate_per_s=200.0, seconds=16.0, curve=VIRAL),
    ):
        GENERATORS["viralload"](load)
        curve = parse_scenario((tmp_path / "null.toml").read_text()).curve
        if load.curve is not None:
            assert curve == VIRAL
        else:
            assert (curve.rate_per_s, curve.duration_s) == (200.0, 8.0)  # type: ignore[union-attr]


def test_k6_is_told_rates_in_thousandths_and_enough_users(tmp_path: Path) -> None:
    load = Load(folder=tmp_path, rate_per_s=50.0, seconds=4.0, answer_s=2.0)
    GENERATORS["k6"](load)
    script = (tmp_path / "script.js").read_text()
    assert '"rate": 50000, "duration": "4s"' in script
    assert '"timeUnit": "1000s", "preAllocatedVUs": 200' in script  # 50 x (2 + 1) + 50


def test_the_curve_is_told_as_points_from_its_begin_to_its_end() -> None:
    load = Load(rate_per_s=200.0, seconds=16.0, curve=VIRAL)
    assert len(load.rates) == 16 * 4 + 1
    assert (load.rates[0], max(load.rates)) == (10.0, 200.0)


@pytest.mark.parametrize(
    ("rate", "service", "name"),
    [
        (200.0, Service(service_s=2.0), "200/s 2s"),
        (50.0, Service(), "50/s 0s"),
        (200.0, Service(service_s=2.0, stall_at_s=4.0), "200/s 2s stall"),
    ],
)
def test_case_names(rate: float, service: Service, name: str) -> None:
    assert case_name(rate, service) == name


def test_cpu_and_memory_at_an_instant() -> None:
    looks = [Look(t_s=t, cpu_s=0.5 * t, rss_bytes=int(t)) for t in (0.0, 1.0, 2.0)]
    assert cpu_between(looks, 0.5, 1.7) == pytest.approx(0.6)
    assert cpu_between(looks[:1], 0.5, 1.7) is None
    assert (rss_at(looks, 1.2), rss_at([], 1.2)) == (1, None)


@pytest.mark.slow
@pytest.mark.e2e
def test_the_benchmark_prints_one_object_and_skips_by_name(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.loadgen", "--generators", "viralload", "vegeta"]
    command += ["--cases", "rates", "--rates", "20", "--services", "0", "--seconds", "1"]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PATH": "/usr/bin:/bin"}, capture_output=True,
        text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "vegeta: skipped, it is not on the PATH" in done.stderr
    result = json.loads(done.stdout.splitlines()[-1])["result"]
    assert set(result) == {"viralload"}
    assert set(result["viralload"]) == {"20/s 0s", "20/s 0s stall"}
    for case in result["viralload"].values():
        assert case["sent_share"] == 1.0
        assert 0 <= case["lateness_p50_s"] <= case["lateness_p99_s"]
        assert case["cpu_s_per_request"] > 0


@pytest.mark.parametrize(
    "words", [["--rates", "0"], ["--seconds", "-1"], ["--generators", "wrk"], ["--cases", "some"]]
)
def test_wrong_words_exit_2(words: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2
