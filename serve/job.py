"""One image under way in the step engine."""

from typing import Generic

from serve.forecast import Load
from serve.ticket import Ticket
from serve.work import Image, Prepared, Priority, Recipe, Row, Size


class Job(Generic[Image]):
    """One image under way.

    Attributes:
        ticket: Whose it is.
        index: Which of the ticket's images.
        recipe: How it is denoised.
        row: What is its own.
        step_flop: FLOPs of one of its steps.
        prepared: The model's own value, once its text is embedded.
        step: Steps done.
        denoised_s: When the last one was, on the engine's clock.
    """

    def __init__(self, ticket: Ticket[Image], index: int, step_flop: float) -> None:
        self.ticket = ticket
        self.index = index
        self.recipe: Recipe = ticket.order.recipe
        self.row: Row = ticket.order.rows[index]
        self.step_flop = step_flop
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
        """What it still costs."""
        return Load(steps=self.recipe.steps - self.step, step_flop=self.step_flop)

    @property
    def flop_left(self) -> float:
        """FLOPs of its remaining steps."""
        return (self.recipe.steps - self.step) * self.step_flop

    @property
    def wants_preview(self) -> bool:
        """Whether the step it takes now ends at one of its previews, spread evenly."""
        count, steps = self.ticket.order.previews, self.recipe.steps
        after = self.step + 1
        marks = {round(steps * (i + 1) / (count + 1)) for i in range(count)}
        return after in marks and after < steps
