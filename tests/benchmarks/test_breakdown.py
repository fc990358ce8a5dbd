import pytest

from tests.benchmarks.test_engine import last_line, run


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sm90_xmma_fprop_implicit_gemm_bf16", "convolution"),
        ("cudnn::fusion::compute_flash_fprop_engine", "attention"),
        ("nvjet_tst_192x192_64x4_2x1", "matmul"),
        ("void cutlass::Kernel2<sm90_gemm>", "matmul"),
        ("pytorch_flash::flash_fwd_kernel", "attention"),
        ("void at::native::RowwiseMomentsCUDAKernel", "norm"),
        ("void at::native::vectorized_elementwise_kernel", "pointwise"),
        ("void at::native::group_norm_kernel", "norm"),
        ("Memcpy HtoD (Pinned -> Device)", "copy"),
        ("aten::addmm", "matmul"),
        ("aten::mkldnn_convolution", "convolution"),
        ("aten::silu", "pointwise"),
    ],
)
def test_kernels_are_told_apart_by_name(name: str, kind: str) -> None:
    from benchmarks.breakdown import kind_of

    assert kind_of(name) == kind


def test_kinds_and_gaps_fill_the_time() -> None:
    from benchmarks.breakdown import by_kind

    kinds = by_kind([("gemm", 3.0), ("aten::addmm", 1.0), ("flash", 2.0)], 10.0)
    assert kinds == {"gaps": 4.0, "matmul": 4.0, "attention": 2.0}
    assert by_kind([("gemm", 3.0)], 2.0) == {"matmul": 3.0, "gaps": 0.0}


@pytest.mark.slow
@pytest.mark.e2e
def test_stages_of_the_tiny_model() -> None:
    told = last_line(run("benchmarks.breakdown", "--steps", "4", "--set", "device=cpu"))
    assert set(told["stages"]) == {"text", "denoise", "decode", "encode"}
    assert all(figures["s_per_image"] > 0 for figures in told["stages"].values())
    assert sum(told["steps_by_kind"].values()) == pytest.approx(1.0)
    assert told["steps_by_kind"]["convolution"] > 0
