"""Transformers in diffusers' UNets and their blocks, in fewer passes.

As in `serve.acceleration.fused.image_blocks`, each takes over the layers of the block it stands
for, under their names, and a block that it cannot stand for stays as it is. Tokens go back to
pixels without a copy to NCHW. In FP8 (`serve.acceleration.fp8`) norms write FP8 where nothing else
reads them, and texts are quantized once for all blocks.
"""

# mypy: disallow-untyped-calls=False
# diffusers ships no types.

from typing import Any

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import nn
from torch.nn import functional

from serve.acceleration.fp8_layers import Fp8Conv1x1
from serve.acceleration.fp8_rows import Fp8Rows, as_rows
from serve.acceleration.fused.attention import PlainAttention, are_fp8, is_linear, takes_fp8
from serve.acceleration.fused.fp8 import add_layer_norm_fp8, layer_norm_fp8
from serve.acceleration.fused.image_blocks import group_normed, is_affine
from serve.acceleration.fused.ops import LAST, add_layer_norm


class FusedTransformer(nn.Module):
    """A `Transformer2DModel` over the pixels of images, which stay in channels_last throughout."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.norm, self.proj_in = model.norm, model.proj_in
        self.transformer_blocks = model.transformer_blocks
        self.proj_out = model.proj_out

    @staticmethod
    def stands_for(model: nn.Module) -> bool:
        """Whether a module is such a model, and its blocks ask for nothing but texts."""
        known: Any = model
        return (
            type(model) is Transformer2DModel
            and known.is_input_continuous
            and is_affine(known.norm)
            and all(_is_projection(layer) for layer in (known.proj_in, known.proj_out))
            and all(FusedBlock.stands_for(block) for block in known.transformer_blocks)
        )

    def forward(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        return_dict: bool = True,
        **others: Any,
    ) -> Any:
        """Images (n, c, h, w) and texts (n, tokens, width) to images.

        Raises:
            ValueError: Masks or other extras of diffusers' own module are given.
        """
        refuse(others)
        n, _, height, width = hidden_states.shape
        residual = hidden_states.contiguous(memory_format=LAST)
        x = group_normed(self.norm, residual, silu=False).permute(0, 2, 3, 1)
        tokens = _projected(self.proj_in, x.reshape(n, height * width, -1))
        texts = self._for_all_blocks(encoder_hidden_states)
        for block in self.transformer_blocks:
            tokens = block(tokens, encoder_hidden_states=texts)
        tokens = _projected(self.proj_out, tokens)
        images = tokens.reshape(n, height, width, -1).permute(0, 3, 1, 2) + residual
        return Transformer2DModelOutput(sample=images) if return_dict else (images,)

    def _for_all_blocks(self, texts: torch.Tensor | None) -> torch.Tensor | Fp8Rows | None:
        """The texts, quantized once where nothing but FP8 products reads them."""
        readers = [
            layer
            for block in self.transformer_blocks
            for layer in (block.attn2.to_k, block.attn2.to_v)
        ]
        plain = all(
            isinstance(block.attn2.processor, PlainAttention) for block in self.transformer_blocks
        )
        if texts is None or not (plain and are_fp8(readers)):
            return texts
        return as_rows(texts)


class FusedBlock(nn.Module):
    """A `BasicTransformerBlock`: its residual sums and the norms after them are one pass each.

    Where what a norm feeds computes in FP8, that pass writes FP8.
    """

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.norm1, self.attn1 = block.norm1, block.attn1
        self.norm2, self.attn2 = block.norm2, block.attn2
        self.norm3, self.ff = block.norm3, block.ff

    @staticmethod
    def stands_for(block: nn.Module) -> bool:
        """Whether a module is such a block with plain layer norms and two attentions."""
        known: Any = block
        return (
            type(block) is BasicTransformerBlock
            and known.norm_type == "layer_norm"
            and known.pos_embed is None
            and known.attn2 is not None
            and not known.only_cross_attention
            and known._chunk_size is None
            and not hasattr(known, "fuser")
            and all(is_affine(norm) for norm in (known.norm1, known.norm2, known.norm3))
        )

    def forward(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | Fp8Rows | None = None,
        **others: Any,
    ) -> torch.Tensor:
        """Tokens (n, pixels, c) and texts, in FP8 if all that reads them is, to tokens.

        Raises:
            ValueError: Masks or other extras of diffusers' own module are given.
        """
        refuse(others)
        has_texts = encoder_hidden_states is not None
        x = self.attn1(_normed(self.norm1, hidden_states, fp8=takes_fp8(self.attn1)))
        total, normed = _added(
            self.norm2, x, hidden_states, fp8=takes_fp8(self.attn2, has_texts=has_texts)
        )
        x = self.attn2(normed, encoder_hidden_states=encoder_hidden_states)
        total, normed = _added(self.norm3, x, total, fp8=takes_fp8(self.ff))
        tokens: torch.Tensor = self.ff(normed) + total
        return tokens


def refuse(others: dict[str, Any]) -> None:
    """Refuse arguments of diffusers' own modules that a fused one does not know.

    Raises:
        ValueError: One of them is more than None.
    """
    given = [name for name, value in others.items() if value is not None]
    if given:
        raise ValueError(f"{', '.join(given)}: a fused denoiser takes none; use fused=false")


def _normed(norm: nn.LayerNorm, x: torch.Tensor, *, fp8: bool) -> torch.Tensor | Fp8Rows:
    if fp8:
        return layer_norm_fp8(x, norm.weight, norm.bias, norm.eps)
    plain: torch.Tensor = norm(x)
    return plain


def _added(
    norm: nn.LayerNorm, x: torch.Tensor, residual: torch.Tensor, *, fp8: bool
) -> tuple[torch.Tensor, torch.Tensor | Fp8Rows]:
    add = add_layer_norm_fp8 if fp8 else add_layer_norm
    return add(x, residual, norm.weight, norm.bias, norm.eps)


def _is_projection(layer: nn.Module) -> bool:
    """Whether a layer takes each token by itself."""
    known: Any = layer
    pointwise = type(layer) is nn.Conv2d and (
        (known.kernel_size, known.stride, known.padding, known.groups)
        == ((1, 1), (1, 1), (0, 0), 1)
    )
    return pointwise or is_linear(layer) or type(layer) is Fp8Conv1x1


def _projected(layer: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """Tokens (n, pixels, c) through a linear layer, or a 1x1 convolution over the pixels."""
    if type(layer) is nn.Conv2d:  # as a product of matrices, which adds the bias itself
        return functional.linear(tokens, layer.weight.flatten(1), layer.bias)
    by_token = layer.linear if isinstance(layer, Fp8Conv1x1) else layer
    projected: torch.Tensor = by_token(tokens)
    return projected
