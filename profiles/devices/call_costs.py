"""What the calls to a vendor's library cost: seconds of each, counted between two lines. Pure."""

from profiles.schema import CallCost


class Costs:
    """Seconds that each call took, since they were last told."""

    def __init__(self) -> None:
        self._calls: dict[str, list[float]] = {}  # count, sum, max

    def add(self, call: str, took_s: float) -> None:
        """One call."""
        sums = self._calls.get(call)
        if sums is None:
            self._calls[call] = [1, took_s, took_s]
            return
        sums[0] += 1
        sums[1] += took_s
        if took_s > sums[2]:
            sums[2] = took_s

    def tell(self) -> dict[str, CallCost]:
        """By call, and begin anew."""
        calls, self._calls = self._calls, {}
        return {
            name: CallCost(count=int(count), mean_s=total / count, max_s=longest)
            for name, (count, total, longest) in sorted(calls.items())
        }
