"""The values that travel through a replica, and what its engines ask of a model."""

from collections.abc import Mapping, Sequence
from typing import Any, Generic, Literal, Protocol, TypeVar

import msgspec

from serve.catalog import SchedulerName
from serve.engine.forecast import StepRate

Image = TypeVar("Image")

OutputFormat = Literal["png", "jpeg", "webp"]
Priority = Literal["paying", "free"]


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """How images are to be denoised; policy `request` batches equal recipes.

    Attributes:
        width: Pixels.
        height: Pixels.
        steps: Denoising steps.
        guidance_scale: Strength of classifier-free guidance; off at 1 and below.
        scheduler: The sampler, by its name in `serve.diffusion.solver`.
    """

    width: int
    height: int
    steps: int
    guidance_scale: float
    scheduler: SchedulerName = "ddim"

    @property
    def is_guided(self) -> bool:
        """Whether the denoiser runs twice a step, with the prompt and without."""
        return self.guidance_scale > 1.0

    @property
    def size(self) -> "Size":
        """Width and height."""
        return Size(width=self.width, height=self.height)


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """Pixels of an image: what rows must share to be denoised in one call."""

    width: int
    height: int


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One image of a request: what is its own."""

    prompt: str
    negative_prompt: str
    seed: int


class Encoding(msgspec.Struct, frozen=True, kw_only=True):
    """How pixels become a file: the format, and the quality (1-100) where it is lossy."""

    output_format: OutputFormat = "png"
    quality: int | None = None


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One checked request: a recipe, a row an image, and the file it wants.

    Attributes:
        recipe: How.
        rows: What, an image each.
        encoding: As which file.
        priority: `free` is shed before `paying`.
        deadline_s: Seconds from its arrival after which the answer is worth nothing; None: never.
        stream: Whether the answer is a stream of events.
        previews: Partial images to send on the way, if it is.
    """

    recipe: Recipe
    rows: tuple[Row, ...]
    encoding: Encoding
    priority: Priority = "paying"
    deadline_s: float | None = None
    stream: bool = False
    previews: int = 0


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request's seconds went; the stages sum to its time in the replica."""

    queue_s: float
    text_s: float
    denoise_s: float
    decode_s: float
    encode_s: float
    batch_mean: float


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """A finished request: a base64 file an image, in the order asked."""

    images: list[bytes]
    timing: Timing
    truncated: str | None = None


class Generated(msgspec.Struct, Generic[Image], frozen=True, kw_only=True):
    """What a model made of one whole batch: an image a row, and the seconds each stage took.

    An image that could not be made is the exception that says why.
    """

    images: Sequence[Image | Exception]
    text_s: float
    denoise_s: float
    decode_s: float


class Tick(msgspec.Struct, frozen=True, kw_only=True):
    """One call of the denoiser, on the slots of one size.

    Attributes:
        size: Which slots.
        joins: Slots that begin, with what `prepare` made for them.
        active: The slots that are denoised, and the step each is at.
        step_flop: Floating point operations of the active slots' step.
        previews: Slots whose clean latent, as predicted by this step, is wanted.
        finishes: Slots whose latent is done with this step.
    """

    size: Size
    joins: Mapping[int, Any] = {}
    active: Mapping[int, int] = {}
    step_flop: float = 0.0
    previews: Sequence[int] = ()
    finishes: Sequence[int] = ()


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One tick's floating point operations and the device's seconds."""

    step_flop: float
    seconds: float


class Ticked(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a tick.

    Attributes:
        latents: The finished slots' latents, for `decode`.
        previews: The previewed slots' clean latents, for `decode`.
        lost: Slots that could not be denoised, and why.
        measured: The ticks that the device finished meanwhile.
    """

    latents: Mapping[int, Any] = {}
    previews: Mapping[int, Any] = {}
    lost: Mapping[int, Exception] = {}
    measured: Sequence[Measured] = ()


class OutOfMemoryError(RuntimeError):
    """One image alone does not fit into the GPU's free memory."""


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A row ready to be denoised: the model's own value, and the seconds its text took."""

    state: Any
    text_s: float = 0.0
    truncated: str | None = None


class Decoded(msgspec.Struct, Generic[Image], frozen=True):
    """An image, and how long before it was there its latent was.

    Attributes:
        image: It.
        ready_s: Seconds from its latent's last step on the device until it was pixels; None: its
            latent was there when `tick` returned.
    """

    image: Image
    ready_s: float | None = None


class Model(Protocol[Image]):
    """What the engines need of a model; `Image` is the model's own business.

    Attributes:
        rate: What is known of its speed, from its warm-up.
        whole_every: Every how many steps of an image the whole denoiser runs, from its first on;
            between them less is computed, and images that join then would part the batch.
    """

    rate: StepRate
    whole_every: int

    async def generate(self, recipe: Recipe, rows: Sequence[Row]) -> Generated[Image]:
        """Denoise one whole batch; the engine never calls it twice at once."""
        ...

    async def step_flops(self, recipe: Recipe) -> Sequence[float]:
        """Floating point operations of each step of one image."""
        ...

    def image_flop(self, recipe: Recipe) -> float | None:
        """Floating point operations of one image, from prompt to pixels; None if unknown."""
        ...

    async def prepare(self, asked: Sequence[tuple[Recipe, Row]]) -> Sequence[Prepared | Exception]:
        """Embed the texts, draw the noise, tabulate the sampler; called beside `tick`."""
        ...

    async def tick(self, tick: Tick) -> Ticked:
        """Advance the active slots by one step; the engine never calls it twice at once."""
        ...

    def release(self, size: Size) -> None:
        """No slot of that size is in use any more."""
        ...

    def decode_batch(self, size: Size) -> int:
        """Most latents of that size to decode at once."""
        ...

    async def decode(
        self, size: Size, latents: Sequence[Any]
    ) -> Sequence[Decoded[Image] | Exception]:
        """Latents to images; called beside `tick`."""
        ...

    async def encode(self, image: Image, recipe: Recipe, encoding: Encoding) -> bytes:
        """An image's file in base64, as the response carries it; called beside the others."""
        ...
