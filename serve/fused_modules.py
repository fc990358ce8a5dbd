"""Blocks of diffusers' UNets and VAEs, computed by `serve.fused_ops` in fewer passes.

Each takes over the layers of the block it stands for, under their names: parameters are shared,
and a state dict reads the same. Its class method tells whether a block is of the kind it can
stand for; one that is not, as with other activations or scaled outputs, stays as it is.

Beside the norms, it leaves out what changes nothing: a bias goes into the pass that comes after
its convolution, a factor of 1.0 is not divided by, and tokens go back to pixels without a copy to
NCHW.
"""

# mypy: disallow-untyped-calls=False
# diffusers ships no types.

from typing import Any

import torch
from diffusers.models.activations import GEGLU
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import nn
from torch.nn import functional

from serve.fp8_layers import Fp8Conv1x1, Fp8Linear
from serve.fused_ops import LAST, add_bias, add_layer_norm, geglu, group_norm


class FusedNorm(nn.Module):
    """A group norm, and the SiLU after it: (n, c, h, w) to the same, in channels_last."""

    def __init__(self, norm: nn.GroupNorm, *, silu: bool) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias
        self._groups, self._eps, self._silu = norm.num_groups, norm.eps, silu

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The norm, and SiLU."""
        return group_norm(x, None, self.weight, self.bias, self._groups, self._eps, silu=self._silu)


class FusedResnet(nn.Module):
    """A `ResnetBlock2D`: 9 passes between its convolutions, where eager torch takes 29."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.norm1, self.conv1 = block.norm1, block.conv1
        self.time_emb_proj = block.time_emb_proj
        self.norm2, self.conv2 = block.norm2, block.conv2
        self.conv_shortcut = block.conv_shortcut

    @staticmethod
    def stands_for(block: nn.Module) -> bool:
        """Whether a module is such a block, without resampling, scaling or another activation."""
        known: Any = block
        return (
            type(block) is ResnetBlock2D
            and (known.time_embedding_norm == "default" or known.time_emb_proj is None)
            and known.time_embedding_norm != "scale_shift"
            and type(known.nonlinearity) is nn.SiLU
            and (known.upsample, known.downsample) == (None, None)
            and known.output_scale_factor == 1.0
            and known.dropout.p == 0
            and not known.skip_time_act
            and is_affine(known.norm1)
            and is_affine(known.norm2)
            and all(type(conv) is nn.Conv2d for conv in (known.conv1, known.conv2))
        )

    def forward(self, input_tensor: torch.Tensor, temb: torch.Tensor | None = None) -> torch.Tensor:
        """Images (n, c, h, w) and their time embedding (n, …) to images (n, c', h, w)."""
        x = _normed(self.norm1, input_tensor)
        x, bias = _without_bias(self.conv1, x)
        shift = torch.zeros_like(self.norm2.bias)[None] if bias is None else bias[None]
        if self.time_emb_proj is not None and temb is not None:
            shift = self.time_emb_proj(functional.silu(temb)) + shift
        x = _normed(self.norm2, x, shift)
        x, bias = _without_bias(self.conv2, x)
        if self.conv_shortcut is not None:
            input_tensor, more = _without_bias(self.conv_shortcut, input_tensor)
            bias = more if bias is None else bias if more is None else bias + more
        return x + input_tensor if bias is None else add_bias(x, input_tensor, bias)


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
        x = _normed(self.norm, residual, silu=False).permute(0, 2, 3, 1)
        tokens = _projected(self.proj_in, x.reshape(n, height * width, -1))
        for block in self.transformer_blocks:
            tokens = block(tokens, encoder_hidden_states=encoder_hidden_states)
        tokens = _projected(self.proj_out, tokens)
        images = tokens.reshape(n, height, width, -1).permute(0, 3, 1, 2) + residual
        return Transformer2DModelOutput(sample=images) if return_dict else (images,)


class FusedBlock(nn.Module):
    """A `BasicTransformerBlock`: its residual sums and the norms after them are one pass each."""

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
        encoder_hidden_states: torch.Tensor | None = None,
        **others: Any,
    ) -> torch.Tensor:
        """Tokens (n, pixels, c) and texts to tokens.

        Raises:
            ValueError: Masks or other extras of diffusers' own module are given.
        """
        refuse(others)
        x = self.attn1(self.norm1(hidden_states))
        total, normed = _added(self.norm2, x, hidden_states)
        x = self.attn2(normed, encoder_hidden_states=encoder_hidden_states)
        total, normed = _added(self.norm3, x, total)
        tokens: torch.Tensor = self.ff(normed) + total
        return tokens


class FusedGeglu(nn.Module):
    """A `GEGLU`: a projection, then half of its channels gated by the other half."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.proj = layer.proj

    @staticmethod
    def stands_for(layer: nn.Module) -> bool:
        """Whether a module is such a layer."""
        return type(layer) is GEGLU

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Tokens (…, c) to tokens (…, c')."""
        return geglu(self.proj(hidden_states))


class PlainAttention:
    """An attention's processor that divides by nothing and norms images in channels_last."""

    @staticmethod
    def stands_for(module: nn.Module) -> bool:
        """Whether a module is an attention without scales, masks or norms of queries and keys."""
        known: Any = module
        return (
            type(module) is Attention
            and type(known.processor) is AttnProcessor2_0
            and known.rescale_output_factor == 1.0
            and known.spatial_norm is None
            and (known.norm_q, known.norm_k, known.norm_cross) == (None, None, None)
            and (known.group_norm is None or is_affine(known.group_norm))
        )

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        temb: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Tokens (n, tokens, c), or images (n, c, h, w), to the same."""
        is_image = hidden_states.ndim == 4
        if attention_mask is not None or (attn.group_norm is not None and not is_image):
            stock: torch.Tensor = AttnProcessor2_0()(
                attn, hidden_states, encoder_hidden_states, attention_mask, temb
            )
            return stock
        x = residual = hidden_states
        if is_image:
            if attn.group_norm is not None:
                x = _normed(attn.group_norm, x, silu=False)
            x = x.permute(0, 2, 3, 1).flatten(1, 2)
        told = x if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = (
            each.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for each in (attn.to_q(x), attn.to_k(told), attn.to_v(told))
        )
        mixed = functional.scaled_dot_product_attention(query, key, value)
        y: torch.Tensor = attn.to_out[1](attn.to_out[0](mixed.transpose(1, 2).flatten(2)))
        if is_image:
            y = y.unflatten(1, residual.shape[2:]).permute(0, 3, 1, 2)
        return y + residual if attn.residual_connection else y


def is_affine(norm: nn.Module | None) -> bool:
    """Whether a norm is torch's own, with weights and biases."""
    known: Any = norm
    return type(norm) in (nn.GroupNorm, nn.LayerNorm) and not (
        known.weight is None or known.bias is None
    )


def refuse(others: dict[str, Any]) -> None:
    """Refuse arguments of diffusers' own modules that a fused one does not know.

    Raises:
        ValueError: One of them is more than None.
    """
    given = [name for name, value in others.items() if value is not None]
    if given:
        raise ValueError(f"{', '.join(given)}: a fused denoiser takes none; use fused=false")


def _normed(
    norm: nn.GroupNorm, x: torch.Tensor, shift: torch.Tensor | None = None, *, silu: bool = True
) -> torch.Tensor:
    return group_norm(x, shift, norm.weight, norm.bias, norm.num_groups, norm.eps, silu=silu)


def _added(
    norm: nn.LayerNorm, x: torch.Tensor, residual: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    return add_layer_norm(x, residual, norm.weight, norm.bias, norm.eps)


def _without_bias(conv: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """A convolution, and the bias that its caller still has to add; None: it is in."""
    if type(conv) is not nn.Conv2d:
        done: torch.Tensor = conv(x)
        return done, None
    y = functional.conv2d(
        x, conv.weight, None, conv.stride, conv.padding, conv.dilation, conv.groups
    )
    return y, conv.bias


def _is_projection(layer: nn.Module) -> bool:
    """Whether a layer takes each token by itself."""
    known: Any = layer
    pointwise = type(layer) is nn.Conv2d and (
        (known.kernel_size, known.stride, known.padding, known.groups)
        == ((1, 1), (1, 1), (0, 0), 1)
    )
    return pointwise or type(layer) in (nn.Linear, Fp8Linear, Fp8Conv1x1)


def _projected(layer: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """Tokens (n, pixels, c) through a linear layer, or a 1x1 convolution over the pixels."""
    if type(layer) is nn.Conv2d:  # as a product of matrices, which adds the bias itself
        return functional.linear(tokens, layer.weight.flatten(1), layer.bias)
    by_token = layer.linear if isinstance(layer, Fp8Conv1x1) else layer
    projected: torch.Tensor = by_token(tokens)
    return projected
