"""The hardware's readings over time: each stands for the time before it, and silence is a hole."""

from typing import Any

import numpy as np
import pytest

from profiles.record.columns import Gpu, gpu_columns
from profiles.report.charts import device_series
from tests.profiles.synthetic import START_S, gpu_sample

NAN = np.nan
TEN_S = np.arange(0.0, 10.5, 1.0)  # ten bins of a second


def gpus(*samples: tuple[float, int, dict[str, Any]]) -> list[Gpu]:
    """Of (seconds since the load began, index, readings)."""
    return gpu_columns(gpu_sample(START_S + t_s, index, **told) for t_s, index, told in samples)


@pytest.mark.parametrize(
    ("span_s", "at_s"),
    [
        (4.0, [6.5, 7.5, 8.5, 9.5]),  # once a second, over the 4 s before 10
        (1.5, [8.875, 9.625]),  # twice: 0.75 s each, in their middles
        (0.1, [9.95]),
    ],
)
def test_a_value_is_spread_over_the_time_it_stands_for(span_s: float, at_s: list[float]) -> None:
    t_s, values = device_series.spread(np.array([10.0]), np.array([span_s]), np.array([7.0]), 1.0)
    np.testing.assert_allclose(t_s, at_s)
    np.testing.assert_array_equal(values, np.full(len(at_s), 7.0))


def test_unknown_values_and_spans_are_left_out() -> None:
    three = np.array([1.0, 2.0, 3.0])
    t_s, values = device_series.spread(
        three, np.array([0.5, NAN, 0.5]), np.array([NAN, 4.0, 6.0]), 1.0
    )
    assert (t_s.tolist(), values.tolist()) == ([2.75], [6.0])


def test_least_median_and_most_are_of_all_devices() -> None:
    found = gpus(*((k / 2, index, {"power_w": 100.0 * (index + 1)})
                   for k in range(21) for index in range(3)))  # fmt: skip
    curves = device_series.quantiles(found, "power_w", START_S, TEN_S)
    np.testing.assert_allclose(curves, np.repeat([[100.0], [200.0], [300.0]], 10, axis=1))


def test_gpm_stands_for_its_own_span() -> None:
    # 2 s of 40%, then 3 s of 80%, told at 3 and 6 s; nothing before 1 s or after 6 s.
    found = gpus(
        (0.0, 0, {}),
        (3.0, 0, {"tensor_pct": 40.0, "gpm_span_s": 2.0}),
        (6.0, 0, {"tensor_pct": 80.0, "gpm_span_s": 3.0}),
        (9.0, 0, {}),
    )
    curve = device_series.mean(found, "tensor_pct", START_S, TEN_S)
    np.testing.assert_array_equal(curve, [NAN, 40, 40, 80, 80, 80, NAN, NAN, NAN, NAN])


def test_a_silent_gpu_leaves_a_hole() -> None:
    # Read each second, silent from 3 to 8 s; the reading at 8 s stands for 2.5 s at most.
    found = gpus(*((float(t), 0, {"temp_c": 50.0}) for t in (0, 1, 2, 3, 8, 9, 10)))
    curve = device_series.mean(found, "temp_c", START_S, TEN_S)
    assert np.isnan(curve).tolist() == [False] * 3 + [True] * 2 + [False] * 5


def test_held_time_is_the_counters_growth_mean_of_the_gpus() -> None:
    # GPU 0 is capped for 0.6 s of each second from 5 s on, GPU 1 never: 30%. GPU 1 is loaded anew
    # at 2 s: its counter falls back, which is no time.
    def told(t: int, index: int) -> dict[str, float]:
        capped = 0.6 * max(0, t - 5) if index == 0 else (9.0 if t < 2 else 0.0)
        return {"throttle_power_s": capped, "throttle_thermal_s": 0.0}

    found = gpus(*((float(t), index, told(t, index)) for t in range(11) for index in (0, 1)))
    shares = device_series.held(found, START_S, TEN_S)
    assert list(shares) == ["throttle_power_s", "throttle_thermal_s"]  # the others: not told
    np.testing.assert_allclose(shares["throttle_power_s"], [0] * 5 + [30.0] * 5, atol=1e-9)
    np.testing.assert_array_equal(shares["throttle_thermal_s"], np.zeros(10))


def test_a_counter_that_steps_rarely_never_exceeds_the_time_there_is() -> None:
    found = gpus(*((float(t), 0, {"throttle_power_s": 4.0 * (t // 4)}) for t in range(11)))
    assert device_series.held(found, START_S, TEN_S)["throttle_power_s"].max() == 100.0


def test_what_was_never_told() -> None:
    found = gpus((0.0, 0, {}), (1.0, 0, {"mem_temp_c": 60.0}))
    assert device_series.told(found, "mem_temp_c")
    assert not device_series.told(found, "tensor_pct")
    assert not device_series.told([], "power_w")
    assert np.isnan(device_series.mean([], "power_w", START_S, TEN_S)).all()
