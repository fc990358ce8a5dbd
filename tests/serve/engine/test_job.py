import asyncio

import pytest

from serve.engine.forecast import Load
from serve.engine.job import Job
from serve.engine.ticket import Ticket
from tests.serve.fakes import SMALL, order


def job(steps: int, previews: int = 0) -> Job[str]:
    """The second of an order's two images; 2 FLOPs a step."""

    async def make() -> Job[str]:
        asked = order(7, count=2, steps=steps, previews=previews, priority="free")
        return Job(Ticket(asked, 0.0), 1, [2.0] * steps)

    return asyncio.run(make())


def test_it_is_its_orders() -> None:
    made = job(4)
    assert (made.row.seed, made.priority, made.size) == (8, "free", SMALL)


def test_what_it_still_costs() -> None:
    made = job(5)
    made.step = 2
    assert made.load == Load(steps=3, step_flop=2.0)
    assert made.flop_left == 6.0


@pytest.mark.parametrize(
    ("steps", "previews", "after"),
    [
        (20, 0, []),
        (20, 1, [10]),
        (20, 3, [5, 10, 15]),
        (28, 3, [7, 14, 21]),
        (10, 3, [2, 5, 8]),  # 2.5, 5, 7.5
        (4, 3, [1, 2, 3]),
        (2, 3, [1]),  # never with the last step: that is the image
        (1, 3, []),
    ],
)
def test_after_which_steps_it_is_shown(steps: int, previews: int, after: list[int]) -> None:
    made, shown = job(steps, previews), []
    for made.step in range(steps):
        if made.wants_preview:
            shown.append(made.step + 1)
    assert shown == after
