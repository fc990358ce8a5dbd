"""What several contracts share: versions, outcomes, verdicts, how a figure is known."""

from enum import StrEnum
from typing import Literal

SCHEMA_VERSION = 1
LOCAL_ERROR = "this machine: "  # begins RequestRecord.error where the generator's own was at fault


class Outcome(StrEnum):
    """How one scheduled request ended. Every scheduled request ends in exactly one."""

    OK = "ok"  # the asked number of decodable images of the asked size and format came back
    REJECTED = "rejected"  # the server refused by design: 429 or 503
    FAILED = "failed"  # any other error, or an answer that is not what was asked for
    TIMEOUT = "timeout"  # no complete answer within the client's limit
    ABANDONED = "abandoned"  # the person ran out of patience
    UNSENT = "unsent"  # the run stopped before the request left


class Verdict(StrEnum):
    """What a run says, worst first in doubt: INVALID outranks every other."""

    PASS = "pass"  # valid, every threshold held
    FAIL = "fail"  # valid, a threshold did not hold
    INTERRUPTED = "interrupted"  # stopped by the user; what was recorded is reported
    INVALID = "invalid"  # the run cannot be trusted; `Summary.reasons` says why


class EndReason(StrEnum):
    """Why the run ended, as its driver saw it."""

    COMPLETED = "completed"  # the schedule was played to its end and drained
    INTERRUPTED = "interrupted"  # Ctrl-C
    GENERATOR_DIED = "generator_died"
    SAMPLER_DIED = "sampler_died"
    SERVER_DIED = "server_died"
    ERROR = "error"


Stand = Literal["measured", "published", "assumed"]
