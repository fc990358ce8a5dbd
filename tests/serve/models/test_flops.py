"""FLOPs counted from loaded pipelines, against the published models' known costs."""

from typing import Any

import pytest

from serve.catalog import MODEL_DEFAULTS

torch = pytest.importorskip("torch")

CPU = torch.device("cpu")
TERA = 1e12
CLIP_L, CLIP_BIG_G, T5_XXL = 0.0133, 0.0979, 2.40  # TFLOP a prompt of 77, 77 and 256 tokens
TEXT = {
    "sd15": CLIP_L,
    "sdxl": CLIP_L + CLIP_BIG_G,
    "sd35-medium": CLIP_L + CLIP_BIG_G + T5_XXL,
    "flux-schnell": CLIP_L + T5_XXL,
}


def laid_out(model: str) -> Any:
    """A real pipeline under the meta device: as a loaded one, without its weights."""
    from serve.models.architectures import ARCHITECTURES

    lay_out, assemble = ARCHITECTURES[model]
    with torch.device("meta"):
        parts = lay_out()
    return assemble(parts)


@pytest.mark.parametrize(
    ("model", "side", "row_tflop", "decode_tflop"),
    [
        ("sd15", 512, 0.8033, 2.515),
        ("sdxl", 1024, 6.761, 10.47),
        ("sdxl", 768, 3.641, 2.515 * (768 / 512) ** 2),  # the decoder's attention adds < 2%
        ("sdxl", 512, 1.589, 2.515),
        ("sd35-medium", 1024, 11.25, 10.47),  # 333 text tokens: 77 of CLIP and 256 of T5
        ("flux-schnell", 1024, 69.5, 10.47),  # 256 text tokens
    ],
)
def test_the_real_models_cost_what_is_known(
    model: str, side: int, row_tflop: float, decode_tflop: float
) -> None:
    from serve.models.flops import count

    cost = count(laid_out(model), side, side)
    assert cost.row_flop / TERA == pytest.approx(row_tflop, rel=0.01)
    assert cost.decode_flop / TERA == pytest.approx(decode_tflop, rel=0.02 if side == 768 else 0.01)
    assert cost.text_flop / TERA == pytest.approx(TEXT[model], rel=0.01)


@pytest.mark.parametrize("model", ["tiny", "tiny-sdxl", "tiny-sd35", "tiny-flux"])
def test_a_loaded_pipeline_is_counted_in_inference_mode_and_left_alone(model: str) -> None:
    from serve.models.architectures import build_random
    from serve.models.flops import Cost, count

    pipeline = build_random(model, CPU, torch.float32)
    side = MODEL_DEFAULTS[model].side
    costs = {}
    with torch.inference_mode():
        for width, height in ((side, side), (2 * side, side), (side, 2 * side)):
            costs[width, height] = count(pipeline, width, height)
    square, wide, tall = costs.values()
    assert square == count(laid_out(model), side, side)
    assert square.text_flop == wide.text_flop
    assert 2 * square.decode_flop < wide.decode_flop < 2.5 * square.decode_flop  # and attention
    assert square.row_flop < wide.row_flop < 2.5 * square.row_flop  # and text's share
    assert wide == tall
    assert isinstance(square, Cost)
    assert pipeline.device == CPU


def test_sd3_without_its_t5_reads_less() -> None:
    from serve.models.flops import count

    pipeline = laid_out("tiny-sd35")
    whole = count(pipeline, 64, 64)
    pipeline.text_encoder_3 = None
    less = count(pipeline, 64, 64)
    assert less.row_flop == whole.row_flop  # zeros stand for T5's 256 tokens
    assert less.text_flop < whole.text_flop


@pytest.mark.parametrize(
    ("steps", "guided", "expected"),
    [
        (1, False, 1 * 100 + 3 + 20),
        (4, False, 4 * 100 + 3 + 20),
        (4, True, 2 * (4 * 100 + 3) + 20),  # the negative prompt is encoded and denoised too
    ],
)
def test_an_image_is_its_rows_and_one_decode(steps: int, guided: bool, expected: int) -> None:
    from serve.models.flops import Cost, image_flop

    cost = Cost(row_flop=100, decode_flop=20, text_flop=3)
    assert image_flop(cost, steps, guided=guided) == expected


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_a_pipeline_on_a_gpu_counts_the_same_and_takes_no_memory_there() -> None:
    from serve.models.architectures import build_random
    from serve.models.flops import count

    pipeline = build_random("sd15", torch.device("cuda"), torch.bfloat16)
    before = torch.cuda.memory_allocated()
    assert count(pipeline, 512, 512) == count(laid_out("sd15"), 512, 512)
    assert torch.cuda.memory_allocated() == before
