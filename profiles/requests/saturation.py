"""What a node does when it is full: the windows of a load in which a queue stood. Pure.

A mean over a curve holds its valleys; what a node can do is what comes back while more is asked of
it. A window counts where one of these says that whatever ends has a successor:

    told      W(t) >= V(t) on every GPU   as many images wait (W) as are being made (V), and
                                          STANDING times as many when the window begins. Fewer may
                                          wait for a batch that is under way and had room for them
    refused   B(t) >= 3/4 B_r             requests were refused in it, and it stayed nearly as full
                                          (B in flight) as it is when it refuses (B_r, the median):
                                          one burst that is refused is not a full window, and
                                          most of what came at B_r must have been refused
    backlog   B(t) >= SLOW x s            where the server tells no timings: a request takes SLOW
                                          times the quick ones' s, for B = x w (Little, Operations
                                          Research 9, 1961) at the rate x, which no longer rises
                                          with the backlog as it would while batches fill up

in all but LEAK of it. Windows in which nothing came back are an outage: neither they nor those
beside them count. That enough waits as a window begins is asked for because it cannot choose the
windows in which service happened to be slow, as a queue that lasts would.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from profiles.record.columns import Requests
from profiles.requests.rates import LoadWindow
from profiles.schema import Outcome
from profiles.stats import arrays
from profiles.stats.arrays import Bools, Floats
from profiles.stats.step_function import Level

MAX_WINDOWS = 60  # a load is cut into about so many ...
MIN_S = 1.0  # ... of at least this length ...
GAPS = 2.0  # ... of at least so many of the gaps between answers, and of a service
LEAK = 0.1  # of a window, and of the GPUs, may be without a queue
STANDING = 2.0  # images wait for each that is being made
FULL = 0.75  # of what is in flight when requests are refused
SLOW = 4.0  # times the quick ones' latency
QUICK = 0.05  # the quantile of latencies that is quick
RISE = 0.05  # of the rate, from a quarter of the backlog to the whole: less is a plateau
MIN_GROUP = 2  # windows of a backlog, for its rate


@dataclass(frozen=True)
class Saturated:
    """A load cut into windows, and which of them a node was saturated in."""

    edges: Floats  # shape (windows + 1,)
    images_per_s: Floats  # ok images that came back in each; shape (windows,)
    counts: Bools  # shape (windows,)

    @property
    def window_s(self) -> float:
        """Length of each."""
        return float(self.edges[1] - self.edges[0])

    @property
    def rates(self) -> Floats:
        """Images/s of the saturated ones, in their order; shape (saturated,)."""
        return self.images_per_s[self.counts]

    @property
    def stretches(self) -> int:
        """How many runs of them there are."""
        return int(np.count_nonzero(np.diff(self.counts.astype(np.int8), prepend=0) == 1))

    def inside(self, t_s: Floats) -> Bools:
        """Which instants lie in a saturated window; NaN does not."""
        place = np.searchsorted(self.edges, t_s, side="right")  # NaN sorts last
        return np.concatenate(([False], self.counts, [False]))[place]


def saturated(attempts: Requests, window: LoadWindow) -> Saturated:
    """The windows of a load; `attempts` holds every try of a retried request as a row."""
    ok = attempts.where(Outcome.OK)
    edges = _edges(attempts, window)
    came = arrays.binned_sum(attempts.done_s, np.where(ok, attempts.images, 0.0), edges)
    came /= edges[1] - edges[0]
    outage = _outage(came)
    told = ok & ~np.isnan(attempts.queue_s) & ~np.isnan(attempts.service_s)
    if not ok.any():
        stood = np.zeros(came.size, dtype=np.bool_)
    elif 2 * told.sum() >= ok.sum():
        stood = _told(attempts, told, edges)
    else:
        stood = _backlog(attempts, came, edges, outage)
    return Saturated(edges, came, (stood | _refused(attempts, edges)) & ~outage)


def _edges(attempts: Requests, window: LoadWindow) -> Floats:
    """Equal windows, long enough that a full node answers in each."""
    ok = attempts.where(Outcome.OK)
    service_s = arrays.quantile(attempts.service_s[ok], 0.5)
    if service_s is None:
        service_s = arrays.quantile(attempts.latency_s[ok], QUICK) or 0.0
    least_s = max(MIN_S, service_s, GAPS * _gap(attempts.done_s[ok], window))
    count = max(1, min(MAX_WINDOWS, int(window.duration_s / least_s)))
    return np.linspace(window.start_s, window.end_s, count + 1)


def _gap(done_s: Floats, window: LoadWindow) -> float:
    """The gap between answers that half of the load's time lies in gaps up to."""
    inside = np.sort(done_s[window.inside(done_s)])
    gaps = np.sort(np.diff(np.concatenate(([window.start_s], inside, [window.end_s]))))
    return float(gaps[np.searchsorted(np.cumsum(gaps), gaps.sum() / 2.0)])


def _outage(came: Floats) -> Bools:
    """Windows in which nothing came back, and those beside them."""
    empty = np.concatenate(([False], came == 0.0, [False]))
    return empty[:-2] | empty[1:-1] | empty[2:]


def _told(attempts: Requests, told: Bools, edges: Floats) -> Bools:
    sent, images = attempts.sent_s[told], attempts.images[told]
    begun = sent + attempts.queue_s[told]
    done = np.fmax(attempts.done_s[told], begun)
    waiting, making = Level.of(sent, begun, images), Level.of(begun, done, images)
    enough = waiting.before(edges[:-1]) >= STANDING * making.before(edges[:-1])
    whose = _gpus(attempts)[told]
    shares = np.array([
        _busy(sent[of], begun[of], done[of], images[of], edges)
        for of in (whose == one for one in np.unique(whose))
    ])  # fmt: skip
    busy: Bools = (shares.mean(axis=0) >= 1.0 - LEAK) & (shares.min(axis=0) >= 0.5)
    return enough & busy


def _busy(sent: Floats, begun: Floats, done: Floats, images: Floats, edges: Floats) -> Floats:
    """The share of each window in which a GPU had as many waiting for it as it made."""
    waiting, making = Level.of(sent, begun, images), Level.of(begun, done, images)
    return np.minimum(waiting.minus(making).share(edges, 0.0), waiting.share(edges, 1.0))


def _gpus(attempts: Requests) -> NDArray[np.int64]:
    """Who served each: a number for the GPU, or for the replica where no GPU is told."""
    uuids = any(uuid for uuid, _ in attempts.devices)
    names = [(uuid if uuids else replica) or "" for uuid, replica in attempts.devices]
    numbers = {name: place for place, name in enumerate(dict.fromkeys([*names, ""]))}
    of_device = np.array([numbers[name] for name in [*names, ""]], dtype=np.int64)
    served: NDArray[np.int64] = of_device[attempts.device]  # -1, not told, is the last
    return served


def _refused(attempts: Requests, edges: Floats) -> Bools:
    refused = attempts.where(Outcome.REJECTED) & ~np.isnan(attempts.sent_s)
    none = np.zeros(edges.size - 1, dtype=np.bool_)
    if not refused.any():
        return none
    level = _in_flight(attempts)
    before = level.before(attempts.sent_s)  # NaN: as after the last
    full = float(np.median(before[refused]))
    crowded = ~np.isnan(attempts.sent_s) & (before >= full)
    if 2 * np.count_nonzero(refused & crowded) < np.count_nonzero(crowded):
        return none  # it is not by fullness that it refuses
    some = np.histogram(attempts.sent_s[refused], edges)[0] > 0
    return some & (level.share(edges, max(1.0, FULL * full)) >= 1.0 - LEAK)


def _in_flight(attempts: Requests) -> Level:
    """Images on their way, but for those of refused requests."""
    there = ~attempts.where(Outcome.REJECTED) & ~np.isnan(attempts.sent_s)
    done = np.where(np.isnan(attempts.done_s), np.inf, attempts.done_s)
    return Level.of(attempts.sent_s[there], done[there], attempts.images[there])


def _backlog(attempts: Requests, came: Floats, edges: Floats, outage: Bools) -> Bools:
    none = np.zeros(came.size, dtype=np.bool_)
    quick_s = arrays.quantile(attempts.latency_s[attempts.where(Outcome.OK)], QUICK)
    backlog = np.where(outage, 0.0, _in_flight(attempts).least(edges))
    most = float(backlog.max())
    upper = backlog >= most / 2.0
    lower = ~upper & (backlog >= most / 4.0)
    if quick_s is None or most <= 0.0 or min(upper.sum(), lower.sum()) < MIN_GROUP:
        return none
    rate = float(came[upper].mean())
    gain = 1.0 - float(came[lower].mean()) / rate
    doubt = float(np.hypot(_error(came[upper]), _error(came[lower]))) / rate
    if gain > RISE + doubt or doubt > 2.0 * RISE:
        return none  # it rises, or that it does not cannot be told
    return backlog >= max(SLOW * rate * quick_s, most / 4.0)


def _error(values: Floats) -> float:
    """Standard error of a mean."""
    return float(values.std(ddof=1)) / float(np.sqrt(values.size))
