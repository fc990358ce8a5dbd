"""Latents to pixels: the VAE in capped batches, as the stock pipelines run it."""

# mypy: disallow-untyped-calls=False
# diffusers ships no types.

import contextlib
from collections.abc import Sequence
from typing import Any

import torch

from serve.encode import Pixels
from serve.memory import split_on_oom
from serve.network import Network
from serve.work import DECODE_BATCH, Size

# A latent, and when it is ready on the stream that made it; None on a CPU.
Latent = tuple[torch.Tensor, torch.cuda.Event | None]


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
        self._stream = torch.cuda.Stream(self._device) if is_cuda else None

    @torch.inference_mode()
    def decode(self, size: Size, latents: Sequence[Latent]) -> list[Pixels | Exception]:
        """Images of shape (height, width, 3), uint8; waits until they are there."""
        images: list[Pixels | Exception] = []
        stream = torch.cuda.stream(self._stream) if self._stream else contextlib.nullcontext()
        with stream:
            for i in range(0, len(latents), DECODE_BATCH):
                part = latents[i : i + DECODE_BATCH]
                images += split_on_oom(part, lambda some: self._run(size, some))
        return images

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
        self._stream.synchronize()
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
