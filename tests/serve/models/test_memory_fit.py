"""Whether a model fits, by shapes alone. torch comes inside."""

import json
from pathlib import Path
from typing import Any

import pytest

from serve.settings import Settings
from tests.serve.diffusing import quiet

torch = pytest.importorskip("torch")
pytestmark = quiet

GB = 10**9


@pytest.mark.parametrize(
    ("model", "gigabytes"),
    [
        # parameters x 2 bytes: UNet 860 M + VAE 84 M + CLIP-L 123 M
        ("sd15", 2 * (0.860 + 0.084 + 0.123)),
        # UNet 2.57 B + VAE 84 M + CLIP-L 123 M + CLIP-bigG 695 M: 6.9 GB
        ("sdxl", 2 * (2.567 + 0.084 + 0.123 + 0.695)),
        # MMDiT 2.47 B + VAE 84 M + CLIP-L 124 M + CLIP-bigG 695 M + T5-XXL 4.76 B
        ("sd35-medium", 2 * (2.47 + 0.084 + 0.124 + 0.695 + 4.762)),
        # 11.9 B + VAE 84 M + CLIP-L 123 M + T5-XXL 4.76 B: 34 GB
        ("flux-schnell", 2 * (11.90 + 0.084 + 0.123 + 4.762)),
    ],
)
def test_weights_are_the_models_own(model: str, gigabytes: float) -> None:
    from serve.models.memory_estimate import pipeline_of, weight_bytes

    assert weight_bytes(pipeline_of(model, torch.bfloat16)) / 1e9 == pytest.approx(
        gigabytes, rel=0.01
    )


def test_the_peak_is_what_is_alive_at_once() -> None:
    from serve.models.memory_estimate import peak_bytes

    def run() -> Any:
        x = torch.empty(1000)  # 4,000 bytes, alive throughout
        for _ in range(5):
            y = x + 1  # 4,000 more, of which the last goes as this one comes: 8,000
            y.add_(1)
            y = y[:10]  # a view keeps all of it
        return x

    assert peak_bytes(run) == 3 * 4000


def test_attention_holds_no_scores() -> None:
    from serve.models.memory_estimate import peak_bytes

    def run() -> Any:
        q = torch.empty(1, 2, 4096, 64)
        return torch.nn.functional.scaled_dot_product_attention(q, q, q)

    assert peak_bytes(run) == 2 * (2 * 4096 * 64 * 4)


def test_a_step_grows_with_the_batch_and_the_pixels() -> None:
    from serve.models.memory_fit import estimate

    one = estimate(Settings(max_batch=1), torch.float32)
    four = estimate(Settings(max_batch=4), torch.float32)
    assert (one.images, four.images) == (1, 4)
    assert four.image_bytes == pytest.approx(one.image_bytes, rel=0.1)
    assert (four.weights_bytes, four.decode_bytes) == (one.weights_bytes, one.decode_bytes)
    large = estimate(Settings(max_batch=1, sizes="128x128"), torch.float32)
    # a little less than four times: the text's share is the same
    assert large.image_bytes == pytest.approx(4 * one.image_bytes, rel=0.2)
    assert large.decode_bytes == pytest.approx(4 * one.decode_bytes, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "total_gb"),
    [
        # weights as above; a step's tensors and a decoded image on top, by the same count
        ("sd15", (2.5, 4.0)),
        ("sdxl", (10.0, 12.5)),
        ("sd35-medium", (19.0, 22.5)),
        ("flux-schnell", (40.0, 45.0)),
    ],
)
def test_real_models_can_be_estimated(model: Any, total_gb: tuple[float, float]) -> None:
    from serve.models.memory_fit import estimate

    need = estimate(Settings(model=model), torch.bfloat16)
    assert total_gb[0] < need.total_bytes / 1e9 < total_gb[1]


def test_a_model_that_cannot_be_estimated_is_let_in(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from serve.devices.torch_device import Card
    from serve.models import memory_fit

    def fail(*args: Any) -> Any:
        raise NotImplementedError("no meta kernel")

    monkeypatch.setattr(memory_fit, "pipeline_of", fail)
    card = Card(name="X", uuid="", capability="9.0", mem_total_bytes=1, mem_free_bytes=1)
    assert memory_fit.room_fault(Settings(), torch.bfloat16, card) is None
    assert "what tiny needs cannot be estimated: no meta kernel" in caplog.text


NEED: dict[str, Any] = {
    "weights_bytes": 7 * GB, "images": 8, "image_bytes": GB // 2, "decode_bytes": 2 * GB
}  # fmt: skip


@pytest.mark.parametrize(
    ("free", "total", "told"),
    [
        (13.0, 80.0, None),  # 7 + 8 x 0.5 + 2
        (12.9, 13.0, "has 12.9 GB free of 13.0 GB: max_batch=7 fits"),
        (10.0, 80.0, "has 10.0 GB free of 80.0 GB, 70.0 GB being in use already: max_batch=2 fits"),
        # no image of 1024: 2.5 GB grow with the pixels, and 1.6 are left: 1024 sqrt(1.6 / 2.5)
        (8.6, 9.0, "free of 9.0 GB: sizes=816x816 with max_batch=1 fits"),
        (7.0, 8.0, "free of 8.0 GB: model=sd15 would fit, with max_batch=1"),
        (1.0, 8.0, "no real model fits: end what holds the memory"),
        (None, 8.0, None),
    ],
)
def test_what_fits_instead(
    free: float | None, total: float, told: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from serve.devices.torch_device import Card
    from serve.models import memory_fit

    smaller = {"sd15": 2 * GB, "sd35-medium": 17 * GB, "flux-schnell": 34 * GB}

    def estimated(settings: Settings, dtype: Any) -> memory_fit.Need:
        if settings.model == "sdxl":
            return memory_fit.Need(**NEED)
        assert settings.max_batch == 1
        return memory_fit.Need(**{**NEED, "weights_bytes": smaller[settings.model], "images": 1})

    monkeypatch.setattr(memory_fit, "estimate", estimated)
    card = Card(
        name="H200", uuid="GPU-1", capability="9.0", mem_total_bytes=int(total * GB),
        mem_free_bytes=None if free is None else int(free * GB),
    )  # fmt: skip
    fault = memory_fit.room_fault(Settings(model="sdxl"), torch.bfloat16, card)
    if told is None:
        assert fault is None
        return
    assert fault is not None
    assert fault.startswith(
        "sdxl needs 13.0 GB by estimate (weights 7.0 GB, max_batch=8 4.0 GB, decoding 2.0 GB) and "
    )
    assert told in fault


def test_a_folders_weights_are_counted_by_their_headers(tmp_path: Path) -> None:
    from serve.models.loading import load
    from serve.models.memory_fit import folder_bytes

    pipeline = load("tiny", "random", torch.device("cpu"))
    pipeline.save_pretrained(tmp_path)
    modules = (pipeline.unet, pipeline.vae, pipeline.text_encoder)
    numbers = sum(each.numel() for module in modules for each in module.parameters())
    assert folder_bytes(tmp_path, 2) == pytest.approx(2 * numbers, rel=1e-3)
    assert folder_bytes(tmp_path, 4) == pytest.approx(4 * numbers, rel=1e-3)
    # what diffusers does not load is not counted: a variant, and what the index leaves out
    unet = tmp_path / "unet" / "diffusion_pytorch_model.safetensors"
    unet.with_name("diffusion_pytorch_model.fp16.safetensors").write_bytes(unet.read_bytes())
    (tmp_path / "other").mkdir()
    assert folder_bytes(tmp_path, 2) == pytest.approx(2 * numbers, rel=1e-3)
    # shards
    unet.rename(unet.with_name("a-00001-of-00001.safetensors"))
    weights = {"weight_map": {"x": "a-00001-of-00001.safetensors"}}
    (tmp_path / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text(
        json.dumps(weights)
    )
    assert folder_bytes(tmp_path, 2) == pytest.approx(2 * numbers, rel=1e-3)


@pytest.mark.parametrize("content", [None, b"", b"\xff" * 8, b"\2\0\0\0\0\0\0\0[]"])
def test_a_folder_that_cannot_be_read_is_left_to_loading(
    content: bytes | None, tmp_path: Path
) -> None:
    from serve.models.memory_fit import folder_bytes

    (tmp_path / "unet").mkdir()
    index = {"_class_name": "x", "unet": ["diffusers", "x"]}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    if content is not None:
        (tmp_path / "unet" / "model.safetensors").write_bytes(content)
    assert folder_bytes(tmp_path, 2) is None
