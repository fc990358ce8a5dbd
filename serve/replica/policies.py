"""From settings to the engine of their policy."""

from collections.abc import Callable
from typing import Any

from serve.engine.batch_engine import BatchEngine
from serve.engine.request import Image, Model
from serve.engine.step_engine import StepEngine
from serve.engine.ticket import Engine
from serve.settings import Settings
from serve.stub.queue_engine import Counter, QueueEngine, service_times


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
    if settings.stub_servers is not None:
        mean_s = settings.stub_fixed_s + settings.steps * settings.stub_step_s
        draw = service_times(settings.stub_service, mean_s, settings.stub_seed)
        counter: Engine[Any] = QueueEngine(
            Counter(settings.stub_servers, draw),
            mean_s=mean_s,
            servers=settings.stub_servers,
            max_queue=settings.max_queue,
            clock=clock,
            on_batch=on_batch,
        )
        return counter
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
