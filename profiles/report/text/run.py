"""A run's summary in words: one sentence, and a block of plain text for a terminal. Pure."""

import textwrap
from collections.abc import Iterable

from profiles import formats
from profiles.escaping import printable
from profiles.report.text import groups as group_text
from profiles.report.text import hardware as hardware_text
from profiles.report.text import limits as limit_text
from profiles.report.text import tables
from profiles.schema import Capacity, Outcome, RunManifest, Summary, Verdict

WIDTH = 96
LABEL = 12
ERROR_LINES = 2  # of one error's text


def headline(summary: Summary, manifest: RunManifest) -> str:
    """What happened, as one plain sentence that starts with the verdict."""
    return f"{summary.verdict.value.upper()} — {happened(summary, manifest)}"


def happened(summary: Summary, manifest: RunManifest) -> str:
    """The sentence after the verdict."""
    stub = " (no model: stub)" if manifest.target.is_stub else ""
    if summary.verdict is Verdict.INVALID:
        return f"this run cannot be trusted{stub}: {_lower(summary.reasons[0])}"
    if summary.verdict is Verdict.INTERRUPTED:
        return f"{_lower(summary.reasons[0])}{stub}"
    unset = " No threshold was set." if not summary.thresholds else ""
    if not summary.ok_images:
        return f"0 of {_images(summary.scheduled_images)} came back{stub}{_losses(summary)}.{unset}"
    return (
        f"{_peak(summary, _place(manifest))}{stub}; "
        f"{_in_time(summary.slo_share)} came back within "
        f"{formats.seconds(summary.slo_latency_s)}{_losses(summary)}.{unset}"
    )


def _peak(summary: Summary, place: str) -> str:
    """What the peak asked for and what came back in it, one time for all."""
    planned = formats.number(summary.peak_planned_images_per_s)
    if summary.peak_offered_images_per_s is None:
        asked = f"planned peak demand was {planned} images/s"
    else:
        busiest = formats.images_per_s(summary.peak_offered_images_per_s)
        over = formats.seconds(summary.peak_window_s)
        asked = f"peak demand was {busiest} (busiest {over}; planned peak {planned})"
    if summary.peak_completed_images_per_s is None:
        return asked
    done = formats.number(summary.peak_completed_images_per_s)
    due = formats.images_per_s(summary.peak_due_images_per_s)
    length = limit_text.peak_length(summary)
    return f"{asked}; during the peak ({length}) the {place} delivered {done} of {due} due"


def summary_text(summary: Summary, manifest: RunManifest, width: int = WIDTH) -> str:
    """The summary as plain text, at most `width` columns where words allow, ending in a newline."""
    says = textwrap.wrap(printable(headline(summary, manifest)), width)
    lines: list[str] = []
    if len(summary.reasons) > 1:
        lines += _sentences("also", summary.reasons[1:])
    lines += ["", *_rates(summary), *_latency(summary), *_outcomes(summary)]
    lines += _trace(manifest) + _checked(summary) + _retries(summary) + _groups(summary)
    lines += _errors(summary) + _hardware(summary) + _limits(summary, manifest)
    if summary.thresholds:
        lines += ["", *_thresholds(summary)]
    if summary.capacity is not None:
        lines += ["", *_capacity(summary.capacity)]
    if summary.warnings:
        lines += ["", *_sentences("warnings", summary.warnings)]
    rows = [part for line in lines for part in _laid_out(printable(line), width)]
    return "\n".join([*says, *rows]) + "\n"


def _rates(summary: Summary) -> list[str]:
    pairs = [
        ("offered", summary.offered_images_per_s),
        ("sent", summary.sent_images_per_s),
        ("completed", summary.completed_images_per_s),
        ("goodput", summary.goodput_images_per_s),
    ]
    told = "   ".join(f"{name} {formats.number(value)}" for name, value in pairs)
    slo = f"(within {formats.seconds(summary.slo_latency_s)})"
    return _wrapped("images/s", f"{told} {slo}")


def _latency(summary: Summary) -> list[str]:
    latency = [
        ("p50", summary.latency_p50_s),
        ("p90", summary.latency_p90_s),
        ("p95", summary.latency_p95_s),
        ("p99", summary.latency_p99_s),
        ("max", summary.latency_max_s),
    ]
    split = [
        ("queue p95", summary.queue_p95_s),
        ("service p95", summary.service_p95_s),
        ("generator lateness p99", summary.lateness_p99_s),
    ]
    lines = []
    for label, pairs in (("latency", latency), ("", split)):
        told = "   ".join(f"{name} {formats.seconds(value)}" for name, value in pairs)
        lines.append(_row(label, told))
    return lines


def _outcomes(summary: Summary) -> list[str]:
    told = [
        f"{formats.count(summary.outcomes[outcome.value])} {formats.OUTCOME_WORDS[outcome]}"
        for outcome in Outcome
        if summary.outcomes.get(outcome.value) or outcome is Outcome.OK
    ]
    return [_row("requests", f"{formats.count(summary.scheduled)} scheduled: {', '.join(told)}")]


def _trace(manifest: RunManifest) -> list[str]:
    lines: list[str] = []
    for name, told in [] if manifest.plan is None else tables.traffic_rows(manifest.plan):
        lines += _wrapped(
            "" if lines else "trace", f"{name.removeprefix('Trace ').lower()}: {told}"
        )
    return lines


def _checked(summary: Summary) -> list[str]:
    told = group_text.decoded(summary)
    return [] if told is None else _wrapped("", told)


def _groups(summary: Summary) -> list[str]:
    return [_row(name, told) for name, told in group_text.lines(summary)]


def _retries(summary: Summary) -> list[str]:
    if summary.people is None:
        return []
    peak = ""
    if summary.peak_amplification is not None:
        over = formats.seconds(summary.amplification_window_s)
        peak = f", max {formats.number(summary.peak_amplification)} in {over}"
    told = (
        f"{formats.count(summary.people)} people, {formats.count(summary.people_gave_up)} of whom "
        f"gave up, sent {formats.count(summary.attempts)} attempts: "
        f"amplification {formats.number(summary.amplification)}{peak}"
    )
    own = f"p50 {formats.seconds(summary.attempt_latency_p50_s)}   p95 "
    own += (
        f"{formats.seconds(summary.attempt_latency_p95_s)} (of an attempt, from its own due time)"
    )
    return [*_wrapped("people", told), *_wrapped("", own)]


def _errors(summary: Summary) -> list[str]:
    lines = []
    for place, (text, times) in enumerate(summary.errors.items()):
        told = textwrap.wrap(
            printable(text), WIDTH - LABEL - 14, max_lines=ERROR_LINES, placeholder=" …"
        ) or [""]
        lines.append(_row("" if place else "errors", f"{times:>7,} × {told[0]}"))
        lines += [_row("", f"{'':10}{more}") for more in told[1:]]
    return lines


def _hardware(summary: Summary) -> list[str]:
    lines = [
        _row(
            f"GPU {gpu.index}",
            f"{gpu.name or gpu.uuid}: {formats.percent(gpu.util_mean_pct)} busy, "
            f"{formats.watts(gpu.power_mean_w)} mean, "
            f"{formats.data(gpu.mem_used_max_bytes)} memory max",
        )
        for gpu in summary.gpus
    ]
    if not summary.gpus:
        lines += [
            _row(
                "host",
                f"{host.node} (no GPU read): CPU {formats.percent(host.cpu_mean_pct)} mean, "
                f"{formats.percent(host.cpu_max_pct)} max, "
                f"{formats.data(host.mem_used_max_bytes)} memory{hardware_text.host_used(host)}",
            )
            for host in summary.hosts
        ]
    held = hardware_text.held_sentence(summary)
    energy = hardware_text.energy_text(summary) or hardware_text.host_energy_text(summary)
    lines += _wrapped("clocks", held) if held else []
    return lines + (_wrapped("energy", energy) if energy else [])


def _limits(summary: Summary, manifest: RunManifest) -> list[str]:
    told = limit_text.limit_text(summary, manifest)
    return [] if told is None else _wrapped("limits", told)


def _thresholds(summary: Summary) -> list[str]:
    names = [
        f"{one.metric} {one.expression}{' (default)' if one.default else ''}"
        for one in summary.thresholds
    ]
    width = max(map(len, names))
    return [
        _row(
            "" if place else "thresholds",
            f"{'✓' if one.passed else '✗'} {name:<{width}}   "
            f"measured {formats.in_unit(one.actual, one.unit)}",
        )
        for place, (name, one) in enumerate(zip(names, summary.thresholds, strict=True))
    ]


def _capacity(capacity: Capacity) -> list[str]:
    if capacity.withheld is not None:
        return _wrapped("capacity", f"withheld. {capacity.withheld}")
    told = (
        f"{formats.count(capacity.block_gpus)} GPUs: "
        f"{formats.images_per_s(capacity.block_images_per_s)} ({tables.reach(capacity)}), "
        f"{formats.dollars(capacity.usd_per_1000_images)} per 1,000 images"
    )
    lines = _wrapped("capacity", told)
    widest = tables.swings(capacity)[:1]
    per_gpu = formats.number(capacity.images_per_s_per_gpu)
    for swing in widest:
        lines += _wrapped(
            "",
            f"from {per_gpu} per GPU {tables.one_gpu(capacity)}; "
            f"what moves it most: {swing.name} ({swing.told})",
        )
    if capacity.blocks_for_peak is not None:
        lines += _wrapped(
            "",
            f"the peak of {tables.peak_of(capacity)} needs {tables.blocks(capacity)}, all its "
            f"images {formats.count(capacity.event_gpu_hours)} GPU-hours",
        )
    for sentence in capacity.loud:
        lines += _wrapped("", f"! {sentence}")
    lines.append(
        _row("", f"{len(tables.stands(capacity))} assumptions stand beside it in the report")
    )
    return lines


def _losses(summary: Summary) -> str:
    """The outcomes that are not ok as a clause, the most frequent first; empty if all are ok."""
    lost = [
        (summary.outcomes.get(outcome.value, 0), formats.OUTCOME_CLAUSES[outcome])
        for outcome in Outcome
        if outcome is not Outcome.OK
    ]
    told = [
        f"{formats.share(times / summary.scheduled)} {clause}"
        for times, clause in sorted(lost, key=lambda pair: -pair[0])
        if times
    ]
    if not told:
        return ""
    told[0] = told[0].replace("%", "% of the requests", 1)
    return f"; {', '.join(told)}"


def _in_time(share: float | None) -> str:
    if share == 1.0:
        return "every image"
    return f"{formats.share(share)} of all images"


def _place(manifest: RunManifest) -> str:
    return "node" if manifest.target.embedded else "target"


def _images(images: int) -> str:
    return "1 image" if images == 1 else f"{formats.count(images)} images"


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _row(label: str, text: str) -> str:
    return f"{label:<{LABEL}}{text}"


def _wrapped(label: str, text: str) -> list[str]:
    """A row whose text is broken where the terminal ends."""
    return [_row(label, text)]


def _laid_out(row: str, width: int) -> list[str]:
    """A row in lines of at most so many columns, its text below itself."""
    parts = textwrap.wrap(row[LABEL:], max(width - LABEL, LABEL)) or [""]
    return [_row("" if place else row[:LABEL], part).rstrip() for place, part in enumerate(parts)]


def _sentences(label: str, sentences: Iterable[str]) -> list[str]:
    lines: list[str] = []
    for sentence in sentences:
        lines += _wrapped("" if lines else label, f"- {sentence}")
    return lines
