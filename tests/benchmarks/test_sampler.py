"""The sampler's benchmark: its arithmetic, and (slow) a short round of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.sampler import energy_errors, missed
from profiles.record.columns import gpu_columns
from tests.profiles.fake_nvml import Power
from tests.profiles.synthetic import gpu_sample


def test_missed_counts_cycles_without_a_sample_by_when_they_were_due() -> None:
    late = [gpu_sample(k / 10 + 0.03, lag_s=0.03) for k in range(20) if k not in (5, 6, 11)]
    whole = [gpu_sample(k / 10 + 0.09, 1, lag_s=0.09) for k in range(20)]
    assert missed(gpu_columns(late + whole), 10.0) == 3
    assert missed(gpu_columns(whole), 10.0) == 0


def test_energy_errors_are_percent_of_the_scripts_truth() -> None:
    # 100 W told, by counter and by power, of a truth of 80 W: 25% off
    samples = gpu_columns([gpu_sample(k / 10) for k in range(300)])
    told = energy_errors(samples, [Power("constant", 80.0)])
    assert told == {"constant": {"counter": pytest.approx(25.0), "integrated": pytest.approx(25.0)}}


@pytest.mark.slow
@pytest.mark.e2e
def test_a_short_round_finds_every_fault_and_the_energy() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.sampler", "--seconds", "15", "--no-burn"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(done.stdout.splitlines()[-1])
    assert all(told["faults"].values()), told["faults"]
    assert told["samples"] > 8 * 100
    for errors in told["energy_error_percent"].values():
        assert errors["counter"] < 1.0
        assert errors["integrated"] < 2.0  # a minute's is below 1
