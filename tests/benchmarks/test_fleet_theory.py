"""The simulator against queueing theory, to within 1%."""

import pytest

from benchmarks.fleet_theory import (
    Case,
    cases,
    error_percent,
    md1_wait_s,
    mmc_wait_s,
)
from profiles.stats.queueing import erlang_c, mean_wait_two


def test_formulas() -> None:
    assert erlang_c(1, 0.8) == pytest.approx(0.8)  # M/M/1 waits with probability rho
    # M/M/2 at a = 1: C = (1/2)/(1 - 1/2) / (1 + 1 + (1/2)/(1 - 1/2)) = 1/3
    assert erlang_c(2, 0.5) == pytest.approx(1 / 3)
    assert mmc_wait_s(1, 0.9) == pytest.approx(9.0)  # rho / (1 - rho)
    assert md1_wait_s(0.9) == pytest.approx(4.5)
    assert mean_wait_two(0.9) == pytest.approx(1.61, abs=0.005)


@pytest.mark.parametrize("case", cases(2.0), ids=lambda case: str(case.name))
def test_within_one_percent(case: Case) -> None:
    assert abs(error_percent(case)) < 1.0
