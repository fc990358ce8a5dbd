"""What reaches the user's terminal: nothing of others' bytes passes it unescaped."""

import sys
from typing import Any

from rich.console import Console

from profiles.escaping import printable, printable_lines


class Terminal(Console):
    """Progress on stderr; whatever text it is given is shown, never obeyed."""

    def __init__(self) -> None:
        super().__init__(stderr=True, markup=False)

    def print(self, *objects: Any, **how: Any) -> None:
        """As rich's, of texts with their control characters spelled out."""
        told = (printable_lines(one) if isinstance(one, str) else one for one in objects)
        super().print(*told, **how)


def show(text: str) -> None:
    """Write a result for people on stdout."""
    sys.stdout.write(printable_lines(text))


def complain(text: str) -> None:
    """Write one line on stderr."""
    sys.stderr.write(f"{printable(text)}\n")
