"""Hostile requests, by seed and number: the n-th is the same however many are asked for. Pure."""

import random

from benchmarks import fuzz_bodies, fuzz_http
from benchmarks.fuzz_case import Case

BODIES = 0.62  # shares of all; the rest is raw HTTP
SLOW = 0.003


def nth(seed: int, number: int) -> Case:
    """The hostile request of that number."""
    chance = random.Random(f"{seed}:{number}")
    share = chance.random()
    if share < SLOW:
        return fuzz_http.draw_slow(chance)
    return fuzz_bodies.draw(chance) if share < SLOW + BODIES else fuzz_http.draw(chance)
