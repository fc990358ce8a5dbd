"""Queueing theory against what is printed of it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.stats.queueing import (
    Routing,
    admissible_load,
    erlang_c,
    late_share_one_queue,
    late_share_two,
    mean_wait_two,
)


@pytest.mark.parametrize(
    ("servers", "load", "waits"),
    [
        (1, 0.7, 0.7),  # M/M/1: rho
        (2, 0.5, 1.0 / 3.0),  # 2 rho^2 / (1 + rho) = 0.5 / 1.5
        (10, 0.8, 0.4092),  # printed tables
    ],
)
def test_erlang_c(servers: int, load: float, waits: float) -> None:
    assert erlang_c(servers, load) == pytest.approx(waits, abs=1e-4)


@pytest.mark.parametrize(("servers", "load"), [(1, 0.0265), (8, 0.637), (64, 0.938), (512, 0.9915)])
def test_the_load_at_which_one_in_a_hundred_waits_a_service(servers: int, load: float) -> None:
    assert admissible_load(0.01, 1.0, servers=servers) == pytest.approx(load, abs=5e-4)


def test_least_of_two_waits_1_61_services_at_nine_tenths() -> None:
    assert mean_wait_two(0.9) == pytest.approx(1.614, abs=1e-3)
    # the mean is the integral of the distribution's tail, here by the middle of 0.02 steps
    tail = sum(0.02 * late_share_two(0.9, 0.02 * i + 0.01) for i in range(1500))
    assert tail == pytest.approx(mean_wait_two(0.9), rel=2e-3)


def test_alone_with_no_choice_is_m_m_1() -> None:
    assert late_share_one_queue(1, 0.9, 3.0) == pytest.approx(0.9 * math.exp(-0.3))


def test_better_routing_admits_more() -> None:
    kinds: list[Routing] = ["random", "round-robin", "two", "central"]
    told = [admissible_load(0.05, 5.0, routing=kind) for kind in kinds]
    assert told == sorted(told)
    assert len(set(told)) == len(told)


@given(st.floats(1e-3, 0.5), st.floats(0.1, 200.0), st.integers(1, 600))
def test_no_routing_admits_less_than_a_random_split(late: float, wait: float, servers: int) -> None:
    alone = admissible_load(late, wait, servers=servers)
    kinds: list[Routing] = ["round-robin", "two", "central"]
    for kind in kinds:
        told = admissible_load(late, wait, servers=servers, routing=kind)
        assert told >= alone * (1 - 1e-9), kind


@given(st.floats(1e-3, 0.3), st.floats(0.1, 50.0), st.integers(1, 200))
def test_the_admitted_load_is_at_the_bound(late: float, wait: float, servers: int) -> None:
    load = admissible_load(late, wait, servers=servers)
    assert late_share_one_queue(servers, load, wait) <= late * (1 + 1e-6)
    if load < 0.999:
        assert late_share_one_queue(servers, min(load + 1e-4, 0.9999), wait) > late * (1 - 1e-6)


def test_overload_is_always_late() -> None:
    assert late_share_one_queue(4, 1.0, 100.0) == 1.0
    assert late_share_two(1.2, 100.0) == 1.0
