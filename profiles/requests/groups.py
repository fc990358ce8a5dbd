"""The requests of one class, of one number of steps, of one size: how each kind fared. Pure.

A tag is what they have in common, as in k6's thresholds: `latency{class:paying}`, `ok{steps:30}`,
`latency{size:512x512}`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from profiles.record.columns import OUTCOMES, PRIORITIES, Requests
from profiles.requests.attempts import Counted, Tally
from profiles.requests.rates import good
from profiles.schema import GroupSummary, Outcome, RunManifest
from profiles.stats import arrays
from profiles.stats.arrays import Bools

TAGS = ("class", "steps", "size")
SIDE = 1e6  # no image is so high
MAX_SHOWN = 8  # of a tag: those with the most images; a trace may have a hundred


@dataclass(frozen=True)
class Group:
    """The requests with one value of one tag, and their attempts."""

    tag: str
    value: str
    counted: Counted


def groups(counted: Counted) -> list[Group]:
    """Every value of every tag, tag by tag, smaller values first.

    Who has no class, or asks for no number of steps, is in no group of that tag.
    """
    found = []
    for tag in TAGS:
        own, attempts = _values(counted.requests, tag), _values(counted.attempts, tag)
        for value in np.unique(own[own >= 0]).tolist():
            only = _only(counted, own == value, attempts == value)
            found.append(Group(tag, _name(tag, value), only))
    return found


def summaries(found: Sequence[Group], manifest: RunManifest) -> list[GroupSummary]:
    """The groups of tags that tell requests apart: classes always, steps and sizes from two on.

    At most MAX_SHOWN of a tag.
    """
    told = []
    for tag in TAGS:
        of_tag = [_summary(one, manifest) for one in found if one.tag == tag]
        if len(of_tag) > (0 if tag == "class" else 1):
            most = sorted(of_tag, key=lambda one: -one.images)[:MAX_SHOWN]
            told += [one for one in of_tag if one in most]
    return told


def _summary(one: Group, manifest: RunManifest) -> GroupSummary:
    requests, attempts = one.counted.requests, one.counted.attempts
    images = requests.images.sum()
    ended = np.bincount(requests.outcome, requests.images, minlength=len(OUTCOMES))
    tried = attempts.images[~np.isnan(attempts.sent_s)].sum()
    p50, p95, p99 = arrays.quantiles(
        requests.latency_s[requests.where(Outcome.OK)], (0.5, 0.95, 0.99)
    )
    return GroupSummary(
        tag=one.tag,
        value=one.value,
        requests=len(requests),
        images=int(images),
        in_time_images=int(requests.images[good(requests, manifest)].sum()),
        outcomes={outcome.value: int(n) for outcome, n in zip(OUTCOMES, ended, strict=True)},
        latency_p50_s=p50,
        latency_p95_s=p95,
        latency_p99_s=p99,
        attempts_per_image=float(tried / images) if images else None,
    )


def _only(counted: Counted, own: Bools, attempts: Bools) -> Counted:
    requests = counted.requests.take(np.flatnonzero(own))
    tally = Tally(scheduled=len(requests), missing=0, duplicates=0, strangers=0)
    return replace(
        counted,
        requests=requests,
        attempts=counted.attempts.take(np.flatnonzero(attempts)),
        tally=tally,
    )


def _values(requests: Requests, tag: str) -> arrays.Floats:
    """The tag's value of each request as a number, smaller first; -1 where it has none."""
    if tag == "class":
        return requests.priority.astype(np.float64)
    if tag == "steps":
        return np.nan_to_num(requests.steps, nan=-1.0)
    return requests.width * SIDE + requests.height


def _name(tag: str, value: float) -> str:
    if tag == "class":
        return PRIORITIES[int(value)]
    if tag == "steps":
        return f"{value:.0f}"
    width, height = divmod(value, SIDE)
    return f"{width:.0f}x{height:.0f}"
