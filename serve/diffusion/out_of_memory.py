"""Out of GPU memory: the batch is split and tried again, and only what cannot fit alone fails."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from serve.engine.request import OutOfMemoryError

__all__ = ["OutOfMemoryError", "give_back", "split_on_oom"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def split_on_oom(
    items: Sequence[Item], run: Callable[[Sequence[Item]], Sequence[Result]]
) -> list[Result | OutOfMemoryError]:
    """A result an item, computed together if memory allows, else in halves, and halves of those.

    Args:
        items: What to compute.
        run: Computes some of them; changes nothing when it raises `torch.OutOfMemoryError`.

    Returns:
        In the order of the items: its result, or the error of an item that does not fit alone.
    """
    if not items:
        return []
    try:
        return list(run(items))
    except torch.OutOfMemoryError:
        pass  # the traceback holds the tensors of the failed call: leave it before going on
    give_back()
    if len(items) == 1:
        return [OutOfMemoryError("one image alone does not fit into the GPU's free memory")]
    half = len(items) // 2
    return [*split_on_oom(items[:half], run), *split_on_oom(items[half:], run)]


def give_back() -> None:
    """Return cached, unused memory to the GPU."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
