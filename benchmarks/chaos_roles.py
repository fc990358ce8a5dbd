"""Which process of a run is which, by what started it and what it runs. Pure.

A role is never found by words in a command line alone: a sampler is a child of the run's driver
that runs `profiles.sampler.main`, HAProxy a child of the server whose binary is HAProxy's. So a
shell whose arguments name a process, another run's processes or a tester's are never taken for one.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import msgspec

from benchmarks.chaos_draw import Role

Words = tuple[str, ...]


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """A living process."""

    pid: int
    parent: int
    name: str  # of its binary or, in Python, as it calls itself
    words: Words  # its command line


Match = Callable[[Process], bool]
Found = dict[str, list[Process]]


def _runs(module: str, *without: str) -> Match:
    """Whether it is `python -m MODULE`, without any of these options."""

    def match(process: Process) -> bool:
        words = process.words
        is_module = any(a == "-m" and b == module for a, b in pairwise(words))
        return is_module and not set(without) & set(words)

    return match


def _is(name: str) -> Match:
    return lambda process: process.name == name


def _calls_itself(title: str) -> Match:
    return lambda process: bool(process.words) and process.words[0].startswith(title)


# The role of a child by its parent's, first match first.
CHILDREN: dict[str, tuple[tuple[str, Match], ...]] = {
    "driver": (
        ("server", _runs("serve.app", "--check")),
        ("sampler", _runs("profiles.sampler")),
        ("generator", _runs("loadtest.system.own_locust")),
    ),
    "generator": (("one generator", _runs("loadtest.system.own_locust")),),
    "server": (("haproxy", _is("haproxy")), ("gcs", _is("gcs_server")), ("raylet", _is("raylet"))),
    "raylet": (
        ("controller", _calls_itself("ray::ServeController")),
        ("replica", _calls_itself("ray::ServeReplica:")),
    ),
    "worker": (("worker's generator", _runs("loadtest.system.own_locust")),),
}


def roles(processes: Sequence[Process], roots: dict[int, str]) -> Found:
    """The processes of every role, oldest process id first.

    Args:
        processes: All that live.
        roots: The role of those that the benchmark itself has started, by their ids.
    """
    children: dict[int, list[Process]] = {}
    for process in processes:
        children.setdefault(process.parent, []).append(process)
    found: Found = {}

    def walk(process: Process, role: str) -> None:
        found.setdefault(role, []).append(process)
        for child in children.get(process.pid, []):
            for name, match in CHILDREN.get(role, ()):
                if match(child):
                    walk(child, name)
                    break

    for process in processes:
        if process.pid in roots:
            walk(process, roots[process.pid])
    return {role: sorted(ones, key=lambda one: one.pid) for role, ones in found.items()}


def targets(found: Found, role: Role) -> list[Process]:
    """The processes to hit for a role; empty where it is not there, or not yet."""
    if role == "replicas":
        return found.get("replica", [])
    if role == "master":  # Locust's first process, where others play; or the one of workers
        return found.get("generator", [])[:1]
    return found.get(role, [])[-1:]
