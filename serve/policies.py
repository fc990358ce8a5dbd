"""From settings to the engine of their policy."""

from collections.abc import Callable

from serve.batches import BatchEngine
from serve.engine import StepEngine
from serve.settings import Settings
from serve.ticket import Engine
from serve.work import Image, Model


def engine_for(
    settings: Settings,
    model: Model[Image],
    *,
    clock: Callable[[], float],
    on_batch: Callable[[int, int], None] = lambda images, waiting: None,
) -> Engine[Image]:
    """The engine that runs `model` by the settings' policy.

    Args:
        settings: The server's.
        model: What denoises.
        clock: Monotonic seconds.
        on_batch: Told of every batch (policy `step`: of every step): its images, and how many
            wait.
    """
    if settings.policy == "step":
        return StepEngine(
            model,
            slots=settings.batch_limit,
            max_queue=settings.max_queue,
            clock=clock,
            on_tick=on_batch,
        )
    return BatchEngine(
        model,
        batch_limit=settings.batch_limit,
        max_wait_s=settings.max_wait_s,
        max_queue=settings.max_queue,
        clock=clock,
        on_batch=on_batch,
    )
