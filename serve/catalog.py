"""The models by name, and what a request gets from each that does not say."""

from typing import Literal

import msgspec

SchedulerName = Literal["ddim", "euler", "dpm++2m", "flow-euler"]
ModelName = Literal[
    "tiny",
    "tiny-sdxl",
    "tiny-sd35",
    "tiny-flux",
    "sd15",
    "sdxl",
    "sd35-medium",
    "flux-schnell",
    "stub",
]


class ModelDefaults(msgspec.Struct, frozen=True, kw_only=True):
    """What a request gets from a model when it does not ask for anything else, and its sizes.

    Attributes:
        side: Width and height in pixels.
        steps: Denoising steps.
        guidance_scale: Strength of classifier-free guidance; off at 1 and below.
        max_side: Longest width or height in pixels, unless the settings say another.
        side_step: Width and height are multiples of this many pixels: 8 a latent, and twice
            that where the transformer takes latents in patches of 2x2.
        side_ceiling: Longest width or height in pixels the architecture can make at all.
        schedulers: The samplers offered; the first one is the default.
        unet_layers: Layers of its UNet's last block; None: it has no UNet.
        cache_layers: How many of them run in every step where deep features are reused. Of SD1.5
            one, the first and last blocks being half of its step; of SDXL all, 9% of its step.
    """

    side: int
    steps: int
    guidance_scale: float
    max_side: int
    side_step: int = 8
    side_ceiling: int = 8192
    schedulers: tuple[SchedulerName, ...] = ("ddim", "euler", "dpm++2m")
    unet_layers: int | None = None
    cache_layers: int = 1


XL: tuple[SchedulerName, ...] = ("euler", "ddim", "dpm++2m")
FLOW: tuple[SchedulerName, ...] = ("flow-euler",)

# Steps and guidance as the models' cards have them; SDXL as MLPerf Inference has it. SD3 places
# its patches of 16 pixels by a table of 384 x 384 (the twin's: 96 x 96), and ends where it ends.
MODEL_DEFAULTS: dict[str, ModelDefaults] = {
    "tiny": ModelDefaults(
        side=64, steps=20, guidance_scale=7.5, max_side=512, unet_layers=2, cache_layers=1
    ),
    "tiny-sdxl": ModelDefaults(
        side=64,
        steps=20,
        guidance_scale=8.0,
        max_side=512,
        schedulers=XL,
        unet_layers=2,
        cache_layers=2,
    ),
    "tiny-sd35": ModelDefaults(
        side=64,
        steps=20,
        guidance_scale=4.5,
        max_side=512,
        side_step=16,
        side_ceiling=96 * 16,
        schedulers=FLOW,
    ),
    "tiny-flux": ModelDefaults(
        side=64, steps=4, guidance_scale=0.0, max_side=512, side_step=16, schedulers=FLOW
    ),
    "sd15": ModelDefaults(
        side=512, steps=20, guidance_scale=7.5, max_side=1024, unet_layers=3, cache_layers=1
    ),
    "sdxl": ModelDefaults(
        side=1024,
        steps=20,
        guidance_scale=8.0,
        max_side=2048,
        schedulers=XL,
        unet_layers=3,
        cache_layers=3,
    ),
    "sd35-medium": ModelDefaults(
        side=1024,
        steps=28,
        guidance_scale=4.5,
        max_side=2048,
        side_step=16,
        side_ceiling=384 * 16,
        schedulers=FLOW,
    ),
    "flux-schnell": ModelDefaults(
        side=1024, steps=4, guidance_scale=0.0, max_side=2048, side_step=16, schedulers=FLOW
    ),
    "stub": ModelDefaults(
        side=512, steps=20, guidance_scale=7.5, max_side=2048, schedulers=(*XL, *FLOW)
    ),
}


def is_twin(model: str) -> bool:
    """Whether a model is the toy twin of a real one."""
    return model == "tiny" or model.startswith("tiny-")
