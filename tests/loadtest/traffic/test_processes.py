"""The bursty processes against their theory, over SEEDS seeds each.

Bounds. A statistic is computed a seed; seeds are independent, so the mean over them is off by
t·s/√SEEDS with s their sample standard deviation. 5 is beyond the 99.99% quantile of |t| with 29
degrees of freedom; a second assertion says how narrow that bound is, so that a test cannot pass
because the spread is wide.
"""

import hashlib
import subprocess
import sys

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.traffic.arrivals import PRESETS, Process, Word, arrival_times, describe
from loadtest.traffic.curve import Constant
from loadtest.traffic.processes import Gamma, Hawkes, Mmpp, exponentials, gammas
from loadtest.units import Duration as D
from tests.loadtest.traffic.test_arrivals import VIRAL

SEEDS = 30
RATE_PER_S = 20.0
SPAN_S = 3600.0
FLAT = Constant(rate_per_s=RATE_PER_S, duration=D(SPAN_S))

Array = npt.NDArray[np.float64]


def close(per_seed: list[float], theory: float, within: float) -> None:
    """The mean over the seeds is at the theory, and the bound is narrower than `within` of it."""
    bound = 5 * np.std(per_seed, ddof=1) / np.sqrt(len(per_seed))
    assert bound < within * theory
    assert abs(np.mean(per_seed) - theory) < bound


def dispersion(times: Array, window_s: float) -> float:
    """Variance over mean of the counts in windows, about the mean the curve asks for."""
    counts = np.histogram(times, bins=int(SPAN_S / window_s), range=(0, SPAN_S))[0]
    mean = RATE_PER_S * window_s
    return float(np.mean((counts - mean) ** 2) / mean)


def renewal(cv: float, window_s: float) -> float:
    """Var N(m) = c²m + (1 - c⁴)/6 for m >> c² (Cox, Renewal Theory, 1962, 4.5; Gamma gaps)."""
    expected = RATE_PER_S * window_s
    return cv**2 + (1 - cv**4) / 6 / expected


def excited(n: float, decay_s: float, window_s: float) -> float:
    x = (1 - n) / decay_s * window_s
    return float(1 + n * (2 - n) / (1 - n) ** 2 * (1 - (1 - np.exp(-x)) / x))


def modulated(ratio: float, busy_s: float, quiet_s: float, window_s: float) -> float:
    p, k = busy_s / (busy_s + quiet_s), 1 / busy_s + 1 / quiet_s
    low = 1 / (ratio * p + 1 - p)
    variance = p * (1 - p) * (ratio * low - low) ** 2
    x = k * window_s
    return float(1 + 2 * RATE_PER_S * variance / k * (1 - (1 - np.exp(-x)) / x))


@pytest.mark.parametrize(
    ("process", "idc_1s", "idc_60s"),
    [
        ("poisson", 1.0, 1.0),
        (Gamma(cv=0.5), renewal(0.5, 1), renewal(0.5, 60)),
        (Gamma(cv=3.0), renewal(3, 1), renewal(3, 60)),
        ("agent-like", None, 165.0),  # 13² - (13⁴ - 1)/6/1200; 1 s holds too few for the formula
        (Hawkes(idc=4.0, decay=D(2)), excited(0.5, 2, 1), excited(0.5, 2, 60)),
        ("chat-like", 1.32, 15.8),  # as measured on a chat service: 1.39 and 16.4
        (
            Mmpp(ratio=5, busy=D(2), quiet=D(6)),
            modulated(5, 2, 6, 1), modulated(5, 2, 6, 60),
        ),
    ],
)  # fmt: skip
def test_rate_and_index_of_dispersion_are_as_theory_says(
    process: Word | Process, idc_1s: float | None, idc_60s: float
) -> None:
    runs = [arrival_times(process, FLAT.integral, SPAN_S, seed) for seed in range(SEEDS)]
    close([float(run.size) for run in runs], RATE_PER_S * SPAN_S, within=0.05)
    close([dispersion(run, 60.0) for run in runs], idc_60s, within=0.35)
    if idc_1s is not None:
        close([dispersion(run, 1.0) for run in runs], idc_1s, within=0.1)


@pytest.mark.parametrize("cv", [0.3, 1.0, 4.0, 13.0])
def test_gaps_have_the_coefficient_of_variation_asked_for(cv: float) -> None:
    # Var(ĉ)/c² = (1 + c²)/2n for n Gamma gaps: the delta method with skewness 2c and excess
    # kurtosis 6c²; five standard errors over all seeds' gaps
    runs = [arrival_times(Gamma(cv=cv), FLAT.integral, SPAN_S, seed) for seed in range(SEEDS)]
    gaps = np.concatenate([np.diff(run) for run in runs])
    bound = 5 * np.sqrt((1 + cv**2) / (2 * gaps.size))
    assert bound < 0.04
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=bound)


@pytest.mark.parametrize(
    "process",
    [Gamma(cv=3.0), Hawkes(branching=0.6, decay=D(1)), Mmpp(ratio=6, busy=D(3), quiet=D(9))],
    ids=lambda p: p.__struct_config__.tag,
)
def test_the_mean_rate_is_the_curve_in_each_of_its_parts(process: Process) -> None:
    # before the rise, the rise, the hold, the fall: from the first second to the last
    edges = np.array([0.0, 5.0, 20.0, 30.0, 40.0, 60.0, 115.0, 120.0])
    scaled = 20.0  # 40/s before the rise, 400/s at the peak

    def integral(t: Array) -> Array:
        return VIRAL.integral(t) * scaled

    runs = [arrival_times(process, integral, VIRAL.duration_s, seed) for seed in range(200)]
    counts = np.array([np.histogram(run, bins=edges)[0] for run in runs])
    for part, expected in zip(counts.T, np.diff(integral(edges)), strict=True):
        close(part.astype(float).tolist(), float(expected), within=0.4)


PROCESSES = st.one_of(
    st.builds(Gamma, cv=st.floats(0.05, 20)),
    st.builds(Hawkes, branching=st.floats(0, 0.95), decay=st.floats(0.01, 100).map(D)),
    st.builds(Hawkes, idc=st.floats(1, 400), decay=st.floats(0.01, 100).map(D)),
    st.builds(
        Mmpp,
        ratio=st.floats(1, 50),
        busy=st.floats(0.05, 500).map(D),
        quiet=st.floats(0.05, 500).map(D),
    ),
)


@given(PROCESSES, st.integers(0, 2**63 - 1), st.floats(0.01, 50))
@settings(max_examples=60, deadline=None)
def test_arrivals_are_sorted_inside_the_curve_and_a_function_of_the_seed(
    process: Process, seed: int, scale: float
) -> None:
    def integral(t: Array) -> Array:
        return VIRAL.integral(t) * scale

    times = arrival_times(process, integral, VIRAL.duration_s, seed)
    assert np.all(np.diff(times) >= 0)
    assert np.all((times >= 0) & (times <= VIRAL.duration_s))
    assert np.array_equal(times, arrival_times(process, integral, VIRAL.duration_s, seed))


def test_without_bursts_every_process_is_poisson() -> None:
    for process in (
        Gamma(cv=1.0), Hawkes(branching=0.0), Hawkes(idc=1.0),
        Mmpp(ratio=1, busy=D(1), quiet=D(1)),
    ):  # fmt: skip
        runs = [arrival_times(process, FLAT.integral, SPAN_S, seed) for seed in range(SEEDS)]
        close([dispersion(run, 60.0) for run in runs], 1.0, within=0.25)
        gaps = np.concatenate([np.diff(run) for run in runs])
        assert gaps.std() / gaps.mean() == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("shape", [0.04, 0.5, 1.0, 2.5, 100.0])
def test_gamma_draws_have_their_mean_and_variance(shape: float) -> None:
    # of n draws: the mean's standard error is √(a/n), the variance's a·√((2 + 6/a)/n)
    n = 400_000
    draws = gammas(np.random.Generator(np.random.PCG64(1)), shape, n)
    assert draws.min() >= 0
    assert draws.mean() == pytest.approx(shape, abs=5 * np.sqrt(shape / n))
    assert draws.var() == pytest.approx(shape, rel=5 * np.sqrt((2 + 6 / shape) / n))


def test_exponential_draws_exceed_x_with_chance_e_to_the_minus_x() -> None:
    draws = exponentials(np.random.Generator(np.random.PCG64(1)), 100_000)
    for x in (0.1, 1.0, 3.0):
        chance = np.exp(-x)
        sd = np.sqrt(chance * (1 - chance) / 100_000)
        assert np.mean(draws > x) == pytest.approx(chance, abs=5 * sd)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_give_the_same_arrivals_in_another_process(name: str) -> None:
    code = (
        "import hashlib\n"
        "from tests.loadtest.traffic.test_processes import FLAT, PRESETS, SPAN_S, arrival_times\n"
        f"t = arrival_times(PRESETS[{name!r}], FLAT.integral, SPAN_S, 7)\n"
        "print(hashlib.sha256(t.tobytes()).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = arrival_times(PRESETS[name], FLAT.integral, SPAN_S, 7)
    assert other.stdout.strip() == hashlib.sha256(here.tobytes()).hexdigest()


@pytest.mark.parametrize(
    ("process", "said"),
    [
        (Hawkes(branching=0.9999999, decay=D(1000)), "lower branching (or idc) or decay"),
        (Mmpp(ratio=2, busy=D(1e-6), quiet=D(1e-6)), "lengthen busy or quiet"),
        ("trace", "no process"),
    ],
)
def test_what_cannot_be_simulated_is_said(process: Word | Process, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        arrival_times(process, FLAT.integral, SPAN_S, 1)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("process", "said"),
    [
        ("poisson", "poisson"),
        ("chat-like", "chat-like: Hawkes, branching 0.85, decay 10 s"),
        ("agent-like", "agent-like: Gamma renewal, gap CV 13, index of dispersion towards 169"),
        (Hawkes(idc=16.0), "Hawkes, branching 0.75, decay 10 s, index of dispersion towards 16"),
        (Mmpp(ratio=5, busy=D(60), quiet=D(300)), "MMPP, 5 x the rate for 1 min after 5 min"),
    ],
)
def test_processes_in_words(process: Word | Process, said: str) -> None:
    assert said in describe(process)
