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
        # GPU finding 17: a fused kernel's name lists all that it fuses
        ("triton_poi_fused_convolution_native_group_norm_3", "fused"),
        ("triton_red_fused__scaled_mm_layer_norm_0", "fused"),
        ("group_norm_silu_kernel", "fused"),
        ("_layer_norm_add_kernel", "fused"),
        ("geglu_kernel", "fused"),
        ("sum_and_norm", "fused"),
        ("void at::native::(anonymous namespace)::vectorized_layer_norm_kernel", "norm"),
        ("void cudnn::engines_precompiled::nchwToNhwcKernel<__nv_bfloat16>", "layout"),
        ("sm90_xmma_fprop_implicit_gemm_bf16_nhwckrsc_nhwc_tilesize128x128", "convolution"),
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


@pytest.mark.parametrize(
    ("flop", "limit", "tflops", "percent"),
    [
        (6e12, 10e12, 3.0, 30.0),
        (6e12, None, 3.0, None),  # GPU finding 23: the limits were not measured
        (None, 10e12, None, None),
    ],
)
def test_a_rate_without_a_limit_has_no_percentage(
    flop: float | None, limit: float | None, tflops: float | None, percent: float | None
) -> None:
    from benchmarks.breakdown import rates

    told = rates(2.0, flop, limit)
    assert (told["s_per_image"], told["tflops"], told["limit_percent"]) == (2.0, tflops, percent)


@pytest.mark.slow
@pytest.mark.e2e
def test_stages_of_the_tiny_model() -> None:
    told = last_line(run("benchmarks.breakdown", "--steps", "4", "--set", "device=cpu"))
    assert set(told["stages"]) == {"text", "denoise", "decode", "encode"}
    assert all(figures["s_per_image"] > 0 for figures in told["stages"].values())
    assert sum(told["steps_by_kind"].values()) == pytest.approx(1.0)
    assert told["steps_by_kind"]["convolution"] > 0
