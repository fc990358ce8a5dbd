from pathlib import Path

import msgspec
import numpy as np
import pytest

from loadtest.generator import self_test
from loadtest.plan.job import Job

JOB = Job(
    run_dir="/nowhere", clock_zero_monotonic_s=0.0, base_url="http://127.0.0.1:1", model="m",
    width=64, height=32, prompts=["a"], timeout_s=5.0, drain_s=5.0,
)  # fmt: skip


@pytest.fixture
def job_path(tmp_path: Path) -> Path:
    path = tmp_path / "job.json"
    path.write_bytes(msgspec.json.encode(JOB))
    return path


def test_the_busiest_second_is_that_of_the_schedule_not_of_its_mean() -> None:
    assert self_test.busiest_second(np.array([0.1, 0.9, 1.0, 1.2, 1.9, 7.5])) == 3


@pytest.mark.parametrize(
    ("busiest", "processes", "cores", "said"),
    [
        # 1 ms a request: 0.5 of 1,000/s are 500/s a process
        (500, 1, 4, None),
        (1000, 2, 4, None),
        (501, 1, 4, "1 generator process can send about 500/s here"),
        (2000, 1, 4, "give --processes 4, or lower --peak"),
        (2000, 2, 4, "2 generator processes can send about 1,000/s here"),
        (2001, 1, 4, "lower --peak, or use a machine of more than 4 cores"),
    ],
)
def test_advice_names_the_remedy(
    busiest: int, processes: int, cores: int, said: str | None
) -> None:
    told = self_test.advice(busiest, 1e-3, processes, cores)
    if said is None:
        assert told is None
        return
    assert told is not None
    assert said in told
    assert "an estimate from a self-test" in told


def test_a_self_test_measures_a_request_in_a_process_of_its_own(job_path: Path) -> None:
    cpu_s = self_test.cpu_s_per_request(job_path, 1)
    assert cpu_s is not None
    assert 2e-5 < cpu_s < 0.05  # a request costs some 0.3 ms, on the slowest machine 50


def test_a_schedule_beyond_any_machine_is_warned_of_and_a_slow_one_is_not(job_path: Path) -> None:
    slow = self_test.warning(job_path, np.arange(0, 10, 0.02), 1.0, processes=1, cores=2)
    assert slow is None
    fast = self_test.warning(job_path, np.arange(0, 10, 1e-5), 1.0, processes=1, cores=2)
    assert fast is not None
    assert "asks for 100,0" in fast  # 1e-5 apart, give or take rounding
    assert "lower --peak" in fast


def test_a_worker_is_warned_of_its_own_share(job_path: Path) -> None:
    fast = np.arange(0, 4, 1e-5)  # 100,000/s
    told = self_test.warning_of_share(job_path, fast, 1.0, share=1, shares=4)
    assert told is not None
    assert "asks for 25,0" in told
    assert "workers such as this" in told
    assert "--processes" not in told
    assert (
        self_test.warning_of_share(job_path, np.arange(0, 9, 0.005), 1.0, share=0, shares=4) is None
    )
    assert self_test.warning_of_share(job_path, np.zeros(1), 1.0, share=1, shares=4) is None


def test_as_many_workers_as_the_share_is_too_fast(
    job_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(self_test, "cpu_s_per_request", lambda _job, _images: 1e-3)  # 500/s each
    told = self_test.warning_of_share(job_path, np.arange(1, 3, 1 / 1600), 1.0, share=0, shares=2)
    assert told is not None
    assert "share the run among 4 workers" in told  # 1,600/s


def test_a_self_test_that_fails_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text("{}")
    assert self_test.cpu_s_per_request(tmp_path / "job.json", 1) is None
