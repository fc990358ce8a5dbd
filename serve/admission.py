"""Who may join a replica's queue, and when the others should come back. Pure."""

import math

import msgspec

RETRY_AFTER_MAX_S = 600
SMOOTHING = 0.2


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """The queue is full; with the seconds until it should have room."""

    waiting: int
    retry_after_s: int


class ServiceRate:
    """Images a second of a busy replica: an exponential mean over batches.

        r <- (1 - a) r + a (n / s)

    r is the rate, n the batch's images, s its seconds, a the smoothing (0.2: the last five
    batches or so count).
    """

    def __init__(self) -> None:
        self.images_per_s: float | None = None

    def observe(self, images: int, seconds: float) -> None:
        """Learn from one finished batch."""
        rate = images / max(seconds, 1e-6)
        known = self.images_per_s
        self.images_per_s = rate if known is None else (1 - SMOOTHING) * known + SMOOTHING * rate


def admit(
    images: int, *, waiting: int, max_queue: int, images_per_s: float | None
) -> Refusal | None:
    """Whether `images` more fit behind the `waiting` ones: None, or the refusal.

    An empty queue takes any request, so that none is refused for ever for its size. The time
    to come back is how long the images in the way take at the measured rate:

        retry_after = ceil((waiting + images - max_queue) / rate), within 1 .. 600 s
    """
    excess = waiting + images - max_queue
    if excess <= 0 or waiting == 0:
        return None
    delay_s = excess / images_per_s if images_per_s else 1.0
    retry_after_s = min(max(math.ceil(delay_s), 1), RETRY_AFTER_MAX_S)
    return Refusal(waiting=waiting, retry_after_s=retry_after_s)
