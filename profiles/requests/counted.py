"""A run's record with what was counted of it, once. Pure."""

from dataclasses import dataclass

from profiles.record.columns import Recorded
from profiles.requests.attempts import Counted, add_up
from profiles.requests.rates import LoadWindow, load_window
from profiles.schema import RunManifest


@dataclass(frozen=True)
class CountedRun:
    """What was recorded, the records that count, and when the load was on."""

    recorded: Recorded
    counted: Counted
    window: LoadWindow | None

    @property
    def manifest(self) -> RunManifest:
        """The run's."""
        return self.recorded.manifest


def count_run(recorded: Recorded) -> CountedRun:
    """The run with its requests added up and its load window found."""
    return CountedRun(recorded, add_up(recorded.requests, recorded.manifest), load_window(recorded))
