import numpy as np
import pytest

from benchmarks.queues import capacity, mdc_tail, mmc_tail, sojourn_times


def test_one_exponential_server_is_m_m_1() -> None:
    # P(T > t) = e^{-(mu - r) t}: mu = 10, r = 8, t = 1
    assert mmc_tail(8.0, 0.1, 1, 1.0) == pytest.approx(np.exp(-2.0))


def test_one_fixed_server_waits_as_erlang_computed() -> None:
    # M/D/1: P(W = 0) = 1 - rho; P(W <= x) = (1 - rho) e^{r x} within one service time
    assert 1 - mdc_tail(5.0, 0.1, 1, 0.1) == pytest.approx(0.5)
    assert 1 - mdc_tail(5.0, 0.1, 1, 0.15) == pytest.approx(0.5 * np.exp(0.25))


@pytest.mark.parametrize(
    ("kind", "servers", "limit_s"),
    [("fixed", 8, 0.06), ("fixed", 8, 0.08), ("fixed", 3, 0.12), ("exponential", 8, 0.1)],
)
def test_theory_agrees_with_a_long_simulation(kind: str, servers: int, limit_s: float) -> None:
    tail = {"fixed": mdc_tail, "exponential": mmc_tail}[kind]
    rate = 0.75 * servers / 0.05
    rng = np.random.default_rng(1)
    customers = 200_000
    arrivals = np.cumsum(rng.exponential(1 / rate, customers))
    service = np.full(customers, 0.05)
    if kind == "exponential":
        service = rng.exponential(0.05, customers)
    sojourn = sojourn_times(arrivals, service, [0.0] * servers)
    batches = (sojourn >= limit_s).reshape(-1, 2000).mean(axis=1)  # of many busy periods
    error = batches.std() / np.sqrt(batches.size)
    assert batches.mean() == pytest.approx(tail(rate, 0.05, servers, limit_s), abs=3.5 * error)
    assert error < 0.1 * batches.mean()


def test_a_service_time_that_misses_alone_has_no_capacity() -> None:
    with pytest.raises(ValueError, match="alone"):
        capacity(lambda r: mmc_tail(r, 0.05, 8, 0.1), 0.05, 160.0)
