"""The project's own stages of an image, recorded on a fake GPU: texts, slots, a step, a decode."""

# mypy: disallow-untyped-calls=False
# diffusers ships no types.

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import torch

from benchmarks.fake_cuda import CUDA, fake_gpu, move_to_fake
from benchmarks.kernels import Recording
from benchmarks.recorder import recording
from serve.acceleration.cuda_graphs import INDICES, NUMBERS
from serve.acceleration.fused.fusion import fuse_pipeline
from serve.catalog import MODEL_DEFAULTS
from serve.diffusion.decoder import Decoder
from serve.diffusion.slots import Slots, Start
from serve.diffusion.startup import to_fp8
from serve.diffusion.text_embeddings import Text, Texts
from serve.engine.request import Size
from serve.models.architectures import ARCHITECTURES
from serve.models.network import Network
from serve.models.networks import network_of


class Case(msgspec.Struct, frozen=True):
    """One denoising batch of one model.

    Attributes:
        model: Its name.
        rows: Of the denoiser's batch; with guidance an image has two.
        px: Width and height.
    """

    model: str
    rows: int
    px: int

    @property
    def images(self) -> int:
        """Images in the batch."""
        return self.rows // 2 if self.is_guided else self.rows

    @property
    def is_guided(self) -> bool:
        """Whether the model is, by default."""
        return MODEL_DEFAULTS[self.model].guidance_scale > 1.0

    @property
    def steps(self) -> int:
        """Steps an image, by default."""
        return MODEL_DEFAULTS[self.model].steps


class Stages(msgspec.Struct, frozen=True, kw_only=True):
    """The recordings of one case.

    Attributes:
        text: Embedding a prompt for each image of the batch.
        slots: Making the slots and filling one.
        step: One denoising step of the whole batch.
        decode: The whole batch's latents to pixels on the host.
        shallow: One step that reuses deep features; None: there is none.
    """

    text: Recording
    slots: Recording
    step: Recording
    decode: Recording
    shallow: Recording | None = None


Change = Callable[[Any], None]


def record(
    case: Case,
    *,
    is_fused: bool = True,
    is_fp8: bool = False,
    channels_last: bool = True,
    cache_layers: int | None = None,
    change: Change | None = None,
) -> Stages:
    """What the server would launch for a case, in bf16, without weights or a GPU.

    Args:
        case: Which.
        is_fused: Whether norms, gates and sums run as the server's own kernels (`fused`).
        is_fp8: Whether linear layers compute in 8 bits where that pays at these rows (`fp8`).
        channels_last: Whether convolutional weights are, as the server has them.
        cache_layers: Layers of the UNet's last block that a shallow step runs; None: there is no
            shallow step.
        change: Changes the pipeline before it is recorded, to see what that does.

    Raises:
        torch._subclasses.fake_tensor.DataDependentOutputException: The host reads a value, which
            a captured step must not.
        torch._subclasses.fake_tensor.FakeTensorDeviceMismatchError: Devices are mixed.
    """
    lay_out, assemble = ARCHITECTURES[case.model]
    with torch.device("meta"):
        parts = lay_out()
    pipeline = assemble(parts)
    with fake_gpu():
        move_to_fake(parts, channels_last=channels_last)
        size = Size(width=case.px, height=case.px)
        if is_fp8:
            to_fp8(network_of(pipeline), size, case.rows, compares=False)  # there are no values
        if is_fused:
            fuse_pipeline(pipeline, torch.device("cpu"))  # the device says which kernels it builds
        if change is not None:
            change(pipeline)
        network = network_of(pipeline)
        with recording(parts) as text:
            texts = [Text(f"a red fox, {i}", is_negative=False) for i in range(case.images)]
            made = Texts(network).embed(texts)
        with recording(parts) as made_slots:
            slots, latent = _slots(case, network, made[texts[0]], cache_layers)
        step = _step(case, parts, slots, is_whole=True)
        shallow = None if cache_layers is None else _step(case, parts, slots, is_whole=False)
        with recording(parts) as decode:
            for image in Decoder(network).decode(size, [(latent, None)] * case.images):
                if isinstance(image, Exception):
                    raise image
    return Stages(
        text=text.recorded(),
        slots=made_slots.recorded(),
        step=step,
        decode=decode.recorded(),
        shallow=shallow,
    )


def _step(case: Case, parts: Mapping[str, Any], slots: Slots, *, is_whole: bool) -> Recording:
    """One step, as it is run eagerly or captured."""
    indices = torch.zeros((INDICES, case.rows), dtype=torch.int64, device=CUDA)
    numbers = torch.zeros((case.rows, NUMBERS), device=CUDA)
    with recording(parts) as step:
        slots._step(indices, numbers, case.images, is_whole=is_whole)
    return step.recorded()


def _slots(
    case: Case, network: Network, text: Any, cache_layers: int | None
) -> tuple[Slots, torch.Tensor]:
    """Slots with one image in them, and its latent on the device."""
    told = network.condition(text, case.px, case.px)
    start = Start(
        latent=network.noise(0, case.px, case.px),
        told=told,
        untold=told if case.is_guided else None,
        table=None,  # type: ignore[arg-type]  # the step's numbers are given
        guidance_scale=MODEL_DEFAULTS[case.model].guidance_scale,
    )
    size = Size(width=case.px, height=case.px)
    slots = Slots(network, size, case.images, CUDA, start, cache_layers=cache_layers)
    slots.join(0, start)
    return slots, slots.latent(0)
