"""A kernel's price, by hand: the longer of arithmetic and traffic, and a gap."""

from typing import Any

import pytest

from benchmarks.kernels import Kernel, Ref
from benchmarks.roofline import Assumed, Gpu, by_kind, images_per_s, price_s, total

GPU = Gpu(name="plain", flop_per_s=1000.0, bytes_per_s=100.0)
ASSUMED = Assumed(
    matmul=0.8, conv=0.5, attention=0.4, memory=0.5, gap_s=0.25, fp8_flop_per_s=2000.0
)


def kernel(kind: Any, flop: float, read: int, written: int, **more: Any) -> Kernel:
    return Kernel(
        kind=kind,
        name="x",
        flop=flop,
        reads=(Ref(1, 0, read),),
        writes=(Ref(2, 0, written),),
        **more,
    )


@pytest.mark.parametrize(
    ("each", "seconds"),
    [
        (kernel("matmul", 1600, 10, 10), 2.0),  # 1600 / (1000 * 0.8)
        (kernel("matmul", 1600, 150, 50), 4.0),  # 200 / (100 * 0.5)
        (kernel("matmul", 1600, 10, 10, is_fp8=True), 0.8),
        (kernel("conv", 1600, 10, 10), 3.2),
        (kernel("attention", 1600, 10, 10, padding=1.5), 6.0),
        (kernel("pointwise", 0, 50, 25), 1.5),
        (kernel("norm", 0, 50, 25, passes=2), 2.5),
    ],
)
def test_a_kernel_takes_the_longer_of_arithmetic_and_traffic(each: Kernel, seconds: float) -> None:
    assert price_s(each, GPU, ASSUMED) == pytest.approx(seconds + 0.25)


def test_each_launch_has_its_gap() -> None:
    each = kernel("norm", 0, 50, 0, launches=3)
    assert price_s(each, GPU, ASSUMED) == pytest.approx(1.0 + 0.75)


def test_sums_and_kinds_agree() -> None:
    some = [kernel("norm", 0, 50, 0), kernel("matmul", 1600, 0, 0), kernel("norm", 0, 100, 0)]
    kinds = by_kind(some, GPU, ASSUMED)
    assert list(kinds) == ["norm", "matmul"]  # 3.5 s before 2.25 s
    assert kinds["norm"].seconds == pytest.approx(3.5)
    whole = total(some, GPU, ASSUMED)
    assert (whole.kernels, whole.bytes, whole.flop) == (3, 150, 1600)
    assert whole.seconds == pytest.approx(sum(each.seconds for each in kinds.values()))


def test_an_image_takes_its_steps_and_its_share_of_the_rest() -> None:
    # 8 images in 20 * 0.1 + 1.5 + 0.5 = 4 s
    rate = images_per_s(images=8, steps=20, step_s=0.1, decode_s=1.5, text_s=0.5)
    assert rate == pytest.approx(2.0)
