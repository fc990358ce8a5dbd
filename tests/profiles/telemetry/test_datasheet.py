"""Datasheet limits go by the whole name: no card is taken for another."""

import pytest

from profiles.telemetry.datasheet import _datasheets, datasheet


@pytest.mark.parametrize(
    ("name", "bf16", "fp8", "memory"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12, 1979e12, 3.35e12),
        ("NVIDIA H100 PCIe", 756e12, 1513e12, 2.0e12),
        ("NVIDIA H100 NVL", 835.5e12, 1670.5e12, 3.9e12),
        ("NVIDIA H200", 989e12, 1979e12, 4.8e12),
        ("NVIDIA B200", 2.25e15, 4.5e15, 8e12),
        ("NVIDIA A100-SXM4-40GB", 312e12, None, 1.555e12),
        ("NVIDIA L40S", 362e12, 733e12, 864e9),
        ("NVIDIA L4", 121e12, 242.5e12, 300e9),
    ],
)
def test_known_cards(name: str, bf16: float, fp8: float | None, memory: float) -> None:
    sheet = datasheet(name)
    assert sheet is not None
    assert (sheet.bf16_flop_per_s, sheet.fp8_flop_per_s) == (bf16, fp8)
    assert sheet.memory_bytes_per_s == memory


@pytest.mark.parametrize(
    "name",
    [
        None,
        "",
        "NVIDIA H100",  # which of them?
        "NVIDIA H100 80GB HBM3 MIG 1g.10gb",  # a seventh of one
        "NVIDIA L40",
        "NVIDIA A10G",
        "NVIDIA A100",
        "nvidia h200",
        "AMD EPYC",
    ],
)
def test_other_names_have_none(name: str | None) -> None:
    assert datasheet(name) is None


def test_the_file_is_plausible() -> None:
    for name, sheet in _datasheets().items():
        assert name.startswith("NVIDIA ")
        assert 1e14 < sheet.bf16_flop_per_s < 1e16, name
        assert 1e11 < sheet.memory_bytes_per_s < 1e14, name
        if sheet.fp8_flop_per_s is not None:  # dense float8 is twice dense bfloat16
            assert sheet.fp8_flop_per_s == pytest.approx(2 * sheet.bf16_flop_per_s, rel=0.02), name
