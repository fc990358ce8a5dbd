"""The images that wait: paying before free, first come first served within each. Pure."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, Protocol, TypeVar

from serve.engine.request import Priority


class Queued(Protocol):
    """What a line needs to know of what waits in it."""

    @property
    def priority(self) -> Priority:
        """Its class."""
        ...


Item = TypeVar("Item", bound=Queued)


class Line(Generic[Item]):
    """Two queues, one behind the other."""

    def __init__(self) -> None:
        self.paying: deque[Item] = deque()
        self.free: deque[Item] = deque()

    def __len__(self) -> int:
        """Everything that waits."""
        return len(self.paying) + len(self.free)

    def __iter__(self) -> Iterator[Item]:
        """First to start first."""
        yield from self.paying
        yield from self.free

    def put(self, items: Iterable[Item]) -> None:
        """Join at the end of the class."""
        for item in items:
            (self.paying if item.priority == "paying" else self.free).append(item)

    def keep(self, wanted: Callable[[Item], bool]) -> None:
        """Drop everything else; `wanted` is asked once of each, first to start first."""
        self.paying = deque(item for item in self.paying if wanted(item))
        self.free = deque(item for item in self.free if wanted(item))
