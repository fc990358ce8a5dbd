"""Figures a server tells: taken only where they can be true."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.client import server_claims
from profiles.schema import Approximation, DeviceLimits


@pytest.mark.parametrize(
    ("text", "flop"),
    [
        (None, None),
        ("34700000000000", 3.47e13),
        ("3.47e13", 3.47e13),
        (" 5 ", 5.0),
        ("-5", None),
        ("0", None),
        ("nan", None),
        ("inf", None),
        ("1e21", None),  # beyond anything there is
        ("1e400", None),
        ("5 TFLOP", None),
        ("", None),
    ],
)
def test_flop_header(text: str | None, flop: float | None) -> None:
    assert server_claims.flop_header(text) == flop


@pytest.mark.parametrize(
    ("value", "limits"),
    [
        (None, None),
        ("fast", None),
        ({}, None),
        ({"device_name": 3, "threads": 0.5, "measured_s": "1"}, None),
        (
            {"device_name": " A \n", "matmul_flop_per_s": 5, "someday": 1},
            DeviceLimits(matmul_flop_per_s=5.0),
        ),  # no control characters
        ({"device_name": "A", "threads": 4}, DeviceLimits(device_name="A", threads=4)),
        ({"device_name": "A" * 1000}, DeviceLimits(device_name="A" * 100)),
        (
            {"matmul_flop_per_s": math.nan, "copy_bytes_per_s": -1, "fp8_flop_per_s": 2e15},
            DeviceLimits(fp8_flop_per_s=2e15),
        ),
    ],
)
def test_each_field_stands_by_itself(value: object, limits: DeviceLimits | None) -> None:
    assert server_claims.device_limits(value) == limits


ODD = st.sampled_from([None, True, "", "3", "nan", [], [1], {}, {"a": 1}])
ANYTHING = ODD | st.integers() | st.floats()


@given(st.dictionaries(st.sampled_from(DeviceLimits.__struct_fields__), ANYTHING))
def test_whatever_is_told_figures_are_positive_and_finite(value: Any) -> None:
    limits = server_claims.device_limits(value) or DeviceLimits()
    for field in ("matmul_flop_per_s", "fp8_flop_per_s", "copy_bytes_per_s", "threads"):
        figure = getattr(limits, field)
        assert figure is None or 0 < figure < math.inf


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ({}, []),
        ({"fp8": True, "shortcuts": 3}, []),
        (
            {"fp8": {"layers": 3, "relative_error": 0.42}},
            [Approximation(name="fp8", of="denoiser's output", relative_error=0.42)],
        ),
        (
            {"shortcuts": {"cache_steps": 2, "guidance_until": 1.0, "relative_error": 0.0}},
            [Approximation(name="cache_steps=2", of="final latent", relative_error=0.0)],
        ),
        (
            {"shortcuts": {"cache_steps": 2, "guidance_until": 0.67, "relative_error": "x"}},
            [Approximation(name="cache_steps=2, guidance_until=0.67", of="final latent")],
        ),
        (
            {"shortcuts": {"cache_steps": "<b>", "relative_error": math.nan}},
            [Approximation(name="shortcuts", of="final latent")],
        ),
    ],
)
def test_what_a_server_leaves_out(extra: Any, expected: list[Approximation]) -> None:
    assert server_claims.approximations(extra) == expected


@given(
    st.dictionaries(
        st.sampled_from(["fp8", "shortcuts"]),
        ANYTHING
        | st.dictionaries(
            st.sampled_from(["cache_steps", "guidance_until", "relative_error"]), ANYTHING
        ),
    )
)
def test_whatever_is_left_out_its_error_is_a_number_or_unknown(extra: Any) -> None:
    for one in server_claims.approximations(extra):
        assert one.relative_error is None or 0 <= one.relative_error < math.inf


@pytest.mark.parametrize(
    ("header", "took_s", "expected"),
    [
        ("", 1.0, {}),
        ("queue;dur=250, denoise;dur=500", 1.0, {"queue": 0.25, "denoise": 0.5}),
        ("queue;dur=250, denoise;dur=500", None, {"queue": 0.25, "denoise": 0.5}),
        ("queue;dur=600, denoise;dur=600", 1.0, {}),  # longer than the request took
        ("queue;dur=510, denoise;dur=500", 1.0, {"queue": 0.51, "denoise": 0.5}),  # clocks
        ("queue;dur=1e300", 1.0, {}),
        ("denoise;dur=-inf", 1.0, {}),
        ("denoise;dur=nan", None, {}),
        ("denoise;dur=-5", None, {}),
        ("total;dur=9000, denoise;dur=500", 1.0, {"total": 9.0, "denoise": 0.5}),  # not our word
    ],
)
def test_stages_that_cannot_be_true_are_not_told(
    header: str, took_s: float | None, expected: dict[str, float]
) -> None:
    assert server_claims.stages(header, took_s) == expected


@pytest.mark.parametrize(
    ("text", "steps", "flop"),
    [
        (None, 20, None),
        ("1.4e14", 20, 1.4e14),  # SDXL
        ("1e20", 20, None),  # 1e10 a pixel and step are 2.1e17
        ("2e17", 20, 2e17),
        ("1e18", None, 1e18),  # a thousand steps could be behind it
    ],
)
def test_flop_are_held_against_pixels_and_steps(
    text: str | None, steps: int | None, flop: float | None
) -> None:
    assert server_claims.flop_of(text, 1, 1024 * 1024, steps) == flop
