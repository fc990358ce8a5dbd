"""Memory and values for a module laid out on the meta device, drawn on its device."""

# mypy: disallow-untyped-calls=False
# diffusers ships no types.

import math

import torch
from diffusers.models.embeddings import PatchEmbed, get_2d_sincos_pos_embed
from torch import nn
from transformers import PreTrainedModel
from transformers.models.t5.modeling_t5 import T5Attention

# A vector of weights belongs to a norm (LayerNorm, RMSNorm, T5's own), which starts as identity.
VECTORS = {"weight": 1.0, "bias": 0.0}


@torch.no_grad()
def materialize(
    module: nn.Module, device: torch.device, dtype: torch.dtype, generator: torch.Generator
) -> None:
    """Give a meta module memory and values on its device, in evaluation mode.

    Weights are drawn from N(0, 1/fan_in), so that a layer keeps the variance of its input: a
    residual stream of L layers grows as sqrt(L) at most, and activations stay finite at any depth.
    Norms start as the identity, biases at zero. T5 does not scale its attention scores; its queries
    are drawn smaller by the square root of a head's width instead, as in its own initialisation.

    Raises:
        NotImplementedError: The module has a buffer or a vector whose values are not known here.
    """
    nn.Module.to(module, dtype).to_empty(device=device).eval()  # diffusers' own to() warns
    if isinstance(module, PreTrainedModel):
        module.tie_weights()  # to_empty gave each end of a tie a memory of its own
    for layer in module.modules():
        for name, weight in layer.named_parameters(recurse=False):
            _draw(layer, name, weight, generator)
        for name, values in layer.named_buffers(recurse=False):
            _fill(layer, name, values)
    for layer in module.modules():
        if isinstance(layer, T5Attention):
            layer.q.weight.mul_(layer.key_value_proj_dim**-0.5)


def _draw(layer: nn.Module, name: str, weight: torch.Tensor, generator: torch.Generator) -> None:
    if weight.ndim < 2:
        if name not in VECTORS:
            raise NotImplementedError(f"no initial values known for {name} of {layer}")
        weight.fill_(VECTORS[name])
        return
    fan_in = 1 if isinstance(layer, nn.Embedding) else math.prod(weight.shape[1:])
    weight.normal_(0.0, fan_in**-0.5, generator=generator)


def _fill(layer: nn.Module, name: str, values: torch.Tensor) -> None:
    if name == "position_ids":
        values.copy_(torch.arange(values.shape[-1], device=values.device).expand_as(values))
    elif isinstance(layer, PatchEmbed) and name == "pos_embed":
        values.copy_(_sinusoids(layer, values))
    else:
        raise NotImplementedError(f"no initial values known for buffer {name} of {layer}")


def _sinusoids(layer: PatchEmbed, values: torch.Tensor) -> torch.Tensor:
    """The sines and cosines of each patch's row and column, as PatchEmbed itself computes them.

    Shape (1, patches, width); `values` is the buffer they are meant for.
    """
    table: torch.Tensor = get_2d_sincos_pos_embed(
        values.shape[-1],
        math.isqrt(values.shape[-2]),
        base_size=layer.base_size,
        interpolation_scale=layer.interpolation_scale,
        device=values.device,
        output_type="pt",
    )
    return table.unsqueeze(0)
