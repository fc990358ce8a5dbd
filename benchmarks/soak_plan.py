"""What a soak plays: its scenario, and what is done to the server on the way. Pure."""

from typing import Literal

import msgspec

BURST = 2.5  # times the rate
WARM_UP_MAX_S = 1200.0  # Ray's raylet grows for so long while nothing is asked at all
# Of a period: when each fault begins, and the longest it lasts.
OUTAGE, OUTAGE_S = 0.3, 4.0
SLOW, SLOW_S = 0.5, 20.0
HANG_UP = 0.7
BURST_AT, BURST_S = 0.85, 10.0
SHARE = 0.05  # of a period that a fault lasts at most
BEAT_S = 0.25  # of the slow phase: the replicas stand and go on in turn

SCENARIO = """
name = "soak"
title = "soak: people for {minutes:g} minutes, with outages, slow phases and bursts"
notes = [
    "Its faults are made on purpose: no threshold but the share of images made.",
    "Its machine may have other work: only a generator that broke makes it INVALID.",
]
seed = {seed}

[curve]
kind = "steps"
steps = [{steps}]

[request]
size = "64x64"
timeout = "3s"

[session]
requests = 2.0
think = {{ kind = "exponential", mean = "2s" }}
patience = {{ kind = "quantiles", p10 = "6s", p50 = "15s", p90 = "40s" }}
retry = {{ policy = "backoff", most_attempts = 6, first = "0.5s", cap = "8s" }}

[session.classes.free]
share = 0.9

[session.classes.paying]
share = 0.1

[server]
model = "stub"
replicas = 2
stub_image_bytes = 20000
deadline_s = 3.0           # as people have: work for those who left would outlive its cause

[validity]
lateness_p99 = "500ms"
loop_stall = "5s"

[slo]
latency = "10s"

[thresholds]
ok = ["rate > 90%"]
default = false
"""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A soak as asked for.

    Attributes:
        minutes: Of load.
        rate_per_s: Requests/s between the bursts, without retries.
        period_s: In which each kind of fault comes once.
        every_s: Between two looks at the processes.
        seed: Of the crowd.
    """

    minutes: float
    rate_per_s: float
    period_s: float
    every_s: float
    seed: int

    @property
    def load_s(self) -> float:
        """Seconds of load."""
        return 60 * self.minutes

    @property
    def warm_up_s(self) -> float:
        """Seconds that memory may grow in: twenty minutes, or a third of a shorter soak."""
        return min(WARM_UP_MAX_S, self.load_s / 3)


class Act(msgspec.Struct, frozen=True, order=True):
    """Something that is done `t_s` after the load began."""

    t_s: float
    kind: Literal["stop", "go", "hang_up"]  # the replicas stand, go on; clients leave half-way


def scenario_of(asked: Asked) -> str:
    """The scenario in TOML: a constant rate, and a burst in each period."""
    steps = []
    done_s = 0.0
    for begin_s, length_s in _spans(asked, BURST_AT, BURST_S):
        steps += [_step(asked.rate_per_s, begin_s - done_s)]
        steps += [_step(BURST * asked.rate_per_s, length_s)]
        done_s = begin_s + length_s
    steps.append(_step(asked.rate_per_s, asked.load_s - done_s))
    return SCENARIO.format(minutes=asked.minutes, seed=asked.seed, steps=", ".join(steps))


def acts(asked: Asked) -> tuple[Act, ...]:
    """What is done to the server, by time: outages, slow phases, clients that hang up."""
    found = []
    for begin_s, length_s in _spans(asked, OUTAGE, OUTAGE_S):
        found += [Act(begin_s, "stop"), Act(begin_s + length_s, "go")]
    for begin_s, length_s in _spans(asked, SLOW, SLOW_S):
        for beat in range(int(length_s / (2 * BEAT_S))):
            at_s = begin_s + 2 * beat * BEAT_S
            found += [Act(at_s, "stop"), Act(at_s + BEAT_S, "go")]
    found += [Act(begin_s, "hang_up") for begin_s, _ in _spans(asked, HANG_UP, 0.0)]
    return tuple(sorted(found))


def _spans(asked: Asked, at: float, longest_s: float) -> list[tuple[float, float]]:
    """Begin and length of a fault in each whole period."""
    length_s = min(longest_s, SHARE * asked.period_s)
    periods = int(asked.load_s / asked.period_s + 1e-9)
    return [((number + at) * asked.period_s, length_s) for number in range(periods)]


def _step(rate_per_s: float, seconds: float) -> str:
    return f'{{ rate_per_s = {rate_per_s:g}, duration = "{seconds:g}s" }}'
