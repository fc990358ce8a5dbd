import math
from itertools import accumulate

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loadtest.traffic.curve import (
    Bass,
    Bins,
    Constant,
    Curve,
    FlashCrowd,
    Ramp,
    Step,
    Steps,
    Wave,
    Waves,
    peak_rate,
    total,
)
from loadtest.units import Duration as D

rates = st.floats(0.01, 1e4)
spans = st.floats(0.5, 1e5).map(D)
singles: st.SearchStrategy[Curve] = st.one_of(
    st.builds(Constant, rate_per_s=rates, duration=spans),
    st.builds(
        Steps,
        steps=st.lists(
            st.builds(Step, rate_per_s=rates, duration=spans), min_size=1, max_size=4
        ).map(tuple),
    ),
    st.builds(Ramp, from_per_s=rates, to_per_s=rates, duration=spans),
    st.builds(
        Bass,
        adopters=st.floats(10, 1e9),
        p=st.floats(1e-4, 0.1),
        q=st.floats(0.0, 0.5),
        per=st.just(D(3600)),
        begin=st.floats(0, 1e5).map(D),
        duration=spans,
    ),
    st.builds(
        FlashCrowd,
        base_per_s=rates,
        magnitude=st.floats(1, 20),
        begin=st.floats(0, 100).map(D),
        rise=st.floats(0, 1000).map(D),
        hold=st.floats(0, 1000).map(D),
        half_life=st.floats(1, 1000).map(D),
        duration=spans,
    ),
)
curves: st.SearchStrategy[Curve] = st.one_of(
    singles,
    st.builds(
        Waves,
        waves=st.lists(
            st.builds(Wave, at=st.floats(0, 1000).map(D), curve=singles), min_size=1, max_size=3
        ).map(tuple),
    ),
)


def jumps(curve: Curve) -> list[float]:
    """Where, s, the rate may jump inside the curve: steps and waves, however short."""
    match curve:
        case Steps():
            return list(accumulate(float(step.duration) for step in curve.steps))
        case Waves():
            return [
                wave.at + edge
                for wave in curve.waves
                for edge in (0.0, *jumps(wave.curve), wave.curve.duration_s)
            ]
        case _:
            return []


SHORT_WAVE = Waves(
    waves=(
        Wave(at=D(0), curve=Constant(rate_per_s=1.0, duration=D(85601))),
        Wave(at=D(25.75), curve=Constant(rate_per_s=86.0, duration=D(1))),
    )
)


@given(curves)
@example(SHORT_WAVE)  # shorter than a cell of the grid alone
def test_the_integral_is_the_area_under_the_rate(curve: Curve) -> None:
    grid = np.linspace(0.0, curve.duration_s, 40_001)
    t = np.union1d(grid, np.clip(jumps(curve), 0.0, curve.duration_s))
    middles = (t[1:] + t[:-1]) / 2
    area = np.sum(curve.rate(middles) * np.diff(t))
    # the midpoint rule misses at most a jump's height x a cell's width, for a few jumps
    highest = max(curve.rate(t).max(), curve.rate(middles).max())
    slack = 12 * highest * (grid[1] - grid[0]) + 1e-9
    assert total(curve) == pytest.approx(area, rel=1e-3, abs=slack)


@given(curves)
def test_the_integral_starts_at_0_never_falls_and_stands_still_outside(curve: Curve) -> None:
    t = np.linspace(-0.5 * curve.duration_s, 1.5 * curve.duration_s, 2001)
    mass = curve.integral(t)
    tolerance = 1e-9 * (1 + abs(mass).max())
    assert np.all(np.diff(mass) >= -tolerance)
    assert abs(curve.integral(np.array([0.0]))[0]) <= tolerance
    assert mass[-1] == pytest.approx(total(curve))
    assert curve.rate(np.array([-1.0, curve.duration_s * 1.01 + 1.0])).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("curve", "expected_total", "expected_peak"),
    [
        (Constant(rate_per_s=2.0, duration=D(10)), 20.0, 2.0),
        # 2/s x 5 s + 8/s x 1 s
        (
            Steps(
                steps=(Step(rate_per_s=2.0, duration=D(5)), Step(rate_per_s=8.0, duration=D(1)))
            ),
            18.0,
            8.0,
        ),
        (Ramp(from_per_s=0.0, to_per_s=4.0, duration=D(10)), 20.0, 4.0),
        # 1/s x 100 s + 9/s x (10 s / 2 + 20 s + nothing: the curve ends with the hold)
        (
            FlashCrowd(
                base_per_s=1.0, magnitude=10.0, begin=D(70), rise=D(10), hold=D(20),
                half_life=D(5), duration=D(100),
            ),
            325.0,
            10.0,
        ),
        (Bins(edges_s=(0.0, 1.0, 3.0), rates_per_s=(5.0, 1.0)), 7.0, 5.0),
        # two constants, one second apart: 1 x 2 + 1 x 2; both on in [1, 2]
        (
            Waves(
                waves=(
                    Wave(curve=Constant(rate_per_s=1.0, duration=D(2))),
                    Wave(at=D(1), curve=Constant(rate_per_s=1.0, duration=D(2))),
                )
            ),
            4.0,
            2.0,
        ),
    ],
)  # fmt: skip
def test_known_areas_and_peaks(curve: Curve, expected_total: float, expected_peak: float) -> None:
    assert total(curve) == pytest.approx(expected_total)
    assert peak_rate(curve) == pytest.approx(expected_peak)


def test_bass_peaks_where_theory_says() -> None:
    # the 2025 image feature: peak at ln(q/p)/(p+q) = 143 h with one million people an hour
    p, q = 6.1e-4, 0.0255
    curve = Bass(adopters=150e6, p=p, q=q, per=D(3600), duration=D(300 * 3600))
    t = np.linspace(0, curve.duration_s, 300_001)
    at_h = t[curve.rate(t).argmax()] / 3600
    assert at_h == pytest.approx(math.log(q / p) / (p + q), abs=0.01)
    assert peak_rate(curve) * 3600 == pytest.approx(1.00e6, rel=0.01)


def test_a_flash_crowd_halves_in_its_half_life() -> None:
    curve = FlashCrowd(
        base_per_s=2.0,
        magnitude=5.0,
        begin=D(0),
        rise=D(10),
        hold=D(0),
        half_life=D(30),
        duration=D(200),
    )
    # extra over the base: 8 at the peak (t = 10), 4 at t = 40, 2 at t = 70
    assert curve.rate(np.array([10.0, 40.0, 70.0])) == pytest.approx([10.0, 6.0, 4.0])


def test_curves_survive_being_written_and_read() -> None:
    curve = Waves(waves=(Wave(at=D(5), curve=Constant(rate_per_s=1.0, duration=D(2))),))
    raw = msgspec.to_builtins(curve, enc_hook=float)
    assert raw["kind"] == "waves"
    assert raw["waves"][0]["curve"] == {"kind": "constant", "rate_per_s": 1.0, "duration": 2.0}


def test_a_ramp_of_no_length_adds_nothing_to_its_waves() -> None:
    ramp = Ramp(from_per_s=1.0, to_per_s=9.0, duration=D(0))
    both = Waves(
        waves=(Wave(curve=ramp), Wave(curve=Constant(rate_per_s=2.0, duration=D(10)))),
    )
    assert total(both) == pytest.approx(20.0)
    assert both.rate(np.array([5.0])).tolist() == [2.0]
