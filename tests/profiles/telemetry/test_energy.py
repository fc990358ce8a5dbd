"""Two meters against a scripted truth: steps, wraps, resets, a counter that stands, gaps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.record.columns import gpu_columns
from profiles.stats.arrays import Floats
from profiles.telemetry.energy import WRAP_J, gpu_energy, metered
from profiles.telemetry.energy_per_image import idle_power_w, per_image
from tests.profiles.fake_nvml import Power
from tests.profiles.synthetic import gpu_sample

CONSTANT = Power("constant", 350.0)
SQUARE = Power("square", 120.0, 700.0, 3.7)
RAMP = Power("ramp", 100.0, 650.0, 11.0)
T_S: Floats = np.arange(0.0, 70.0, 0.1)


def counter(power: Power, step_s: float = 0.0, t_s: Floats = T_S) -> Floats:
    """A counter from 5 kJ, sampled at `t_s`, that moves every `step_s`."""
    moved = np.floor(t_s / step_s + 1e-9) * step_s if step_s else t_s
    return np.array([5000.0 + power.energy_j(0.0, t) for t in moved])


def watts(power: Power) -> Floats:
    return np.array([power.energy_j(t, t + 1e-6) / 1e-6 for t in T_S])


def average_watts(power: Power) -> Floats:
    return np.array([power.energy_j(t - 1.0, t) for t in T_S])


@pytest.mark.parametrize("power", [CONSTANT, SQUARE, RAMP], ids=lambda one: one.shape)
@pytest.mark.parametrize("step_s", [0.0, 0.1, 0.25, 1.0])
def test_both_meters_are_within_one_percent_of_the_truth(power: Power, step_s: float) -> None:
    found = metered(T_S, counter(power, step_s), watts(power), average_watts(power))
    truth_j = power.energy_j(4.03, 64.03)
    assert found.counter is not None
    assert found.power is not None
    assert found.counter.between(4.03, 64.03) == pytest.approx(truth_j, rel=0.01)
    assert found.power.between(4.03, 64.03) == pytest.approx(truth_j, rel=0.01)
    assert found.counter.step_s == pytest.approx(max(step_s, 0.1), abs=0.06)


def test_a_window_shorter_than_the_counters_step_is_refused() -> None:
    meter = metered(T_S, counter(CONSTANT, 2.0), watts(CONSTANT)).counter
    assert meter is not None
    assert meter.between(10.0, 11.9) is None
    assert meter.between(10.0, 20.0) == pytest.approx(3500.0, rel=0.01)
    assert meter.between(10.0, 90.0) is None  # the samples do not reach


def test_a_counter_of_32_bits_wraps() -> None:
    energy_j = np.fmod(counter(CONSTANT) + WRAP_J - 15_000.0, WRAP_J)
    found = metered(T_S, energy_j, watts(CONSTANT))
    assert (found.wraps, found.resets) == (1, 0)
    assert found.counter is not None
    assert found.counter.between(0.0, 69.0) == pytest.approx(350.0 * 69.0)


@pytest.mark.parametrize("known", [True, False])
def test_a_counter_that_begins_anew_is_bridged(known: bool) -> None:
    energy_j = np.where(T_S < 30.0, counter(CONSTANT), 350.0 * (T_S - 29.95))
    power = watts(CONSTANT) if known else np.full(T_S.size, np.nan)
    found = metered(T_S, energy_j, power)
    assert (found.wraps, found.resets) == (0, 1)
    assert found.counter is not None
    assert found.counter.between(0.0, 69.0) == pytest.approx(350.0 * 69.0)


def test_a_counter_that_began_anew_while_the_gpu_was_lost_is_no_measure() -> None:
    seen = (T_S < 20.0) | (T_S > 40.0)
    energy_j = np.where(T_S < 30.0, counter(CONSTANT), 350.0 * (T_S - 35.0))[seen]
    found = metered(T_S[seen], energy_j, watts(CONSTANT)[seen])
    assert (found.counter, found.power, found.resets) == (None, None, 1)


def test_a_counter_that_stands_is_no_measure() -> None:
    energy_j = np.minimum(counter(CONSTANT), counter(CONSTANT)[300])
    found = metered(T_S, energy_j, watts(CONSTANT))
    assert found.frozen
    assert found.counter is None
    samples = [gpu_sample(t, energy_j=e) for t, e in zip(T_S.tolist(), energy_j, strict=True)]
    energy = gpu_energy(gpu_columns(samples), 5.0, 65.0)
    assert energy.joules == pytest.approx(6000.0)
    assert energy.basis == "integrated power"


def test_time_that_nobody_looked_is_no_stand_of_the_counter_but_a_gap_of_power() -> None:
    seen = (T_S < 20.0) | (T_S > 40.0)  # the GPU was lost for 20 s
    found = metered(T_S[seen], counter(SQUARE)[seen], watts(SQUARE)[seen])
    assert not found.frozen
    assert found.power is None
    assert found.counter is not None
    truth_j = SQUARE.energy_j(5.0, 65.0)
    assert found.counter.between(5.0, 65.0) == pytest.approx(truth_j, rel=0.01)


def test_the_two_disagree() -> None:
    # 187 J by the counter to 327 J by power, as seen at idle: 18.7 W told for 32.7 W over 10 s
    samples = [gpu_sample(i / 10, energy_j=1.87 * i, power_w=32.7) for i in range(301)]
    energy = gpu_energy(gpu_columns(samples), 10.0, 20.0)
    (one,) = energy.by_gpu
    assert one.counter_j == pytest.approx(187.0)
    assert one.integrated_j == pytest.approx(327.0)
    assert energy.disagreement == pytest.approx(140.0 / 187.0)
    assert gpu_energy(gpu_columns(samples), 10.0, 19.0).disagreement is None  # too short to say


@given(
    st.lists(st.floats(0.0, 800.0), min_size=30, max_size=30),
    st.floats(0.0, 10.0),
    st.floats(0.2, 15.0),
)
def test_energy_of_parts_is_the_energy_of_the_whole(
    power: list[float], start_s: float, length_s: float
) -> None:
    t_s = np.arange(30.0)
    found = metered(t_s, np.cumsum(np.array(power) + 1.0), np.array(power))
    middle_s, end_s = start_s + 1.0 + length_s / 2, start_s + 2.0 + length_s
    for meter in (found.counter, found.power):
        assert meter is not None
        parts = [meter.between(start_s, middle_s), meter.between(middle_s, end_s)]
        whole = meter.between(start_s, end_s)
        assert whole is not None
        assert sum(one or 0.0 for one in parts) == pytest.approx(whole, abs=1e-6)


def test_joules_an_image_gross_and_net_with_intervals() -> None:
    # 100 W before the load, 300 W in it; an image a second: 300 J, 200 J without idling
    samples = [
        gpu_sample(i / 10, power_w=100.0 if i < 200 else 300.0, energy_j=_two_levels(i / 10))
        for i in range(701)
    ]
    gpus = gpu_columns(samples)
    idle_w = idle_power_w(gpus, 20.0)
    energy = gpu_energy(gpus, 20.0, 60.0)
    done_s = 20.5 + np.arange(40.0)
    told = per_image(energy, idle_w, done_s, np.ones(40), (20.0, 60.0), carbon_g_per_kwh=400.0)
    assert idle_w == pytest.approx(100.0)
    assert told.energy_j_per_image == pytest.approx(300.0, rel=0.001)
    assert told.energy_net_j_per_image == pytest.approx(200.0, rel=0.001)
    assert told.energy_low_j_per_image == pytest.approx(300.0, rel=0.01)  # every block alike
    assert told.carbon_g_per_image == pytest.approx(300.0 / 3.6e6 * 400.0, rel=0.001)


def test_the_interval_widens_with_the_blocks_and_is_refused_for_few() -> None:
    gpus = gpu_columns([gpu_sample(i / 10) for i in range(701)])
    window = (20.0, 60.0)
    energy = gpu_energy(gpus, *window)
    done_s = 20.5 + np.arange(40.0)
    images = np.array(
        [1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0] * 5
    )  # blocks of 4 s with 4 and 8 images
    told = per_image(energy, None, done_s, images, window)
    # ratios without a block: 4000-400 J over 60-4 or 60-8 images
    mean_j = 4000.0 / 60
    low, high = (3600.0 / 56, 3600.0 / 52)
    half = 2.262 * (0.9 * 10 * ((high - low) / 2) ** 2) ** 0.5
    assert told.energy_j_per_image == pytest.approx(mean_j)
    assert told.energy_high_j_per_image == pytest.approx(mean_j + half, rel=1e-3)
    assert told.energy_net_j_per_image is None
    short = per_image(gpu_energy(gpus, 20.0, 21.0), None, done_s, images, (20.0, 21.0))
    assert short.energy_j_per_image is not None
    assert short.energy_low_j_per_image is None  # 1 s is two blocks of five steps


def test_instant_power_aliases_with_a_square_wave_and_the_average_does_not() -> None:
    truth_j = SQUARE.energy_j(4.03, 64.03)
    apart = {}
    for name, average in (("instant", None), ("average", average_watts(SQUARE))):
        meter = metered(T_S, counter(SQUARE), watts(SQUARE), average).power
        assert meter is not None
        apart[name] = abs((meter.between(4.03, 64.03) or 0.0) / truth_j - 1)
    # each rise falls on a sample: half a period of 580 W too much in each of the 16 periods
    assert apart["instant"] == pytest.approx(16 * 0.05 * 580 / truth_j, rel=0.1)
    assert apart["average"] < 0.005


def test_idle_power_wants_two_seconds() -> None:
    gpus = gpu_columns([gpu_sample(i / 10) for i in range(301)])
    assert idle_power_w(gpus, 1.5) is None
    assert idle_power_w(gpus, 2.5) == pytest.approx(100.0)
    assert idle_power_w([], 2.5) is None


def _two_levels(t_s: float) -> float:
    return 100.0 * min(t_s, 20.0) + 300.0 * max(0.0, t_s - 20.0)
