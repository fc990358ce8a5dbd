"""What may be left out of a denoising loop: options that change the images. Pure.

Both are off unless asked for, and their error against the full loop is measured at the start.
"""

import msgspec


class Shortcuts(msgspec.Struct, frozen=True, kw_only=True):
    """Which steps of an image are cut short.

    Attributes:
        cache_steps: The whole denoiser runs every so many steps, from the first one on; the steps
            between keep its deep features (`serve.models.deep_features`). 1: always.
        guidance_until: The share of the steps with classifier-free guidance, from the first one
            on; the others run without their unguided row. 1: all.
    """

    cache_steps: int = 1
    guidance_until: float = 1.0

    @property
    def are_taken(self) -> bool:
        """Whether any is."""
        return self != Shortcuts()

    def is_whole(self, step: int) -> bool:
        """Whether the whole denoiser runs at a step, counted from 0."""
        return step % self.cache_steps == 0

    def guided_steps(self, steps: int) -> int:
        """How many of so many steps are guided: the share to the nearest step, at least one."""
        return max(1, round(steps * self.guidance_until))


NONE = Shortcuts()
