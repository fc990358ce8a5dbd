"""A search's windows as they are played: handed to the generators, waited for, drained."""

import time
from collections.abc import Callable, Mapping

import msgspec

from loadtest.driver.watch import look_at_children
from loadtest.search import windows
from loadtest.search.next_window import Next
from loadtest.system.processes import Child
from profiles.record.folder import RunFolder
from profiles.schema import EndReason, WindowRecord

LOOK_S = 0.1
LEAD_S = 0.3  # from an idle server to the first arrival that may come
DECIDE_S = 0.5  # before a window's end the next one is handed over
WRITTEN_S = 1.3  # after its answer a request is on disk

Stop = tuple[EndReason | None, str | None]  # why the search must end, in words; or (None, None)
ON: Stop = (None, None)


class Requests(msgspec.Struct, frozen=True, kw_only=True):
    """What is the same of all windows."""

    images: windows.Images  # of each request, in turn
    seed: int  # of the first window; each has its own
    timeout_s: float
    limit_s: float  # of the SLO


class Player:
    """Plays windows one after the other.

    Args:
        folder: the search's.
        children: by name, all that must live; "load generator" plays.
        requests: what is the same of all windows.
        now: seconds on the run's clock.
        interrupted: whether the user wants it to end.
    """

    def __init__(
        self,
        folder: RunFolder,
        children: Mapping[str, Child],
        requests: Requests,
        now: Callable[[], float],
        interrupted: Callable[[], bool],
    ) -> None:
        self._folder, self._children, self._requests = folder, children, requests
        self._now, self._interrupted = now, interrupted
        self.planned: list[WindowRecord] = []
        self.load_start_s = 0.0

    @property
    def end_s(self) -> float:
        """When the last window so far ends, on the run's clock."""
        last = self.planned[-1] if self.planned else None
        return 0.0 if last is None else last.start_s + last.duration_s

    @property
    def settled_s(self) -> float:
        """Of what was due before, it is known by now whether it missed the SLO."""
        return self._now() - self._requests.limit_s - WRITTEN_S

    def wait_for_start(self) -> Stop:
        """Wait until the generators are there."""
        events = self._folder.events()
        while True:
            for event in events.read():
                if event.kind == "load_start":
                    self.load_start_s = event.t_s
                    return ON
            stop = self._until(self._now() + LOOK_S)
            if stop != ON:
                return stop

    def play(self, following: Next) -> Stop:
        """Hand a window over, and wait until the next one is to be decided on."""
        fresh = following.fresh or self._now() > self.end_s
        if fresh:
            stop = self._idle()
            if stop != ON:
                return stop
        start_s = max(self._now() + LEAD_S, self.load_start_s) if fresh else self.end_s
        self._publish(following, start_s, fresh)
        after_s = WRITTEN_S + self._requests.limit_s if following.short else -DECIDE_S
        return self._until(self.end_s + after_s)

    def drain(self, patience_s: float) -> tuple[EndReason, str | None]:
        """Wait until the generators have their last answers; why it ended."""
        windows.end(self._folder)
        locust = self._children["load generator"]
        until_s = max(self._now(), self.end_s) + patience_s
        reason, detail = EndReason.COMPLETED, None
        while locust.exit_code() is None and self._now() < until_s:
            time.sleep(LOOK_S)
            if self._interrupted() and reason is EndReason.COMPLETED:
                reason, detail = EndReason.INTERRUPTED, "stopped by the user"
                locust.ask_to_end()
        if locust.exit_code() != 0:
            return EndReason.GENERATOR_DIED, locust.last_words()
        return reason, detail

    def _publish(self, following: Next, start_s: float, fresh: bool) -> None:
        before = self.planned[-1] if self.planned else None
        index = len(self.planned)
        seed = self._requests.seed + index
        first = before.first_seq + before.requests if before else 0
        rows = windows.draw(
            following.rate_per_s,
            start_s - self.load_start_s,
            following.duration_s,
            self._requests.images,
            first,
            seed,
        )
        window = WindowRecord(
            index=index,
            rate_per_s=following.rate_per_s,
            start_s=start_s,
            duration_s=following.duration_s,
            first_seq=first,
            requests=len(rows),
            images=int(rows["images"].sum()),
            seed=seed,
            short=following.short,
            fresh=fresh,
        )
        windows.publish(self._folder, index, rows)
        self._folder.append_window(window)
        self.planned.append(window)

    def _idle(self) -> Stop:
        """Wait until everything sent was answered."""
        records = self._folder.requests()
        due = sum(window.requests for window in self.planned)
        answered = 0
        until_s = self.end_s + self._requests.timeout_s + WRITTEN_S
        while (answered := answered + len(records.read())) < due and self._now() < until_s:
            stop = self._until(self._now() + LOOK_S)
            if stop != ON:
                return stop
        return ON

    def _until(self, t_s: float) -> Stop:
        """Wait until then, or until the search must end."""
        while True:
            stop = look_at_children(self._children, self._interrupted)
            if stop != ON or self._now() >= t_s:
                return stop
            time.sleep(min(LOOK_S, max(0.0, t_s - self._now())))
