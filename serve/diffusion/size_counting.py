"""What sizes that nobody asked for before cost, counted beside everything else."""

import asyncio
from concurrent.futures import Executor

from serve.engine.admission import Refusal
from serve.engine.request import Size
from serve.engine.ticket import RefusedError
from serve.models.flops import Costs

MAX_WAITING = 16  # requests; each may take seconds
RETRY_AFTER_S = 1


class Counting:
    """Counts new sizes one after the other; requests of known ones pass by.

    Args:
        costs: Which sizes are known.
        thread: Of which nothing else is asked.
    """

    def __init__(self, costs: Costs, thread: Executor) -> None:
        self._costs = costs
        self._thread = thread
        self._waiting = 0

    async def know(self, size: Size) -> None:
        """Return once the size's cost is known, at once where it is.

        Raises:
            RefusedError: It is not, and as many requests as may wait do already.
        """
        if self._costs.known(size) is not None:
            return
        if self._waiting >= MAX_WAITING:
            raise RefusedError(
                Refusal(reason="queue_full", waiting=self._waiting, retry_after_s=RETRY_AFTER_S)
            )
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._thread, self._costs.of, size)
        finally:
            self._waiting -= 1
