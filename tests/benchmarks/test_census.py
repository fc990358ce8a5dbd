"""The census: what a step would launch is what it was, and what must not be in it is seen.

The ceilings are the committed profile's: it is made anew by the command that it names.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

PROFILES = Path(__file__).parents[2] / "profiles/reference"
PROFILE = PROFILES / "census-h200-paper.json"
MORE = 1.02  # torch and diffusers of another version may take a kernel more


class Recorded:
    """Real models, each recorded once."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Any, Any]] = {}

    def of(self, model: str) -> tuple[Any, Any]:
        """The stages and the pipeline."""
        from benchmarks.census import case_of
        from benchmarks.model_stages import record

        if model not in self._known:
            seen: list[Any] = []
            stages = record(case_of(f"{model}:16"), change=seen.append)
            self._known[model] = stages, seen[0]
        return self._known[model]


@pytest.fixture(scope="module")
def recorded() -> Recorded:
    return Recorded()


@pytest.mark.parametrize("model", ["sd15", "sdxl"])
def test_a_step_never_waits_for_the_host_and_is_no_dearer_than_it_was(
    recorded: Recorded, model: str
) -> None:
    stages, _ = recorded.of(model)
    cases = json.loads(PROFILE.read_text(encoding="utf-8"))["cases"]
    (before,) = (case for case in cases if (case["model"], case["rows"]) == (model, 16))
    assert stages.step.host_copies == ()
    assert stages.step.launches <= MORE * before["kernels"]
    assert stages.step.bytes <= MORE * before["bytes"]
    assert stages.decode.bytes <= MORE * before["stages"]["decode"]["bytes"]
    for stage in (stages.step, stages.decode):
        assert 2**20 < stage.largest_elements < 2**31


@pytest.mark.slow
@pytest.mark.parametrize("model", ["sd15", "sdxl"])
def test_a_step_in_fp8_is_no_dearer_than_it_was(model: str) -> None:
    from benchmarks.census import case_of
    from benchmarks.model_stages import record

    step = record(case_of(f"{model}:16"), is_fp8=True).step
    cases = json.loads((PROFILES / "census-fp8-h200-paper.json").read_text())["cases"]
    (before,) = (case for case in cases if (case["model"], case["rows"]) == (model, 16))
    assert step.host_copies == ()
    assert step.launches <= MORE * before["kernels"]
    assert step.bytes <= MORE * before["bytes"]
    quantizing = [kernel for kernel in step.kernels if kernel.name == "quantize_rows"]
    products = [kernel for kernel in step.kernels if kernel.is_fp8]
    # SDXL: behind 140 attentions, before 22 projections, and texts for the 6 transformers of width
    # 1280, whose rows are too few elsewhere. SD1.5: behind the 10 attentions of width 1280.
    counts = {"sdxl": (140 + 22 + 6, 702), "sd15": (10, 57)}
    assert (len(quantizing), len(products)) == counts[model]


@pytest.mark.parametrize("model", ["sd15", "sdxl"])
def test_its_operations_are_those_that_the_server_counts(recorded: Recorded, model: str) -> None:
    from serve.catalog import MODEL_DEFAULTS
    from serve.models.flops import count

    stages, pipeline = recorded.of(model)
    side = MODEL_DEFAULTS[model].side
    cost = count(pipeline, side, side)
    assert stages.step.flop == pytest.approx(16 * cost.row_flop, rel=0.01)
    assert stages.decode.flop == pytest.approx(8 * cost.decode_flop, rel=0.01)
    assert stages.text.flop == pytest.approx(8 * cost.text_flop, rel=0.01)


def twin(change: Any = None, **options: Any) -> Any:
    """The recorded stages of a small model, changed."""
    from benchmarks.model_stages import Case, record

    return record(Case("tiny-sdxl", 4, 64), change=change, **options)


def layouts(stages: Any) -> int:
    return sum(kernel.kind == "layout" for kernel in stages.step.kernels)


@pytest.mark.parametrize("model", ["tiny-sd35", "tiny-flux"])
def test_a_transformers_slots_and_steps_copy_nothing_but_latents(model: str) -> None:
    from benchmarks.model_stages import Case, record

    stages = record(Case(model, 4, 64))
    assert stages.step.host_copies == ()
    latent = {"tiny-sd35": "(16, 8, 8)", "tiny-flux": "(16, 64)"}[model]
    assert stages.slots.host_copies == (f"{latent} in the server",)  # GPU finding 5


def test_own_kernels_take_fewer_bytes_and_no_layout_copies_for_the_same_operations() -> None:
    own, stock = twin(), twin(is_fused=False)
    assert layouts(own) <= 1 < 20 < layouts(stock)
    assert own.step.bytes < 0.8 * stock.step.bytes
    assert own.decode.bytes < 0.6 * stock.decode.bytes
    assert (own.step.flop, own.decode.flop) == (stock.step.flop, stock.decode.flop)


def test_weights_that_are_not_channels_last_cost_layout_copies() -> None:
    right, wrong = twin(), twin(channels_last=False)
    assert right.step.host_copies == ()
    assert layouts(wrong) > 1.2 * layouts(right)
    assert wrong.step.bytes > right.step.bytes
    assert wrong.step.flop == right.step.flop


def after_conv_in(then: Any) -> Any:
    """A change that puts something behind a UNet's first convolution."""
    return lambda pipeline: pipeline.unet.conv_in.register_forward_hook(
        lambda module, args, output: then(output)
    )


def test_a_value_read_by_the_host_within_a_step_raises() -> None:
    from torch._subclasses.fake_tensor import DataDependentOutputException

    with pytest.raises(DataDependentOutputException):
        twin(after_conv_in(lambda output: output * output.mean().item()))


def test_a_tensor_of_another_device_within_a_step_raises() -> None:
    from torch._subclasses.fake_tensor import FakeTensorDeviceMismatchError

    with pytest.raises(FakeTensorDeviceMismatchError):
        twin(after_conv_in(lambda output: output + torch.zeros(output.shape[-1])))


def test_a_copy_from_the_host_within_a_step_is_listed_with_its_module() -> None:
    stages = twin(after_conv_in(lambda output: output + torch.zeros(8).to(output)))
    assert stages.step.host_copies == ("(8,) in unet.conv_in",)


def launched(run: Any) -> list[tuple[str, int, int]]:
    """Kind, bytes read and bytes written of each kernel that `run` makes of a fake GPU."""
    from benchmarks.fake_cuda import CUDA, fake_gpu
    from benchmarks.recorder import recording

    with fake_gpu(), recording({}) as recorder:
        run(CUDA)
    return [
        (
            kernel.kind,
            kernel.passes * sum(ref.bytes for ref in kernel.reads),
            sum(ref.bytes for ref in kernel.writes),
        )
        for kernel in recorder.recorded().kernels
    ]


def linear(device: Any) -> None:
    with torch.device(device):
        x = torch.empty(4, 16)  # 256 B
        torch.nn.functional.linear(x, torch.empty(32, 16), torch.empty(32))  # 2,048 B, 128 B


def convolution(device: Any) -> None:
    x = torch.empty((2, 8, 4, 4), device=device)  # 1,024 B, in NCHW
    weight = torch.empty((16, 8, 3, 3), device=device).to(memory_format=torch.channels_last)
    torch.nn.functional.conv2d(x, weight, torch.empty(16, device=device), padding=1)


def group_norm(device: Any) -> None:
    x = torch.empty((2, 8, 4, 4), device=device, memory_format=torch.channels_last)
    torch.nn.functional.group_norm(x, 4)


def row(device: Any) -> None:
    x = torch.empty((100, 8), device=device)
    x.index_select(0, torch.empty(3, dtype=torch.int64, device=device))


def in_place(device: Any) -> None:
    x = torch.empty((4, 8), device=device)  # 128 B
    x[1:3].add_(x[0])  # 64 B and 32 B
    x[0].copy_(x[1])


def fp8_linear(device: Any) -> None:
    from serve.acceleration.fp8_layers import Fp8Linear

    with torch.device(device):
        layer = Fp8Linear(torch.empty(32, 16), torch.empty(32))
        layer(torch.empty(4, 16, dtype=torch.bfloat16))


def attention(device: Any) -> None:
    q, k = torch.empty((2, 2, 4, 8), device=device), torch.empty((2, 2, 6, 8), device=device)
    torch.nn.functional.scaled_dot_product_attention(q, k, value=k.clone())  # 512, 768, 768 B


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (linear, [("matmul", 256 + 2048 + 128, 512)]),  # the bias in its epilogue
        (
            convolution,
            [
                ("copy", 4608, 4608),  # the weight, by its own `to`
                ("layout", 1024, 1024),  # to NHWC
                ("conv", 1024 + 4608, 2048),
                ("pointwise", 2048 + 64, 2048),  # the bias
            ],
        ),
        (group_norm, [("layout", 1024, 1024), ("norm", 2 * 1024, 1024)]),  # to NCHW; read twice
        (row, [("copy", 3 * 32 + 3 * 8, 3 * 32)]),  # three rows, not all hundred
        (in_place, [("pointwise", 64 + 32, 64), ("copy", 32, 32)]),
        (attention, [("layout", 768, 768), ("attention", 512 + 768 + 768, 512)]),
    ],
)
def test_an_operator_reads_and_writes_what_its_kernels_do(run: Any, expected: Any) -> None:
    assert launched(run) == expected


def test_an_fp8_product_reads_a_byte_an_element_and_its_scales() -> None:
    *_, quantizing, product = launched(fp8_linear)  # before them, the weight is quantized
    assert quantizing == ("pointwise", 128, 64 + 16)
    assert product == ("matmul", 64 + 16 + 512 + 128 + 64, 256)  # each with scales, the bias; bf16


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("sdxxl:16", "no model 'sdxxl'; one of tiny"),
        ("stub:16", "no model 'stub'"),
        ("sdxl", "expected MODEL:ROWS or MODEL:ROWS:PX"),
        ("sdxl:many", "expected MODEL:ROWS"),
        ("sdxl:16:64:64", "expected MODEL:ROWS"),
        ("sdxl:15", "even where images have guidance"),
        ("sdxl:0", "1 or more"),
        ("sdxl:2:1023", "PX is a multiple of 8"),
    ],
)
def test_a_case_that_is_none_says_why(word: str, reason: str) -> None:
    from benchmarks.census import case_of

    with pytest.raises(argparse.ArgumentTypeError, match=reason):
        case_of(word)


def test_a_case_knows_its_images() -> None:
    from benchmarks.census import case_of

    assert (case_of("sdxl:16").px, case_of("sdxl:16").images) == (1024, 8)
    assert (case_of("sd15:4:768").px, case_of("sd15:4:768").images) == (768, 2)
    assert case_of("flux-schnell:3").images == 3  # without guidance


def test_the_command_ends_in_json_that_says_nothing_was_measured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from benchmarks.census import main

    assert main(["tiny:4"]) == 0
    printed = capsys.readouterr()
    told = json.loads(printed.out.splitlines()[-1])
    assert told["is_measured"] is False
    (case,) = told["cases"]
    assert case["kernels"] == sum(
        sums["kernels"] for sums in case["stages"]["step"]["by_kind"].values()
    )
    assert case["host_copies"] == []
    assert f"{case['images_per_s_on_paper']:.2f} images/s on paper" in printed.err
