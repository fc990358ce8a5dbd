"""One image under way in the step engine."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Generic

from serve.engine.forecast import Load
from serve.engine.request import Image, Prepared, Priority, Recipe, Row, Size
from serve.engine.ticket import Ticket


class Job(Generic[Image]):
    """One image under way.

    Attributes:
        ticket: Whose it is.
        index: Which of the ticket's images.
        recipe: How it is denoised.
        row: What is its own.
        step_flops: FLOPs of each of its steps.
        prepared: The model's own value, once its text is embedded.
        step: Steps done.
        denoised_s: When the last one was, on the engine's clock.
    """

    def __init__(self, ticket: Ticket[Image], index: int, step_flops: Sequence[float]) -> None:
        self.ticket = ticket
        self.index = index
        self.recipe: Recipe = ticket.order.recipe
        self.row: Row = ticket.order.rows[index]
        self.step_flops = step_flops
        self._flop_left = [*accumulate(reversed(step_flops), initial=0.0)][::-1]
        self.prepared: Prepared | None = None
        self.step = 0
        self.denoised_s: float | None = None

    @property
    def priority(self) -> Priority:
        """Its ticket's class."""
        return self.ticket.order.priority

    @property
    def size(self) -> Size:
        """Its pool."""
        return self.recipe.size

    @property
    def load(self) -> Load:
        """What it still costs, in steps that are all alike."""
        left = self.recipe.steps - self.step
        return Load(steps=left, step_flop=self.flop_left / max(1, left))

    @property
    def step_flop(self) -> float:
        """FLOPs of the step it takes now."""
        return self.step_flops[self.step]

    @property
    def flop_left(self) -> float:
        """FLOPs of its remaining steps."""
        return self._flop_left[self.step]

    @property
    def wants_preview(self) -> bool:
        """Whether the step it takes now ends at one of its previews, spread evenly."""
        count, steps = self.ticket.order.previews, self.recipe.steps
        after = self.step + 1
        marks = {round(steps * (i + 1) / (count + 1)) for i in range(count)}
        return after in marks and after < steps
