"""Which run is played and what is done to it, drawn from a seed. Pure.

Every kind of run (what is hit, how, in which setting) comes once before any comes again, in an
order of the seed's; the instant, how long a process stands, generators and people are drawn beside.
"""

import random
from collections.abc import Sequence
from typing import Literal

import msgspec

Setting = Literal["embedded", "foreign", "workers"]
How = Literal[
    "none", "kill", "stop", "interrupt", "terminate", "leave", "full disk", "short files",
    "few files",
]  # fmt: skip
Role = Literal[
    "driver", "sampler", "generator", "one generator", "master",
    "server", "replica", "replicas", "haproxy", "raylet", "gcs", "controller",
    "worker", "worker's generator",
]  # fmt: skip

SERVERS_PARTS: tuple[Role, ...] = (
    "server", "replica", "replicas", "haproxy", "raylet", "gcs", "controller",
)  # fmt: skip
OF_TWO: tuple[Role, ...] = ("one generator", "master")
LOAD_S = 15
RATES_PER_S = (40, 60)
ANYTIME = 0.3  # the share of kills that come at any instant of the run, not under the load
MAX_S = {"embedded": 35.0, "foreign": 22.0, "workers": 22.0}  # a run's length, about
EARLIEST_S, LATEST_S = 1.5, 9.0  # into the load; what follows leaves time to be noticed in
SHORT_S, LONG_S = (2.5, 4.0), (6.5, 8.0)  # of standing; on both sides of the bounds on silence
FOR_GOOD = 0.15  # the share of stops that are not undone
DISK_KB = (150, 200, 300)
FILE_KB = (40, 90)
OPEN_FILES = (24, 40, 80, 160)


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """What is done, to what, and when."""

    how: How
    target: Role | None = None
    under_load: bool = True  # else at_s counts from the command's start
    at_s: float = 0.0
    for_s: float | None = None  # how long what is stopped stands; None: for good
    amount: int | None = None  # KB of disk or of a file; open files


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One run."""

    seed: int
    index: int
    setting: Setting
    processes: int  # generators
    people: bool
    rate_per_s: int
    load_s: int = LOAD_S
    act: Act


Kind = tuple[Setting, How, Role | None]


def _kinds(
    setting: Setting, kills: Sequence[Role], stops: Sequence[Role], others: Sequence[How]
) -> list[Kind]:
    return [
        *((setting, "kill", role) for role in kills),
        *((setting, "stop", role) for role in stops),
        *((setting, how, None) for how in others),
    ]


_OWN: tuple[Role, ...] = ("generator", "one generator", "master", "sampler", "driver")
KINDS: tuple[Kind, ...] = (
    *_kinds(
        "embedded",
        [*_OWN, *SERVERS_PARTS],
        [*_OWN, *SERVERS_PARTS],
        ["none", "interrupt", "leave", "full disk"],
    ),
    *_kinds(
        "foreign",
        [*_OWN, *SERVERS_PARTS],
        ["one generator", "master", "sampler", "driver", "replica", "replicas", "haproxy"],
        ["none", "interrupt", "terminate", "leave", "full disk", "short files", "few files"],
    ),
    *_kinds(
        "workers",
        ["worker", "worker's generator", "master", "driver"],
        ["worker", "worker's generator", "master"],
        ["none", "interrupt"],
    ),
)


def draw(seed: int, index: int) -> Case:
    """The run of that index: the same whenever it is asked for, alone or among others."""
    kinds = list(KINDS)
    random.Random(f"kinds {seed} {index // len(kinds)}").shuffle(kinds)
    setting, how, target = kinds[index % len(kinds)]
    chance = random.Random(f"run {seed} {index}")
    if setting == "workers":
        processes = 2
    elif target in OF_TWO or target == "generator":
        processes = 2 if target in OF_TWO else 1
    else:
        processes = chance.choice((1, 2))
    return Case(
        seed=seed,
        index=index,
        setting=setting,
        processes=processes,
        people=chance.random() < 0.35,
        rate_per_s=chance.choice(RATES_PER_S),
        act=_act(setting, how, target, chance),
    )


def _act(setting: Setting, how: How, target: Role | None, chance: random.Random) -> Act:
    at_s = round(chance.uniform(EARLIEST_S, LATEST_S), 2)
    amounts = {"full disk": DISK_KB, "short files": FILE_KB, "few files": OPEN_FILES}
    if how == "none":
        return Act(how=how)
    if how in amounts:
        return Act(how=how, amount=chance.choice(amounts[how]))
    if how == "stop":
        return Act(how=how, target=target, at_s=at_s, for_s=_standing(target, chance))
    if how in ("interrupt", "terminate", "leave"):
        return Act(how=how, target="driver", at_s=at_s)
    if chance.random() < ANYTIME and not (setting == "foreign" and target in SERVERS_PARTS):
        at_s = round(chance.uniform(0.3, MAX_S[setting]), 2)
        return Act(how=how, target=target, under_load=False, at_s=at_s)
    return Act(how=how, target=target, at_s=at_s)


def _standing(target: Role | None, chance: random.Random) -> float | None:
    """Seconds; the driver, without which nothing of a run can end, always goes on again."""
    if target != "driver" and chance.random() < FOR_GOOD:
        return None
    return round(chance.uniform(*chance.choice((SHORT_S, LONG_S))), 2)
