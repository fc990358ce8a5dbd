"""The kinds of pipelines behind `serve.models.network.Network`: SD's, SD 3.5's, FLUX's."""

# mypy: disallow-untyped-calls=False
# diffusers ships no types.

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from diffusers import FluxPipeline, StableDiffusion3Pipeline, StableDiffusionXLPipeline

from serve.models.components import T5_TOKENS
from serve.models.deep_features import ShallowUNet, WholeUNet
from serve.models.network import (
    Conditioning,
    Denoise,
    Depths,
    Network,
    embedded,
    noise,
    place,
    shift,
)

# Sizes whose few numbers are kept on the device.
SIZES = 512


def network_of(pipeline: Any) -> Network:
    """The network of a diffusers pipeline, whose denoiser is not to be trained any more."""
    network: Network
    if isinstance(pipeline, FluxPipeline):
        network = FluxNetwork(pipeline)
    elif isinstance(pipeline, StableDiffusion3Pipeline):
        network = Sd3Network(pipeline)
    else:
        network = UNetNetwork(pipeline)
    network.denoiser.requires_grad_(False)
    return network


class UNetNetwork:
    """Stable Diffusion 1.5 and XL: a convolutional UNet over latents of 4 channels."""

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline
        self.denoiser: torch.nn.Module = pipeline.unet
        self.device, self.dtype = place(self.denoiser)
        self._is_xl = isinstance(pipeline, StableDiffusionXLPipeline)
        self._time_ids = lru_cache(SIZES)(self._make_time_ids)

    def embed(self, texts: Sequence[str], *, negative: bool) -> list[Conditioning]:
        """SD1.5: (tokens, width). SDXL: that, and the pooled (width,)."""
        told = self.pipeline.encode_prompt(
            prompt=list(texts),
            device=self.device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=False,
        )
        if not self._is_xl:
            return [(row,) for row in told[0]]
        embeddings, pooled = told[0], told[2]
        if negative and self.pipeline.config.force_zeros_for_empty_prompt:
            # SDXL: no negative prompt is an embedding of zeros, not that of an empty string.
            bare = [i for i, text in enumerate(texts) if not text]
            embeddings[bare] = 0.0
            pooled[bare] = 0.0
        return list(zip(embeddings, pooled, strict=True))

    def condition(self, text: Conditioning, width: int, height: int) -> Conditioning:
        """SDXL is told the size it is to make: (original, top left of the crop, target)."""
        if not self._is_xl:
            return text
        return (*text, self._time_ids(width, height))

    def _make_time_ids(self, width: int, height: int) -> torch.Tensor:
        """(original, top left of the crop, target): a copy that the host waits for, once a size."""
        return torch.tensor(
            [height, width, 0, 0, height, width], device=self.device, dtype=self.dtype
        )

    def noise(self, seed: int, width: int, height: int) -> torch.Tensor:
        """Noise of shape (4, height/8, width/8)."""
        scale = self.pipeline.vae_scale_factor
        return noise(
            seed,
            (self.pipeline.unet.config.in_channels, height // scale, width // scale),
            self.dtype,
        )

    def timesteps(self, steps: int, width: int, height: int) -> dict[str, Any]:
        """Nothing: the scheduler knows."""
        return {}

    def denoise(self, width: int, height: int, denoiser: torch.nn.Module | None = None) -> Denoise:
        """The UNet's call."""
        unet: Any = self.denoiser if denoiser is None else denoiser

        def call(x: torch.Tensor, t: torch.Tensor, told: Conditioning) -> torch.Tensor:
            output: torch.Tensor = unet(x, t, **self._arguments(told), return_dict=False)[0]
            return output

        return call

    def denoise_by_depth(self, layers: int, denoiser: torch.nn.Module | None = None) -> Depths:
        """The UNet's call, whole and shallow."""
        unet = self.denoiser if denoiser is None else denoiser
        whole_unet, shallow_unet = WholeUNet(unet, layers), ShallowUNet(unet, layers)

        def whole(
            x: torch.Tensor, t: torch.Tensor, told: Conditioning
        ) -> tuple[torch.Tensor, torch.Tensor]:
            return whole_unet(x, t, **self._arguments(told))

        def shallow(x: torch.Tensor, t: torch.Tensor, told: Conditioning) -> torch.Tensor:
            *texts, deep = told
            return shallow_unet(deep, x, t, **self._arguments(tuple(texts)))

        return Depths(whole, shallow)

    def _arguments(self, told: Conditioning) -> dict[str, Any]:
        """A conditioning by the names of the UNet's arguments."""
        added = {"text_embeds": told[1], "time_ids": told[2]} if self._is_xl else None
        return {"encoder_hidden_states": told[0], "added_cond_kwargs": added}

    def unpack(self, latents: torch.Tensor, width: int, height: int) -> torch.Tensor:
        """They are in the VAE's layout already."""
        return latents

    def stock_arguments(
        self, texts: Conditioning, negatives: Conditioning | None, guidance_scale: float
    ) -> dict[str, Any]:
        """Embeddings in place of prompts."""
        return embedded(texts, negatives) | {"guidance_scale": guidance_scale}


class Sd3Network:
    """Stable Diffusion 3.5: a transformer over latents of 16 channels, text in one sequence."""

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline
        self.denoiser: torch.nn.Module = pipeline.transformer
        self.device, self.dtype = place(self.denoiser)

    def embed(self, texts: Sequence[str], *, negative: bool) -> list[Conditioning]:
        """CLIP's and T5's tokens in one sequence (77 + 256, width), and the pooled (width,)."""
        embeddings, _, pooled, _ = self.pipeline.encode_prompt(
            prompt=list(texts),
            prompt_2=None,
            prompt_3=None,
            device=self.device,
            do_classifier_free_guidance=False,
            max_sequence_length=T5_TOKENS,
        )
        return list(zip(embeddings, pooled, strict=True))

    def condition(self, text: Conditioning, width: int, height: int) -> Conditioning:
        """The text alone."""
        return text

    def noise(self, seed: int, width: int, height: int) -> torch.Tensor:
        """Noise of shape (16, height/8, width/8)."""
        scale = self.pipeline.vae_scale_factor
        channels = self.pipeline.transformer.config.in_channels
        return noise(seed, (channels, height // scale, width // scale), self.dtype)

    def timesteps(self, steps: int, width: int, height: int) -> dict[str, Any]:
        """The shift by size, where the scheduler wants one."""
        config = self.pipeline.scheduler.config
        if not config.get("use_dynamic_shifting"):
            return {}
        patch = self.pipeline.vae_scale_factor * self.pipeline.transformer.config.patch_size
        return {"mu": shift(config, (width // patch) * (height // patch), max_shift=1.16)}

    def denoise(self, width: int, height: int, denoiser: torch.nn.Module | None = None) -> Denoise:
        """The transformer's call."""
        transformer: Any = self.denoiser if denoiser is None else denoiser

        def call(x: torch.Tensor, t: torch.Tensor, told: Conditioning) -> torch.Tensor:
            output: torch.Tensor = transformer(
                hidden_states=x,
                timestep=t,
                encoder_hidden_states=told[0],
                pooled_projections=told[1],
                return_dict=False,
            )[0]
            return output

        return call

    def denoise_by_depth(self, layers: int, denoiser: torch.nn.Module | None = None) -> Depths:
        """Not offered: a transformer has no levels."""
        raise NotImplementedError("deep features are reused in UNets only")

    def unpack(self, latents: torch.Tensor, width: int, height: int) -> torch.Tensor:
        """They are in the VAE's layout already."""
        return latents

    def stock_arguments(
        self, texts: Conditioning, negatives: Conditioning | None, guidance_scale: float
    ) -> dict[str, Any]:
        """Embeddings in place of prompts."""
        return embedded(texts, negatives) | {"guidance_scale": guidance_scale}


class FluxNetwork:
    """FLUX.1-schnell: a transformer over 2 x 2 patches of latents, in rows of a sequence."""

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline
        self.denoiser: torch.nn.Module = pipeline.transformer
        self.device, self.dtype = place(self.denoiser)

    def embed(self, texts: Sequence[str], *, negative: bool) -> list[Conditioning]:
        """T5's tokens (256, width), and CLIP's pooled (width,)."""
        embeddings, pooled, _ = self.pipeline.encode_prompt(
            prompt=list(texts),
            prompt_2=None,
            device=self.device,
            max_sequence_length=T5_TOKENS,
        )
        return list(zip(embeddings, pooled, strict=True))

    def condition(self, text: Conditioning, width: int, height: int) -> Conditioning:
        """The text alone."""
        return text

    def noise(self, seed: int, width: int, height: int) -> torch.Tensor:
        """Noise of shape (patches, 64), drawn as (16, height/8, width/8)."""
        rows, columns = self._patches(width, height)
        channels = self.pipeline.transformer.config.in_channels // 4
        drawn = noise(seed, (channels, 2 * rows, 2 * columns), self.dtype)
        packed: torch.Tensor = self.pipeline._pack_latents(
            drawn[None], 1, channels, 2 * rows, 2 * columns
        )[0]
        return packed

    def timesteps(self, steps: int, width: int, height: int) -> dict[str, Any]:
        """Even noise levels from 1 to 1/steps, and the shift by size."""
        rows, columns = self._patches(width, height)
        mu = shift(self.pipeline.scheduler.config, rows * columns, max_shift=1.15)
        return {"sigmas": np.linspace(1.0, 1.0 / steps, steps), "mu": mu}

    def denoise(self, width: int, height: int, denoiser: torch.nn.Module | None = None) -> Denoise:
        """The transformer's call, with the places of this size's patches."""
        transformer: Any = self.denoiser if denoiser is None else denoiser
        rows, columns = self._patches(width, height)
        device, dtype = self.device, self.dtype
        with device:  # made there: a copy from the host would wait for the device
            image_places = self.pipeline._prepare_latent_image_ids(1, rows, columns, device, dtype)
        text_places = torch.zeros(T5_TOKENS, 3, device=device, dtype=dtype)

        def call(x: torch.Tensor, t: torch.Tensor, told: Conditioning) -> torch.Tensor:
            output: torch.Tensor = transformer(
                hidden_states=x,
                timestep=t.to(x.dtype) / 1000,
                guidance=None,
                encoder_hidden_states=told[0],
                pooled_projections=told[1],
                txt_ids=text_places,
                img_ids=image_places,
                return_dict=False,
            )[0]
            return output

        return call

    def denoise_by_depth(self, layers: int, denoiser: torch.nn.Module | None = None) -> Depths:
        """Not offered: a transformer has no levels."""
        raise NotImplementedError("deep features are reused in UNets only")

    def unpack(self, latents: torch.Tensor, width: int, height: int) -> torch.Tensor:
        """Patches back into (images, 16, height/8, width/8)."""
        unpacked: torch.Tensor = self.pipeline._unpack_latents(
            latents, height, width, self.pipeline.vae_scale_factor
        )
        return unpacked

    def stock_arguments(
        self, texts: Conditioning, negatives: Conditioning | None, guidance_scale: float
    ) -> dict[str, Any]:
        """Embeddings in place of prompts; guidance in the classifier-free sense."""
        scale = {} if negatives is None else {"true_cfg_scale": guidance_scale}
        return embedded(texts, negatives) | scale

    def _patches(self, width: int, height: int) -> tuple[int, int]:
        """Rows and columns of patches."""
        side = 2 * self.pipeline.vae_scale_factor
        return height // side, width // side
