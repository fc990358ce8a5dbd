"""Who may join a replica's queue, who is shed for it, and when the others should come back. Pure.

Two classes: everyone paying stands before everyone free. A request is refused at once when the
bound on waiting images is reached, or when it is predicted to be done after its deadline: an
answer that comes too late has cost as much as one in time. For a paying request the bound gives
way by shedding free ones, the newest first.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from serve.engine.forecast import Load, completion_s
from serve.engine.request import Priority

RETRY_AFTER_MAX_S = 600
SMOOTHING = 0.2


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """A request that is not taken, with the seconds until one like it should be.

    Attributes:
        reason: `queue_full`: no room; `deadline`: it would be done too late; `shed`: it gave way
            to a paying one.
        waiting: Images in the queue.
        predicted_s: When it would have been done, where that was the reason.
        retry_after_s: Whole seconds, for the header.
    """

    reason: Literal["queue_full", "deadline", "shed"]
    waiting: int
    predicted_s: float | None = None
    retry_after_s: int


class AdmissionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a request asks for: a load an image, its class, its deadline in seconds from now."""

    loads: Sequence[Load]
    priority: Priority
    deadline_s: float | None


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """What a replica has taken on, in images.

    Attributes:
        running: They hold slots.
        paying: They wait, first to start first.
        free: They wait behind all of the paying ones.
        sheddable: How many images each free request gives back if shed, the newest first.
    """

    running: Sequence[Load] = ()
    paying: Sequence[Load] = ()
    free: Sequence[Load] = ()
    sheddable: Sequence[int] = ()


class Admitted(msgspec.Struct, frozen=True, kw_only=True):
    """A request that is taken.

    Attributes:
        shed: So many of the newest free requests give way to it.
        shed_retry_after_s: When those should come back: when all that waits now is done.
    """

    shed: int = 0
    shed_retry_after_s: int = 1


class ServiceRate:
    """Images a second of a busy replica: an exponential mean over batches.

        r <- (1 - a) r + a (n / s)

    r is the rate, n the batch's images, s its seconds, a the smoothing (0.2: the last five
    batches or so count).
    """

    def __init__(self) -> None:
        self.images_per_s: float | None = None

    def observe(self, images: int, seconds: float) -> None:
        """Learn from one finished batch."""
        rate = images / max(seconds, 1e-6)
        known = self.images_per_s
        self.images_per_s = rate if known is None else (1 - SMOOTHING) * known + SMOOTHING * rate


def admit(
    asked: AdmissionRequest,
    backlog: Backlog,
    *,
    slots: int,
    max_queue: int,
    step_s: Callable[[float], float],
    tail_s: float,
) -> Admitted | Refusal:
    """Whether a request is taken.

    An empty queue takes any request within its deadline, so that none is refused for ever for its
    size. The prediction is `completion_s` of everything that will run before or beside it.

    Args:
        asked: The request.
        backlog: What is there already.
        slots: Images that run at once.
        max_queue: Most images waiting.
        step_s: Seconds of a step of so many FLOPs.
        tail_s: Seconds from the last step to the answer: decode and encode.
    """
    waiting = len(backlog.paying) + len(backlog.free)
    excess = waiting + len(asked.loads) - max_queue if waiting else 0
    shed, clear_s = 0, 0.0
    if excess > 0:
        shed = _shed_for(asked, backlog, excess)
        ahead = [*backlog.paying, *backlog.free]
        leave_s = sorted(completion_s(backlog.running, ahead, slots=slots, step_s=step_s))
        clear_s = leave_s[-1]
        if shed == 0:
            return Refusal(
                reason="queue_full",
                waiting=waiting,
                retry_after_s=retry_after_s(leave_s[min(excess, waiting) - 1]),
            )
    if asked.deadline_s is not None:
        ahead = [*backlog.paying, *(backlog.free if asked.priority == "free" else ())]
        done_s = completion_s(backlog.running, [*ahead, *asked.loads], slots=slots, step_s=step_s)
        predicted_s = max(done_s[len(ahead) :]) + tail_s
        if predicted_s > asked.deadline_s:
            return Refusal(
                reason="deadline",
                waiting=waiting,
                predicted_s=predicted_s,
                retry_after_s=retry_after_s(predicted_s - asked.deadline_s),
            )
    return Admitted(shed=shed, shed_retry_after_s=retry_after_s(clear_s))


def admit_by_count(
    images: int, *, waiting: int, max_queue: int, images_per_s: float | None
) -> Refusal | None:
    """Whether `images` more fit behind the `waiting` ones, whatever their deadline.

    The baselines' rule. The time to come back is how long the images in the way take at the
    measured rate:

        retry_after = ceil((waiting + images - max_queue) / rate), within 1 .. 600 s
    """
    excess = waiting + images - max_queue
    if excess <= 0 or waiting == 0:
        return None
    delay_s = excess / images_per_s if images_per_s else 1.0
    return Refusal(reason="queue_full", waiting=waiting, retry_after_s=retry_after_s(delay_s))


def retry_after_s(delay_s: float) -> int:
    """A delay in the whole seconds of a Retry-After header, within 1 .. 600."""
    return min(max(math.ceil(delay_s), 1), RETRY_AFTER_MAX_S)


def _shed_for(asked: AdmissionRequest, backlog: Backlog, excess: int) -> int:
    """How many free requests must go to make room; 0 where that is not enough or not due."""
    if asked.priority != "paying":
        return 0
    room = 0
    for count, images in enumerate(backlog.sheddable, start=1):
        room += images
        if room >= excess:
            return count
    return 0
