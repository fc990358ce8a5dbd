"""What differs between the four kinds of pipelines: text, latents, one call of the denoiser.

Everything else of the server treats an image as rows of tensors and knows no model. A
*conditioning* is the tuple of tensors, without a batch dimension, that stands for one text in the
denoiser's call. Latents are float32 in the denoiser's own layout; `unpack` gives the VAE's.
"""

# mypy: disallow-untyped-calls=False
# diffusers ships no types.

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

import msgspec
import torch
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from diffusers.utils.torch_utils import randn_tensor

Conditioning: TypeAlias = tuple[torch.Tensor, ...]
Denoise: TypeAlias = Callable[[torch.Tensor, torch.Tensor, Conditioning], torch.Tensor]


class Depths(msgspec.Struct, frozen=True):
    """A UNet's call, whole and shallow; see `serve.models.deep_features`.

    Attributes:
        whole: (latents, timesteps, conditionings) -> (output, deep features), in rows.
        shallow: The same with the deep features as the last conditioning -> output.
    """

    whole: Callable[[torch.Tensor, torch.Tensor, Conditioning], tuple[torch.Tensor, torch.Tensor]]
    shallow: Denoise


class Network(Protocol):
    """One diffusers pipeline, in the engine's terms.

    Attributes:
        pipeline: It.
        device: Where it is. Asked once: diffusers walks all modules to tell.
        dtype: Of its denoiser.
        denoiser: The module that is called once a step.
    """

    pipeline: Any
    device: torch.device
    dtype: torch.dtype
    denoiser: torch.nn.Module

    def embed(self, texts: Sequence[str], *, negative: bool) -> list[Conditioning]:
        """A conditioning a text; an absent negative prompt is the empty text."""
        ...

    def condition(self, text: Conditioning, width: int, height: int) -> Conditioning:
        """What the denoiser is told of an image: its text and, for SDXL, its size."""
        ...

    def noise(self, seed: int, width: int, height: int) -> torch.Tensor:
        """Unit noise of one image on the CPU, as the stock pipeline draws it; float32."""
        ...

    def timesteps(self, steps: int, width: int, height: int) -> dict[str, Any]:
        """What the pipeline hands to its scheduler's `set_timesteps` beside the steps."""
        ...

    def denoise(self, width: int, height: int, denoiser: torch.nn.Module | None = None) -> Denoise:
        """The denoiser for one size: (latents, timesteps, conditionings) -> output, in rows.

        Args:
            width: Pixels.
            height: Pixels.
            denoiser: The compiled denoiser; None: the plain one.
        """
        ...

    def denoise_by_depth(self, layers: int, denoiser: torch.nn.Module | None = None) -> Depths:
        """The denoiser whole and shallow, for any size.

        Args:
            layers: How many layers of the last up block a shallow call runs.
            denoiser: The compiled denoiser; None: the plain one.

        Raises:
            NotImplementedError: The denoiser is no UNet.
            ValueError: Its last up block has not so many layers.
        """
        ...

    def unpack(self, latents: torch.Tensor, width: int, height: int) -> torch.Tensor:
        """Latents (images, ...) as the VAE takes them: (images, channels, height/8, width/8)."""
        ...

    def stock_arguments(
        self, texts: Conditioning, negatives: Conditioning | None, guidance_scale: float
    ) -> dict[str, Any]:
        """The keyword arguments of the stock pipeline's call for batches of embedded texts."""
        ...


def place(module: torch.nn.Module) -> tuple[torch.device, torch.dtype]:
    """Where a module is, and in which type it computes."""
    parameter = next(module.parameters())
    return parameter.device, parameter.dtype


def noise(seed: int, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """What the stock pipelines draw for one image: on the CPU, in the denoiser's type."""
    generator = torch.Generator().manual_seed(seed)
    drawn: torch.Tensor = randn_tensor(
        (1, *shape), generator=generator, device=torch.device("cpu"), dtype=dtype
    )
    return drawn[0].float()


def shift(config: Any, patches: int, *, max_shift: float) -> float:
    """The pipelines' own reading of the scheduler's shift settings."""
    shift: float = calculate_shift(
        patches,
        config.get("base_image_seq_len", 256),
        config.get("max_image_seq_len", 4096),
        config.get("base_shift", 0.5),
        config.get("max_shift", max_shift),
    )
    return shift


def embedded(texts: Conditioning, negatives: Conditioning | None) -> dict[str, Any]:
    """Batches of embedded texts, and pooled ones where there are, by the pipelines' own names."""
    names = ["prompt_embeds", "pooled_prompt_embeds"]
    told: dict[str, Any] = dict(zip(names, texts, strict=False))
    if negatives is not None:
        told |= {f"negative_{name}": row for name, row in zip(names, negatives, strict=False)}
    return told
