"""A number over time as a step function, such as the images that wait. Pure."""

from dataclasses import dataclass

import numpy as np

from profiles.stats.arrays import Floats

ROUNDING = 1e-6  # of sums of images


@dataclass(frozen=True)
class Level:
    """0 before its first instant, then `value[i]` from `t_s[i]` to the next instant."""

    t_s: Floats  # sorted, each once; shape (instants,)
    value: Floats

    @classmethod
    def of(cls, from_s: Floats, until_s: Floats, weight: Floats) -> "Level":
        """The sum of the `weight` of all that has begun and not ended; shapes (things,)."""
        return cls.summed(np.concatenate((from_s, until_s)), np.concatenate((weight, -weight)))

    @classmethod
    def summed(cls, t_s: Floats, step: Floats) -> "Level":
        """The level that goes up by `step` at `t_s`, in any order."""
        instants, which = np.unique(t_s, return_inverse=True)
        return cls(instants, np.cumsum(np.bincount(which, weights=step, minlength=instants.size)))

    def minus(self, other: "Level") -> "Level":
        """The difference over time."""
        steps = (np.diff(self.value, prepend=0.0), -np.diff(other.value, prepend=0.0))
        return Level.summed(np.concatenate((self.t_s, other.t_s)), np.concatenate(steps))

    def before(self, t_s: Floats) -> Floats:
        """The level just before each instant."""
        return self._from_first[np.searchsorted(self.t_s, t_s, side="left")]

    def share(self, edges: Floats, least: float) -> Floats:
        """The share of each window's time in which it is at least `least`; shape (windows,)."""
        inside = (self.t_s > edges[0]) & (self.t_s < edges[-1])
        cuts = np.union1d(self.t_s[inside], edges)
        value = self._from_first[np.searchsorted(self.t_s, cuts[:-1], side="right")]
        enough_s = np.where(value >= least - ROUNDING, np.diff(cuts), 0.0)
        so_far_s = np.concatenate(([0.0], np.cumsum(enough_s)))
        share: Floats = np.diff(np.interp(edges, cuts, so_far_s)) / np.diff(edges)
        return share

    def least(self, edges: Floats) -> Floats:
        """The least of it in each window; shape (windows,)."""
        values = self._from_first
        first = np.searchsorted(self.t_s, edges[:-1], side="right")
        last = np.searchsorted(self.t_s, edges[1:], side="left")
        return np.array([
            float(values[one : other + 1].min()) for one, other in zip(first, last, strict=True)
        ])  # fmt: skip

    @property
    def _from_first(self) -> Floats:
        return np.concatenate(([0.0], self.value))
