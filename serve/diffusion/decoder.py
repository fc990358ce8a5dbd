"""Latents to pixels: the VAE in capped batches, as the stock pipelines run it."""

# mypy: disallow-untyped-calls=False
# diffusers ships no types.

import contextlib
from collections.abc import Sequence
from typing import Any

import torch

from serve.diffusion.out_of_memory import split_on_oom
from serve.diffusion.stream_events import seconds, wait
from serve.engine.request import Decoded, Size
from serve.image_files import Pixels
from serve.models.network import Network

# A latent, and when it is ready on the stream that made it; None on a CPU.
Latent = tuple[torch.Tensor, torch.cuda.Event | None]

BATCH = 8
# Elements of the largest tensor, a quarter of what 32 bits can index: two images of 1024 px. More
# at once is no faster, and takes 2.5 GB of memory an image of 1024 px.
LARGEST_ELEMENTS = 2**29


class Decoder:
    """A pipeline's VAE; on a GPU it works on a stream of its own, beside the denoiser.

    Args:
        network: Whose VAE.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._vae: Any = network.pipeline.vae
        self._processor: Any = network.pipeline.image_processor
        self._device: torch.device = network.device
        is_cuda = self._device.type == "cuda"
        self._stream = torch.cuda.Stream(self._device, priority=-1) if is_cuda else None

    def batch(self, size: Size) -> int:
        """Most images of a size that are decoded at once.

        The largest tensor is what the last upsampling makes: the image's width and height, and the
        channels of the second of the VAE's levels (256 in all of Stable Diffusion's and FLUX's).
        """
        channels: Sequence[int] = self._vae.config.block_out_channels
        elements = channels[min(1, len(channels) - 1)] * size.width * size.height
        return max(1, min(BATCH, LARGEST_ELEMENTS // elements))

    @torch.inference_mode()
    def decode(self, size: Size, latents: Sequence[Latent]) -> list[Decoded[Pixels] | Exception]:
        """Images of shape (height, width, 3), uint8; waits until they are there."""
        made: list[Pixels | Exception] = []
        stream = torch.cuda.stream(self._stream) if self._stream else contextlib.nullcontext()
        most = self.batch(size)
        with stream:
            for i in range(0, len(latents), most):
                part = latents[i : i + most]
                made += split_on_oom(part, lambda some: self._run(size, some))
            end = wait(self._device)
        return [
            image
            if isinstance(image, Exception)
            else Decoded(image, None if ready is None or end is None else seconds(ready, end))
            for image, (_, ready) in zip(made, latents, strict=True)
        ]

    def _run(self, size: Size, latents: Sequence[Latent]) -> list[Pixels]:
        if self._stream is not None:
            for _, ready in latents:
                if ready is not None:
                    self._stream.wait_event(ready)
        stacked = torch.stack([latent for latent, _ in latents])
        unpacked = self._network.unpack(stacked, size.width, size.height)
        scaled = self._scaled(unpacked).to(self._vae.dtype)
        decoded = self._vae.decode(scaled, return_dict=False)[0]
        unit = self._processor.postprocess(decoded, output_type="pt")
        pixels = (unit.float() * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
        if self._stream is None:
            return list(pixels.numpy())
        host = torch.empty(pixels.shape, dtype=torch.uint8, pin_memory=True)
        host.copy_(pixels, non_blocking=True)
        wait(self._device)
        return list(host.numpy())

    def _scaled(self, latents: torch.Tensor) -> torch.Tensor:
        """The latents in the VAE's own scale, by the pipelines' rules."""
        config = self._vae.config
        mean, std = (getattr(config, f"latents_{name}", None) for name in ("mean", "std"))
        if mean is not None and std is not None:  # SDXL variants with statistics a channel
            mean, std = (latents.new_tensor(value).view(1, -1, 1, 1) for value in (mean, std))
            scaled: torch.Tensor = latents * std / config.scaling_factor + mean
            return scaled
        shift = getattr(config, "shift_factor", None) or 0.0
        plain: torch.Tensor = latents / config.scaling_factor + shift
        return plain
