"""The report's headline figures: one large number a card. Pure."""

from dataclasses import dataclass

from profiles import formats
from profiles.schema import RunManifest, Summary

FEW = 100  # answers


@dataclass(frozen=True)
class Card:
    """One figure, large."""

    label: str
    value: str
    unit: str
    note: str


def cards(summary: Summary, manifest: RunManifest) -> list[Card]:
    """The figures a reader looks for first."""
    return [*_rate_cards(summary), *_latency_cards(summary), *_cost_cards(summary, manifest)]


def people_cards(summary: Summary) -> list[Card]:
    """What people wanted, got and gave up, and what their retries added; empty without people."""
    if not summary.people:
        return []
    wanted, got = (n / summary.people for n in (summary.scheduled_images, summary.ok_images))
    peak, over = summary.peak_amplification, formats.seconds(summary.amplification_window_s)
    return [
        Card(
            "People",
            formats.count(summary.people),
            "",
            f"{formats.number(wanted)} images wanted each, {formats.number(got)} made",
        ),
        Card(
            "Gave up",
            *_split(formats.share((summary.people_gave_up or 0) / summary.people)),
            f"{formats.count(summary.people_gave_up)} left without an image they wanted",
        ),
        Card(
            "Amplification",
            formats.number(summary.amplification),
            "tries for one wanted",
            _if(peak, f"max {formats.number(peak)} in {over}"),
        ),
        _time(
            "Try p95",
            summary.attempt_latency_p95_s,
            f"of an ok one, from its own due time; p50 "
            f"{formats.seconds(summary.attempt_latency_p50_s)}",
        ),
    ]


def _rate_cards(summary: Summary) -> list[Card]:
    busiest, planned = summary.peak_offered_images_per_s, summary.peak_planned_images_per_s
    peak = f"planned peak {formats.number(planned)}"
    if busiest is not None:
        over = formats.seconds(summary.peak_window_s)
        peak += f"; busiest {over}: {formats.number(busiest)}"
    sent_share = None
    if summary.sent_images_per_s is not None and summary.offered_images_per_s:
        sent_share = summary.sent_images_per_s / summary.offered_images_per_s
    slo = formats.seconds(summary.slo_latency_s)
    return [
        _rate(
            "Offered",
            summary.offered_images_per_s,
            _if(planned, peak),
        ),
        _rate(
            "Sent",
            summary.sent_images_per_s,
            _if(sent_share, _sent(sent_share or 0.0)),
        ),
        _rate(
            "Completed",
            summary.completed_images_per_s,
            f"{formats.count(summary.ok_images)} of "
            f"{formats.count(summary.scheduled_images)} images ok",
        ),
        _rate(
            "Goodput",
            summary.goodput_images_per_s,
            _if(
                summary.slo_share,
                f"{formats.share(summary.slo_share)} of images within the {slo} SLO",
            ),
        ),
    ]


def _latency_cards(summary: Summary) -> list[Card]:
    p90, most = formats.seconds(summary.latency_p90_s), formats.seconds(summary.latency_max_s)
    service = formats.seconds(summary.service_p95_s)
    return [
        _time("Latency p50", summary.latency_p50_s, "half of all ok requests took longer"),
        _time("Latency p95", summary.latency_p95_s, f"p90 {p90}"),
        _time("Latency p99", summary.latency_p99_s, f"max {most}{_of_few(summary)}"),
        _time("Queue p95", summary.queue_p95_s, f"service p95 {service}"),
    ]


def _of_few(summary: Summary) -> str:
    """That a p99 of fewer than 100 answers is nearly their largest."""
    ok = summary.outcomes.get("ok", 0)
    return f", of {ok} ok requests only" if ok < FEW else ""


def _cost_cards(summary: Summary, manifest: RunManifest) -> list[Card]:
    planned = manifest.plan.duration_s if manifest.plan is not None else None
    cut = planned is not None and summary.duration_s is not None and summary.duration_s < planned
    load = f"of the planned {formats.seconds(planned)}" if cut else "as planned"
    size = summary.image_bytes_mean
    return [
        Card(
            "Energy per image",
            *_split(formats.joules(summary.energy_j_per_image)),
            _energy_note(summary),
        ),
        Card(
            "Mean batch size",
            formats.number(summary.batch_mean),
            _if(summary.batch_mean, "images"),
            _if(size, f"{formats.data(size)} per image"),
        ),
        _time(
            "Generator lateness p99",
            summary.lateness_p99_s,
            f"bound {formats.seconds(manifest.lateness_bound_s)}",
        ),
        _time("Load duration", summary.duration_s, load),
    ]


def _sent(share: float) -> str:
    """What was sent of what was due; above 1, retries."""
    if share > 1:
        return f"with retries, {formats.number(share)} times what was due"
    return f"{formats.share(share)} of what was due"


def _rate(label: str, value: float | None, note: str) -> Card:
    return Card(label, formats.number(value), _if(value, "images/s"), _if(value, note))


def _time(label: str, value_s: float | None, note: str) -> Card:
    return Card(label, *_split(formats.seconds(value_s)), _if(value_s, note))


def _if(value: float | None, words: str) -> str:
    """The words, or none where the value they go with is unknown."""
    return "" if value is None else words


def _split(told: str) -> tuple[str, str]:
    """A figure and its unit apart, if it is one figure and one unit."""
    value, space, unit = told.partition(" ")
    return (value, unit) if space and " " not in unit else (told, "")


def _energy_note(summary: Summary) -> str:
    if summary.energy_j_per_image is None:
        return "not measured for these images" if summary.gpus else "no GPU was read"
    return f"gross, all GPUs, {summary.energy_basis}"
