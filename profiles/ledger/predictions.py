"""What a run predicts for the next larger or later test, and how well such predictions did. Pure.

    ln rate at n servers = ln x1 + ln n      linear: the null hypothesis that a test may refute
    Var = Var ln x1 + (between repeats) + d^2 k^2 + g^2 / n1     k doublings, d the doubt of each

d is 5% until three runs of more servers have scored predictions, and then the root mean square of
their errors a doubling, with as many degrees of freedom as runs, up to the largest of them. g is
the spread from GPU to GPU, for a larger test takes others than the n1 measured.

The rate is what a block's figure is made of: a run's while it was saturated, a search's at its SLO.
Neither scores the other, nor what was predicted of means over a curve before that was told apart.

    error = ln(actual / predicted)    bias = mean error    covered: low <= actual <= high
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
import numpy as np

from profiles.capacity import factors
from profiles.capacity.evidence import HARMLESS, Evidence, device, estimate, peak
from profiles.capacity.goodput import GoodputAtSlo
from profiles.ledger.ledger import GOODPUT, SATURATED, Prediction, Subject, prediction_id
from profiles.requests.target import servers_in_use
from profiles.schema import RunManifest

TIMES = (1, 2, 4, 8)  # the next repeat, and the next larger tests
NO_GPU = ("cpu", "unknown")  # devices whose next is no other GPU
MIN_SCORED = 3  # runs of more servers; fewer say nothing of the doubt of a doubling


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """A prediction and the run that came in."""

    prediction: Prediction
    run_id: str
    actual: float
    error: float  # ln(actual / predicted)
    covered: bool


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """How well predictions did, together."""

    predictions: int
    scored: int
    covered: int
    level: float  # at which that share should be covered
    error_rms: float | None = None  # of the logs; None where none was scored
    bias: float | None = None  # mean of the logs; above 0: more came than was predicted
    doubling_error: float | None = None  # root mean square a doubling; None below MIN_SCORED
    doubling_runs: int = 0  # that showed it; predictions which one run scores tell one thing
    largest_scored: int = 0  # servers of the largest of them
    runs: int = 0  # that scored any

    @property
    def doublings(self) -> factors.Doublings | None:
        """What larger tests say of a doubling; None below MIN_SCORED of them."""
        if self.doubling_error is None:
            return None
        return factors.Doublings(self.doubling_error, self.doubling_runs, self.largest_scored)


@dataclass(frozen=True)
class Arrived:
    """A run that may score predictions: what it was about and what it showed."""

    run_id: str
    start_utc: str
    subject: Subject
    servers: int
    quantity: str  # what it showed, as of a prediction: ledger.SATURATED or GOODPUT
    images_per_s: float  # of all servers


def subject(manifest: RunManifest, slo_text: str) -> Subject:
    """What a run measures, without its size."""
    settings = manifest.target.settings or {}
    plain = {key: settings[key] for key in sorted(settings.keys() - HARMLESS)}
    return Subject(
        scenario=manifest.scenario,
        model=manifest.target.model,
        device=device(manifest),
        settings_sha=hashlib.sha256(msgspec.json.encode(plain, order="sorted")).hexdigest()[:12],
        slo=slo_text,
        peak=peak(manifest, servers_in_use(manifest)),
    )


def predict(
    runs: Sequence[GoodputAtSlo],
    made_utc: str,
    record: Record | None = None,
    level: float = factors.LEVEL,
) -> list[Prediction]:
    """What tests of 1, 2, 4 and 8 times as many GPUs or replicas would show.

    Raises:
        EvidenceError: the runs bear no estimate.
    """
    evidence = estimate(runs)
    about = subject(runs[0].manifest, runs[0].slo.text)
    names = [one.manifest.run_id for one in runs]
    return [_one(evidence, about, names, times, made_utc, record, level) for times in TIMES]


def _one(
    evidence: Evidence,
    about: Subject,
    names: list[str],
    times: int,
    made_utc: str,
    record: Record | None,
    level: float,
) -> Prediction:
    tested, servers = evidence.tested_gpus, times * evidence.tested_gpus
    quantity = SATURATED if evidence.saturated else GOODPUT
    found = [evidence.rate]
    if evidence.repeats == 1:
        found.append(factors.between_repeats())
    if times > 1:
        seen = record.doublings if record else None
        found.append(factors.larger_cell(tested, servers, seen))
        if about.device not in NO_GPU:
            found.append(factors.gpu_spread(tested))
    span = factors.combined(float(servers), found, level)
    how = "the same test again" if times == 1 else f"{times} times the servers, linear"
    return Prediction(
        id=prediction_id(made_utc, names, servers, quantity),
        made_utc=made_utc,
        from_runs=names,
        from_servers=tested,
        subject=about,
        quantity=quantity,
        servers=servers,
        value=span.value,
        low=span.low,
        high=span.high,
        level=level,
        basis=f"{how}: {evidence.rate.value:.4g} images/s a server ({evidence.rate.source})",
    )


def fresh(made: Sequence[Prediction], written: Sequence[Prediction]) -> list[Prediction]:
    """Those that nothing written says already: asking twice must not count twice."""

    def said(one: Prediction) -> tuple[object, ...]:
        return one.subject, frozenset(one.from_runs), one.servers, one.quantity, one.level

    known = {said(one) for one in written}
    return [one for one in made if said(one) not in known]


def score(predictions: Sequence[Prediction], runs: Sequence[Arrived]) -> list[Score]:
    """Each prediction with the first run of its subject and size that began after it was made.

    The same test may have been predicted many times, from more and more runs: each counts.
    """
    found = []
    for one in predictions:
        matching = [
            run
            for run in runs
            if run.subject == one.subject
            and run.servers == one.servers
            and run.quantity == one.quantity
            and not one.superseded
            and _instant(run.start_utc) > _instant(one.made_utc)
            and run.run_id not in one.from_runs
        ]
        if matching:
            first = min(matching, key=lambda run: _instant(run.start_utc))
            found.append(
                Score(
                    prediction=one,
                    run_id=first.run_id,
                    actual=first.images_per_s,
                    error=math.log(first.images_per_s / one.value),
                    covered=one.low <= first.images_per_s <= one.high,
                )
            )
    return found


def _instant(utc: str) -> datetime:
    return datetime.fromisoformat(utc)


def sum_up(predictions: Sequence[Prediction], scores: Sequence[Score]) -> Record:
    """How well they did together."""
    errors = np.array([one.error for one in scores])
    larger = [one for one in scores if one.prediction.servers > one.prediction.from_servers]
    runs = len({one.run_id for one in larger})
    steps = [
        (one.error, math.log2(one.prediction.servers / one.prediction.from_servers))
        for one in larger
    ]
    each = [error / doublings for error, doublings in steps]
    return Record(
        predictions=len(predictions),
        scored=len(scores),
        covered=sum(one.covered for one in scores),
        level=predictions[0].level if predictions else factors.LEVEL,
        error_rms=float(np.sqrt(np.mean(errors**2))) if errors.size else None,
        bias=float(errors.mean()) if errors.size else None,
        doubling_error=(
            math.sqrt(sum(value**2 for value in each) / len(each)) if runs >= MIN_SCORED else None
        ),
        doubling_runs=runs,
        largest_scored=max((one.prediction.servers for one in larger), default=0),
        runs=len({one.run_id for one in scores}),
    )


def told(record: Record) -> str:
    """The record as a sentence to stand beside the next figure."""
    if not record.predictions:
        return (
            "No prediction about this model and device was written down before this: nothing says "
            "how far such figures hold."
        )
    if not record.scored or record.error_rms is None or record.bias is None:
        return (
            f"{record.predictions} predictions are written down and none was scored yet: "
            "run the next larger test, then `viralload ledger`."
        )
    return (
        f"Of {record.predictions} predictions, {record.scored} were scored, by {record.runs} "
        f"run{'s' if record.runs > 1 else ''}: {record.covered} fell within their "
        f"{100 * record.level:g}% interval, off by {100 * record.error_rms:.2g}% "
        f"(root mean square), bias {100 * record.bias:+.2g}%."
    )
