"""Fused blocks in diffusers' models: the same images, the same parameters, fewer passes."""

# mypy: disallow-untyped-calls=False
# diffusers ships no types.

import collections
import copy
import functools
from typing import Any

import pytest
import torch
from diffusers.models.activations import GEGLU
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention, AttnProcessor
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from serve.acceleration.fused.fusion import Fused, fuse, fuse_pipeline
from serve.acceleration.fused.image_blocks import FusedResnet
from serve.acceleration.fused.transformers import FusedBlock, FusedTransformer
from serve.diffusion.startup import lay_out
from serve.models.architectures import sd15, sdxl
from tests.serve.diffusing import EXACT, TWINS, Together, error, levels, quiet, recipe, row, stock
from tests.serve.diffusing import twin as stock_twin

pytestmark = quiet

CPU = torch.device("cpu")


@functools.cache
def fused_twin(model: str) -> tuple[Any, Fused]:
    pipeline = copy.deepcopy(stock_twin(model))
    lay_out(pipeline)
    return pipeline, fuse_pipeline(pipeline, CPU)


@pytest.mark.parametrize("model", TWINS)
def test_fused_twins_make_the_stock_pipelines_images(model: str) -> None:
    pipeline, done = fused_twin(model)
    assert done.plain == "the device is 'cpu'"
    assert done.resnets >= 10  # the decoder's
    how, asked = recipe(model, width=96, guidance_scale=3.0), row(negative_prompt="a blue fox")
    (latent,) = Together(pipeline).run([(0, how, asked)]).values()
    assert error(latent, stock(stock_twin(model), how, asked)) <= EXACT
    with torch.inference_mode():
        decoded = [
            each.vae.decode(latent.reshape(-1, each.vae.config.latent_channels, 8, 12))[0]
            for each in (pipeline, stock_twin(model))
        ]
    assert error(*decoded) <= EXACT


def test_a_fused_pipeline_serves_its_own_call() -> None:
    """Policies `none` and `request` run it."""
    how = recipe("tiny", guidance_scale=3.0)
    images = [
        stock(each, how, row(), output_type="np")
        for each in (fused_twin("tiny")[0], stock_twin("tiny"))
    ]
    assert levels(*(255 * image for image in images)) <= 1


@pytest.mark.parametrize("model", ["tiny", "tiny-sdxl"])
def test_parameters_and_their_names_stay(model: str) -> None:
    unet = copy.deepcopy(stock_twin(model).unet)
    before = {name: value.data_ptr() for name, value in unet.state_dict().items()}
    first = fuse(unet)
    assert {name: value.data_ptr() for name, value in unet.state_dict().items()} == before
    assert first.resnets == 8
    assert set(fuse(unet).__struct_fields__) == set(first.__struct_fields__)
    assert fuse(unet) == Fused(  # once is enough
        resnets=0, transformers=0, blocks=0, geglus=0, attentions=0, norms=0
    )


def resnet(**changes: Any) -> nn.Module:
    told = {"in_channels": 8, "temb_channels": 4, "groups": 2}
    return ResnetBlock2D(**{**told, **changes}).eval()


def block(**changes: Any) -> nn.Module:
    told = {"dim": 8, "num_attention_heads": 2, "attention_head_dim": 4, "cross_attention_dim": 6}
    return BasicTransformerBlock(**{**told, **changes}).eval()


@pytest.mark.parametrize(
    ("kind", "module"),
    [
        (FusedResnet, resnet(output_scale_factor=2.0)),
        (FusedResnet, resnet(non_linearity="gelu")),
        (FusedResnet, resnet(time_embedding_norm="scale_shift")),
        (FusedResnet, resnet(up=True)),
        (FusedResnet, resnet(dropout=0.1)),
        (FusedResnet, resnet(skip_time_act=True)),
        (FusedResnet, nn.Conv2d(8, 8, 3)),
        (FusedBlock, block(norm_type="ada_norm", num_embeds_ada_norm=4)),
        (FusedBlock, block(norm_elementwise_affine=False)),
        (FusedBlock, block(cross_attention_dim=None)),
        (FusedBlock, block(only_cross_attention=True)),
        (FusedBlock, block(attention_type="gated")),
        (FusedBlock, block(positional_embeddings="sinusoidal", num_positional_embeddings=4)),
        (FusedTransformer, Transformer2DModel(2, 4, in_channels=8, norm_num_groups=2)),
    ],
)
def test_what_is_not_known_stays(kind: Any, module: nn.Module) -> None:
    assert not kind.stands_for(module)


@pytest.mark.parametrize(
    "changes", [{}, {"out_channels": 16}, {"conv_shortcut_bias": False, "out_channels": 16}]
)
def test_a_resnet_is_the_stock_one(changes: dict[str, Any]) -> None:
    module = resnet(**changes)
    assert FusedResnet.stands_for(module)
    x, time = torch.randn(2, 8, 6, 5), torch.randn(2, 4)
    with torch.inference_mode():
        assert error(FusedResnet(module)(x, time), module(x, time)) <= EXACT


@pytest.mark.parametrize("activation", ["geglu", "gelu"])
def test_a_block_is_the_stock_one_whatever_its_feed_forward(activation: str) -> None:
    module = block(activation_fn=activation)
    tokens, texts = torch.randn(2, 5, 8), torch.randn(2, 7, 6)
    fused = nn.ModuleList([copy.deepcopy(module)])
    done = fuse(fused)
    assert (done.blocks, done.geglus, done.attentions) == (1, int(activation == "geglu"), 2)
    with torch.inference_mode():
        expected = module(tokens, encoder_hidden_states=texts)
        assert error(fused[0](tokens, texts), expected) <= EXACT


def test_masks_are_refused_rather_than_dropped() -> None:
    fused = FusedBlock(block())
    with pytest.raises(ValueError, match=r"attention_mask: .*fused=false"):
        fused(torch.ones(1, 2, 8), torch.ones(1, 2, 6), attention_mask=torch.ones(1, 2))


@pytest.mark.parametrize("mask", [False, True])
def test_an_attention_with_a_mask_runs_as_it_did(mask: bool) -> None:
    stock_attention = Attention(8, cross_attention_dim=6, heads=2, dim_head=4).eval()
    fused = copy.deepcopy(stock_attention)
    assert fuse(fused).attentions == 1
    inputs: list[Any] = [torch.randn(2, 5, 8), torch.randn(2, 7, 6)]
    if mask:
        inputs.append(torch.zeros(2, 1, 7).index_fill(2, torch.tensor([3]), -1e4))
    with torch.inference_mode():
        assert error(fused(*inputs), stock_attention(*inputs)) <= EXACT


def test_an_attention_of_another_processor_stays() -> None:
    attention = Attention(8, heads=2, dim_head=4, processor=AttnProcessor())
    assert fuse(attention).attentions == 0
    assert type(attention.processor) is AttnProcessor
    assert fuse(GEGLU(4, 4)).geglus == 0  # alone it is nobody's part


def attention(query: Any, key: Any, value: Any, **others: Any) -> torch.Tensor:
    """In the layout that GPU kernels of attention give their result."""
    n, heads, tokens, width = query.shape
    return torch.empty(n, tokens, heads, width, dtype=query.dtype).transpose(1, 2)


class Operators(TorchDispatchMode):
    """Counts the operators that were called; convolutions lay out their results as cuDNN does."""

    def __init__(self) -> None:
        super().__init__()
        self.count: collections.Counter[str] = collections.Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count[func.name().split(".")[0]] += 1
        made = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.convolution.default:  # by its weights, whatever the input's is
            return torch.empty_like(made, memory_format=torch.channels_last)
        return made


@pytest.mark.parametrize(
    ("build", "width", "counts"),
    [
        # SDXL: 17 resnets; 11 transformers of 70 blocks, 2 attentions each; conv_norm_out.
        (sdxl, 2048, {"resnets": 17, "transformers": 11, "blocks": 70, "attentions": 140}),
        (sd15, 768, {"resnets": 22, "transformers": 16, "blocks": 16, "attentions": 32}),
    ],
)
def test_the_real_unets_keep_their_layout_and_lose_their_idle_passes(
    build: Any, width: int, counts: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """GPU finding 11, by a run on the meta device."""
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", attention)
    with torch.device("meta"):
        unet = build()["unet"].bfloat16().eval().to(memory_format=torch.channels_last)
        shapes = (2, 4, 64, 64), (2, 77, width), (2, 1280), (2, 6)
        latents, text, pooled, sizes = (torch.empty(s, dtype=torch.bfloat16) for s in shapes)
        added = {"text_embeds": pooled, "time_ids": sizes}

        def run() -> collections.Counter[str]:
            with Operators() as seen, torch.no_grad():  # inference mode would hide what it clones
                unet(latents, torch.ones(()), text, added_cond_kwargs=added)
            counted: collections.Counter[str] = seen.count
            return counted

        before = run()
        done = fuse(unet)
        after = run()
    assert {name: getattr(done, name) for name in counts} == counts
    assert (done.geglus, done.norms) == (done.blocks, 1)
    # x / 1.0 after each resnet and attention; the time embedding has a division of its own
    assert before["aten::div"] - after["aten::div"] == done.resnets + done.attentions
    norms = 2 * done.resnets + done.transformers + 1
    assert before["aten::native_group_norm"] == norms == after["viralload::group_norm"]
    assert after["aten::native_group_norm"] == 0
    assert after["viralload::add_layer_norm"] == 2 * done.blocks
    assert after["aten::native_layer_norm"] == done.blocks
    assert after["viralload::add_bias"] == done.resnets
    # Tokens went back to pixels through a copy to NCHW, at least.
    assert before["aten::clone"] >= done.transformers
    assert after["aten::clone"] == 0
