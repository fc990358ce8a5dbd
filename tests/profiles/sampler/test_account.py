"""The sampler's account of itself."""

import pytest

from profiles.devices.call_costs import Costs
from profiles.sampler.account import Account
from profiles.sampler.cadence import Tick
from profiles.schema import CallCost


def test_calls_are_counted_and_told_once() -> None:
    costs = Costs()
    for took_s in (0.25, 1.0, 0.25):
        costs.add("fields", took_s)
    assert costs.tell() == {"fields": CallCost(count=3, mean_s=0.5, max_s=1.0)}
    assert costs.tell() == {}


def test_counts_add_up_and_maxima_begin_anew() -> None:
    account = Account("n1", 10.0)
    account.cycle(Tick(1, 0.1, 0.02, 0), 0.003)
    account.cycle(Tick(2, 0.2, 0.25, 2), 0.001)
    first = account.tell(1.0, 0.5, {})
    assert (first.cycles, first.missed, first.lag_max_s, first.work_max_s) == (2, 2, 0.25, 0.003)
    assert first.cpu_pct is None  # since when is not known
    second = account.tell(3.0, 0.55, {})
    assert (second.cycles, second.missed, second.lag_max_s) == (2, 2, None)
    assert second.cpu_pct == pytest.approx(2.5)  # 0.05 s of 2 s
