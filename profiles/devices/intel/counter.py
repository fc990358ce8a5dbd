"""What a counter rose by, against its own clock. Pure."""


class Rise:
    """The rate of a counter since the last look, in steps of it a step of its clock."""

    def __init__(self) -> None:
        self._last: tuple[float, float] | None = None

    def since(self, value: float, stamp: float) -> float | None:
        """The rate; None at the first look, where the clock stood, and after a reset."""
        before, self._last = self._last, (value, stamp)
        if before is None or stamp <= before[1] or value < before[0]:
            return None
        return (value - before[0]) / (stamp - before[1])
