"""Our copy of Ray Serve's rule against Ray's own."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.fleet.kernel.autoscaler import delayed, desired, mean_of_last

policy = pytest.importorskip("ray.serve.autoscaling_policy")
config = pytest.importorskip("ray.serve.config")


@given(
    requests=st.floats(0, 1e5),
    current=st.integers(1, 1000),
    target=st.floats(0.5, 20),
    up=st.floats(0.1, 2),
    down=st.floats(0.1, 2),
)
def test_desired(requests: float, current: int, target: float, up: float, down: float) -> None:
    told = config.AutoscalingConfig(
        target_ongoing_requests=target, upscaling_factor=up, downscaling_factor=down
    )
    wanted = current * (requests / (target * current))
    theirs = policy._apply_scaling_factors(wanted, current, told)
    assert desired(requests, current, target, up, down) == theirs


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(1, 5))
def test_delays(wanted: list[int], start: int) -> None:
    told = config.AutoscalingConfig(upscale_delay_s=3.0, downscale_delay_s=7.0)
    state: dict[str, object] = {}
    theirs = ours = start
    direction, since_s = 0, 0.0
    for second, want in enumerate(wanted):
        theirs, state = policy._apply_delay_logic(want, theirs, told, state, float(second))
        ours, direction, since_s = delayed(want, ours, float(second), direction, since_s, 3.0, 7.0)
        assert max(ours, 1) == max(theirs, 1)  # to zero is left out: a cell keeps one
        theirs = ours = max(ours, 1)


def test_the_look_back_is_a_ring() -> None:
    ring = np.array([5.0, 6.0, 3.0])  # the fourth and fifth sample stand where the first two did
    assert mean_of_last(ring, 5) == pytest.approx(14 / 3)
    assert mean_of_last(ring, 2) == pytest.approx(5.5)
    assert mean_of_last(ring, 0) == 0.0
